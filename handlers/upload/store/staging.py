"""The staging folder: what lies in it, how its small files are written, how it is locked. Blocking calls.

    .incoming/lock             held with flock while a service runs; its mtime: when the machine was started
    .incoming/<key>.part       the bytes of an open upload
    .incoming/<key>.upload     its manifest, JSON
    .incoming/<key>.receipt    of a stored one, JSON; kept for a while, its mtime says since when
    .incoming/<key>.group      of small files that are being published together: what their receipts will be
    .incoming/<key>.receipts   of such files once they are stored; under the key of the first of them
    .incoming/<key>.link       a name in passing, while a file is replaced
    .incoming/*.new            a file that is being written

The key is the SHA-256 of the token: who can read the folder cannot use what lies in it.
"""

import contextlib
import errno
import fcntl
import os
import stat
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from jackfield.app.errors import CannotStart
from jackfield.handlers.upload.store import records
from jackfield.handlers.upload.store.folders import sync_folder
from jackfield.handlers.upload.store.records import Manifest, Member, Stored
from jackfield.handlers.upload.wire.messages import Promise

NAME: Final = ".incoming"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_BLOCK: Final = 1024 * 1024


class Staging:
    """The folder `.incoming` in the target directory, on the same file system."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.folder = directory / NAME
        self._lock: int | None = None
        self._epoch = 0.0

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
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._probe()
            self._epoch = self._set_clock(self._lock)
        except BlockingIOError:
            self.close()
            raise CannotStart(f"{self.directory} is in use by another service") from None
        except OSError as error:
            self.close()
            raise CannotStart(f"{self.directory} cannot be used for uploads: {error.strerror}") from error

    def _make_folders(self) -> None:
        """Those that are missing, durably: what is safe below a folder is lost with the folder."""
        missing = [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
        for folder in reversed(missing):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700 if folder == self.folder else 0o777)
            sync_folder(folder.parent)

    def _check(self) -> None:
        folder = os.lstat(self.folder)
        if not stat.S_ISDIR(folder.st_mode):
            raise CannotStart(f"{self.folder} is not a folder")
        if folder.st_dev != self.directory.stat().st_dev:
            raise CannotStart(f"{self.folder} is on another file system than {self.directory}")

    def _probe(self) -> None:
        """Publishing is a hard link into the directory: find out now whether there are any, without a trace there.

        A file cannot take the place of a folder. But before the system says so it looks whether both
        are on one mount and may be written.
        """
        probe, link = self.folder / "probe.new", self.folder / "probe.link.new"
        for path in (probe, link):
            path.unlink(missing_ok=True)
        try:
            self.write_new(probe, b"", sync=False)
            os.link(probe, link)
            if not os.access(self.directory, os.W_OK | os.X_OK, effective_ids=True):
                raise CannotStart(f"{self.directory} cannot be written")
            os.rename(probe, self.folder)
        except PermissionError as error:
            raise CannotStart(f"{self.directory} cannot be written: {error.strerror}") from error
        except OSError as error:
            if error.errno not in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
                raise
        finally:
            for path in (probe, link):
                path.unlink(missing_ok=True)

    def _set_clock(self, lock: int) -> float:
        """When the machine was started: as the run before had it, where it has not been started anew since.

        It is the lock file's mtime, and the atime tells which start that was: so staging needs no file for it.
        """
        boot = zlib.crc32(_BOOT.read_bytes()) >> 1  # seconds that any file system can keep
        if int(os.fstat(lock).st_atime) != boot:
            os.utime(lock, (boot, time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)))
        return os.fstat(lock).st_mtime

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
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
        """Where it stands what small files will be, the first of which has this key."""
        return self.folder / f"{key}.group"

    def receipts(self, key: str) -> Path:
        """Where it stands what such files are."""
        return self.folder / f"{key}.receipts"

    def link(self, key: str) -> Path:
        """A second name of the part, while it replaces a file."""
        return self.folder / f"{key}.link"

    def entries(self) -> Iterator[os.DirEntry[str]]:
        """All that lies in the folder."""
        with os.scandir(self.folder) as entries:
            yield from entries

    # -- small files

    def create(self, key: str, promise: Promise) -> Manifest:
        """A new upload: an empty part and its manifest, both durable."""
        os.close(os.open(self.part(key), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644))
        manifest = Manifest(promise, 0, self.now())
        self.save(key, manifest)
        return manifest

    def save(self, key: str, manifest: Manifest) -> None:
        """Replace the manifest, atomically and durably."""
        self._write(self.manifest(key), records.write_manifest(manifest))

    def load(self, key: str) -> Manifest:
        """Read a manifest back. Raises OSError, or ValueError where it is rubbish."""
        return records.read_manifest(self._read(self.manifest(key)))

    def save_receipt(self, key: str, stored: Stored) -> None:
        """Write the receipt, durably; its mtime says by our own clock since when it is kept."""
        self._write(self.receipt(key), records.write_stored(stored), self.now())

    def load_receipt(self, key: str) -> tuple[Stored, float] | None:
        """The receipt and since when it is kept; None where there is none, or rubbish. Raises OSError."""
        try:
            stored = records.read_stored(self._read(self.receipt(key)))
            return stored, os.lstat(self.receipt(key)).st_mtime
        except (FileNotFoundError, ValueError):
            return None

    def write_group(self, path: Path, members: Sequence[Member], *, sync: bool) -> None:
        """What a group's receipts will be, in a new file; its mtime says since when they are kept."""
        self.write_new(path, records.write_group(members), sync=sync, mtime=self.now())

    def read_group(self, path: Path) -> Sequence[Member]:
        """All that can be read of it: what is torn was never durable. Raises OSError."""
        try:
            return records.read_group(self._read(path, records.LARGEST_GROUP))
        except ValueError:
            return ()

    def keys_of_group(self, path: Path) -> Sequence[str]:
        """The keys of all that it tells of. Raises OSError."""
        try:
            return records.keys_of_group(self._read(path, records.LARGEST_GROUP))
        except ValueError:
            return ()

    def discard(self, key: str) -> None:
        """Throw an upload away, so that a power cut does not bring it back."""
        self.remove(key)
        sync_folder(self.folder)

    def remove(self, key: str) -> None:
        """Throw an upload away: the manifest first, since bytes without one are nobody's."""
        for path in (self.manifest(key), self.link(key), self.part(key)):
            path.unlink(missing_ok=True)

    def renew_part(self, key: str, size: int) -> None:
        """Put a file of its own in the place of the part, with its first `size` bytes, durable.

        For a part that must be changed and may not: its file has a name elsewhere, or cannot be trusted.
        """
        new = self.folder / f"{key}.part.new"
        new.unlink(missing_ok=True)
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            if size:
                self._copy(key, fd, size)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(new, self.part(key))
        sync_folder(self.folder)

    def _copy(self, key: str, target: int, size: int) -> None:
        with self.open_part(key) as source:
            while size:
                sent = os.sendfile(target, source, None, min(size, _BLOCK))
                if not sent:
                    raise OSError(errno.EIO, "The part file is shorter than it was")
                size -= sent

    @contextlib.contextmanager
    def open_part(self, key: str) -> Iterator[int]:
        """A descriptor of the part, for reading; never through a link."""
        fd = os.open(self.part(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def write_new(self, path: Path, data: bytes, *, sync: bool, mtime: float | None = None) -> None:
        """A file that was not there before; its folder is not synced. Where it raises OSError there is none."""
        os.close(self._create(path, data, sync, mtime))

    def write_part(self, key: str, data: bytes, *, sync: bool) -> int:
        """A whole part that was not there before, likewise; its descriptor."""
        return self._create(self.part(key), data, sync)

    def _create(self, path: Path, data: bytes, sync: bool, mtime: float | None = None) -> int:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            while data:
                data = data[os.write(fd, data) :]
            if mtime is not None:
                os.utime(fd, (mtime, mtime))
            if sync:
                os.fsync(fd)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        return fd

    def _read(self, path: Path, most: int = records.LARGEST) -> bytes:
        """A small regular file; raises OSError, and ValueError where it is anything else."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise ValueError("no regular file") from None
            raise
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ValueError("no regular file")
            return os.read(fd, most)
        finally:
            os.close(fd)

    def _write(self, path: Path, data: bytes, mtime: float | None = None) -> None:
        """New file, sync, rename over the old, sync the folder: readers find the old or the new, never a half."""
        new = path.with_name(path.name + ".new")
        new.unlink(missing_ok=True)
        self.write_new(new, data, sync=True, mtime=mtime)
        try:
            os.replace(new, path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()
            raise
        sync_folder(self.folder)
