"""The staging folder: its files, its lock, its clock. Blocking calls.

    .incoming/lock             held with flock while a service runs; in it, JSON: when the machine was started
    .incoming/<key>.part       the bytes of an open upload
    .incoming/<key>.upload     its manifest, JSON
    .incoming/<key>.receipt    of a stored one, JSON; kept for a while, its mtime says since when
    .incoming/<key>.group      the journal of small files that are being published together: what their receipts will be
    .incoming/<key>.receipts   of such files once they are stored; under the key of the first of them
    .incoming/<key>.link       a temporary name, while a file is replaced
    .incoming/*.new            a file that is being written

The key is the SHA-256 of the token: who can read the folder cannot use what lies in it.
"""

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from jackfield.app.errors import CannotStart
from jackfield.handlers.upload.store import records
from jackfield.handlers.upload.store.disk import FILE, FOLDER, Disk
from jackfield.handlers.upload.store.records import Checkpoint, Manifest, Member, Stored
from jackfield.handlers.upload.wire.messages import Promise

NAME: Final = ".incoming"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class Staging:
    """The folder `.incoming` in the target directory, on the same file system."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self.directory = directory
        self.folder = directory / NAME
        self.disk = disk
        self._lock: int | None = None
        self._epoch = 0.0  # when the machine was started, in seconds since 1970; set by `open`

    def now(self) -> float:
        """Seconds since 1970, by a clock of our own: it goes on when the system's jumps, so that nothing
        expires by that, and from one run of the service to the next, until the machine is started anew.
        """
        return self._epoch + time.clock_gettime(time.CLOCK_BOOTTIME)

    # -- the folder

    def open(self) -> None:
        """Make the folders, see that they can be used, and lock them. Raises CannotStart."""
        try:
            self._make_folders()
            self._check()
            self._lock = self.disk.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | FILE)
            self._take(self._lock)
            self._probe()
            self._set_clock(self._lock)
        except CannotStart:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise CannotStart(f"{self.directory} cannot be used for uploads: {error.strerror}") from error

    def _make_folders(self) -> None:
        """Those that are missing, durably: what is safe below a folder is lost with the folder."""
        missing = [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
        for folder in reversed(missing):
            self.disk.make_folder(folder, mode=0o700 if folder == self.folder else 0o777)
            self.disk.sync_folder(folder.parent)

    def _check(self) -> None:
        if not stat.S_ISDIR(self.disk.lstat(self.folder).st_mode):
            raise CannotStart(f"{self.folder} is not a folder")
        with self.disk.opened(self.directory, FOLDER) as above, self.disk.opened(self.folder, FOLDER) as folder:
            if _mount(above) != _mount(folder):
                raise CannotStart(f"{self.folder} is on another file system than {self.directory}")

    def _take(self, lock: int) -> None:
        try:
            self.disk.call(fcntl.flock, lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(f"{self.directory} is in use by another service") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            raise CannotStart(f"{self.directory} cannot be locked: this file system has no locks") from error

    def _probe(self) -> None:
        """Publishing is a hard link: find out now whether there are any, and what a sync of a folder says."""
        probe, link = self.folder / "probe.new", self.folder / "probe.link.new"
        for path in (probe, link):
            self.disk.unlink(path)
        try:
            self.disk.write_new(probe, b"", sync=False)
            self._link(probe, link)
            if not self.disk.writable(self.directory):
                raise CannotStart(f"{self.directory} cannot be written")
        finally:
            for path in (probe, link):
                self.disk.unlink(path)
        self.disk.sync_folder(self.folder)

    def _link(self, probe: Path, link: Path) -> None:
        with self.disk.opened(probe) as fd, self.disk.opened(self.folder, FOLDER) as folder:
            try:
                self.disk.link(fd, link.name, folder)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
                    raise
                problem = f"{self.directory} cannot be used for uploads: this file system has no hard links"
                raise CannotStart(problem) from error

    def _set_clock(self, lock: int) -> None:
        """Read from the lock file when the machine was started; if it was restarted since, write it anew."""
        boot = _BOOT.read_text(encoding="ascii").strip()
        started = records.read_clock(self.disk.pread(lock, records.LARGEST, 0), boot)
        if started is None:
            started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
            self.disk.truncate(lock, 0)
            self.disk.write(lock, records.write_clock(boot, started))
        self._epoch = started

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self.disk.close(self._lock)
            self._lock = None

    # -- paths

    def part(self, key: str) -> Path:
        """Where the bytes are."""
        return self.folder / f"{key}.part"

    def manifest(self, key: str) -> Path:
        """Where the manifest is."""
        return self.folder / f"{key}.upload"

    def receipt(self, key: str) -> Path:
        """Where the receipt is."""
        return self.folder / f"{key}.receipt"

    def group(self, key: str) -> Path:
        """Where the journal of a group is, the first file of which has this key."""
        return self.folder / f"{key}.group"

    def receipts(self, key: str) -> Path:
        """Where the receipts of such a group are."""
        return self.folder / f"{key}.receipts"

    def link(self, key: str) -> Path:
        """A second name of the part, while it replaces a file."""
        return self.folder / f"{key}.link"

    def entries(self) -> Iterator[os.DirEntry[str]]:
        """All that lies in the folder."""
        return self.disk.entries(self.folder)

    # -- what the files say

    def create(self, key: str, promise: Promise, data: bytes, checkpoint: Checkpoint | None) -> Manifest:
        """A new upload: a part with `data`, of which `checkpoint` tells, and its manifest, all durable.

        Raises FileExistsError where there is something left of it, and another OSError; then there may be.
        """
        self.disk.close(self.disk.create(self.part(key), data, sync=bool(data)))
        manifest = Manifest(promise, len(data), self.now(), checkpoint)
        self.save(key, manifest)
        return manifest

    def save(self, key: str, manifest: Manifest) -> None:
        """Replace the manifest, atomically and durably."""
        self.disk.replace_file(self.manifest(key), records.write_manifest(manifest))

    def load(self, key: str) -> Manifest:
        """Read a manifest back. Raises OSError, or ValueError where it is invalid."""
        return records.read_manifest(self.disk.read_file(self.manifest(key), records.LARGEST))

    def save_receipt(self, key: str, stored: Stored) -> None:
        """Write the receipt, durably; its mtime says by our own clock since when it is kept."""
        self.disk.replace_file(self.receipt(key), records.write_stored(stored), mtime=self.now())

    def load_receipt(self, key: str) -> tuple[Stored, float] | None:
        """The receipt and since when it is kept; None where there is none, or an invalid one. Raises OSError."""
        path = self.receipt(key)
        try:
            stored = records.read_stored(self.disk.read_file(path, records.LARGEST))
            return stored, self.disk.lstat(path).st_mtime
        except (FileNotFoundError, ValueError):
            return None

    def write_group(self, path: Path, members: Sequence[Member], *, sync: bool) -> None:
        """What a group's receipts will be, in a new file; its mtime says since when they are kept."""
        self.disk.write_new(path, records.write_group(members), sync=sync, mtime=self.now())

    def replace_group(self, path: Path, members: Sequence[Member]) -> None:
        """The same in the place of an older one, atomically and durably."""
        self.disk.replace_file(path, records.write_group(members), mtime=self.now())

    def read_group(self, path: Path) -> Sequence[Member]:
        """Its valid lines: a torn one was never durable. Raises OSError."""
        try:
            return records.read_group(self.disk.read_file(path, records.LARGEST_GROUP))
        except ValueError:
            return ()

    def keys_of_group(self, path: Path) -> Sequence[str]:
        """The keys of all that it tells of. Raises OSError."""
        try:
            return records.keys_of_group(self.disk.read_file(path, records.LARGEST_GROUP))
        except ValueError:
            return ()

    # -- the end of an upload, or of its file

    def discard(self, key: str) -> None:
        """Throw an upload away, so that a power cut does not bring it back."""
        self.remove(key)
        self.disk.sync_folder(self.folder)

    def remove(self, key: str) -> None:
        """Throw an upload away: the manifest first, since recovery drops a part without one."""
        for path in (self.manifest(key), self.link(key), self.part(key)):
            self.disk.unlink(path)

    def replace_part(self, key: str, size: int) -> None:
        """Put a file of its own in the place of the part, with its first `size` bytes, durable.

        For a part that must be changed and may not: its file has a name elsewhere, or cannot be trusted.
        """
        new = self.folder / f"{key}.part.new"
        self.disk.unlink(new)
        with self.disk.opened(new, os.O_RDWR | os.O_CREAT | os.O_EXCL) as target:
            if size:
                with self.open_part(key) as source:
                    self.disk.copy(source, target, size)
            self.disk.fsync(target)
        self.disk.replace(new, self.part(key))
        self.disk.sync_folder(self.folder)

    def open_part(self, key: str) -> AbstractContextManager[int]:
        """A descriptor of the part, for reading; never through a link."""
        return self.disk.opened(self.part(key))


def _mount(fd: int) -> str:
    """Which mount an open folder is on: a mount of the same disk is another one, too, and no link goes across."""
    found = re.search(r"^mnt_id:\s*(\d+)$", Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii"), re.MULTILINE)
    return found[1] if found else ""
