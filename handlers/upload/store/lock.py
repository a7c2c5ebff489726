"""Exclusive use of a staging folder: checks at start-up, a lock, and the clock in the lock file. Blocking calls."""

import errno
import fcntl
import os
import re
import stat
import time
from pathlib import Path
from typing import Final

from jackfield.app.errors import CannotStart
from jackfield.handlers.upload.store import records
from jackfield.handlers.upload.store.disk import FILE, FOLDER, Disk

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class FolderLock:
    """The lock of `folder`, the staging folder in `directory`, on the same file system."""

    def __init__(self, directory: Path, folder: Path, disk: Disk) -> None:
        self._directory = directory
        self._folder = folder
        self._disk = disk
        self._fd: int | None = None  # of the lock file, while it is held
        self._epoch = 0.0  # when the machine was started, in seconds since 1970; set by `acquire`

    def now(self) -> float:
        """Seconds since 1970, by a clock of our own: it goes on when the system's jumps, so that nothing
        expires by that, and from one run of the service to the next, until the machine is started anew.
        """
        return self._epoch + time.clock_gettime(time.CLOCK_BOOTTIME)

    def acquire(self) -> None:
        """Make the folders, see that they can be used, and lock them. Raises CannotStart."""
        try:
            self._make_folders()
            self._check()
            self._fd = self._disk.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | FILE)
            self._flock(self._fd)
            self._probe()
            self._set_clock(self._fd)
        except CannotStart:
            self.release()
            raise
        except OSError as error:
            self.release()
            raise CannotStart(f"{self._directory} cannot be used for uploads: {error.strerror}") from error

    def release(self) -> None:
        """Let another service have it."""
        if self._fd is not None:
            self._disk.close(self._fd)
            self._fd = None

    def _make_folders(self) -> None:
        """Those that are missing, durably: what is safe below a folder is lost with the folder."""
        missing = [folder for folder in (self._folder, *self._folder.parents) if not folder.exists()]
        for folder in reversed(missing):
            self._disk.make_folder(folder, mode=0o700 if folder == self._folder else 0o777)
            self._disk.sync_folder(folder.parent)

    def _check(self) -> None:
        if not stat.S_ISDIR(self._disk.lstat(self._folder).st_mode):
            raise CannotStart(f"{self._folder} is not a folder")
        with self._disk.opened(self._directory, FOLDER) as above, self._disk.opened(self._folder, FOLDER) as folder:
            if _mount(above) != _mount(folder):
                raise CannotStart(f"{self._folder} is on another file system than {self._directory}")
            self._disk.drop_default_acl(folder)  # what becomes of the files in it is decided by other folders

    def _flock(self, lock: int) -> None:
        try:
            self._disk.call(fcntl.flock, lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(f"{self._directory} is in use by another service") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            raise CannotStart(f"{self._directory} cannot be locked: this file system has no locks") from error

    def _probe(self) -> None:
        """Publishing is a hard link: find out now whether there are any, and what a sync of a folder says."""
        probe, link = self._folder / "probe.new", self._folder / "probe.link.new"
        for path in (probe, link):
            self._disk.unlink(path)
        try:
            self._disk.write_new(probe, b"", sync=False)
            self._link(probe, link)
            if not self._disk.writable(self._directory):
                raise CannotStart(f"{self._directory} cannot be written")
        finally:
            for path in (probe, link):
                self._disk.unlink(path)
        self._disk.sync_folder(self._folder)

    def _link(self, probe: Path, link: Path) -> None:
        with self._disk.opened(probe) as fd, self._disk.opened(self._folder, FOLDER) as folder:
            try:
                self._disk.link(fd, link.name, folder)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
                    raise
                problem = f"{self._directory} cannot be used for uploads: this file system has no hard links"
                raise CannotStart(problem) from error

    def _set_clock(self, lock: int) -> None:
        """Read from the lock file when the machine was started; if it was restarted since, write it anew."""
        boot = _BOOT.read_text(encoding="ascii").strip()
        started = records.read_clock(self._disk.pread(lock, records.LARGEST, 0), boot)
        if started is None:
            started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
            self._disk.truncate(lock, 0)
            self._disk.write(lock, records.write_clock(boot, started))
        self._epoch = started


def _mount(fd: int) -> str:
    """Which mount an open folder is on: a mount of the same disk is another one, too, and no link goes across."""
    found = re.search(r"^mnt_id:\s*(\d+)$", Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii"), re.MULTILINE)
    return found[1] if found else ""
