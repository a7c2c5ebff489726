"""All calls of the store that touch the disk: here syncs are timed, and here tests inject faults. Blocking calls."""

import contextlib
import ctypes
import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from jackfield.app.handler import get_logger

FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY
FILE: Final = os.O_NOFOLLOW | os.O_NONBLOCK
"""Never through a link; and a FIFO in the place of a file does not block."""

_BLOCK: Final = 1024 * 1024

log = get_logger()

_P = ParamSpec("_P")
_T = TypeVar("_T")

_libc = ctypes.CDLL(None, use_errno=True)


class Disk:
    """The system calls, each through `call`. All raise OSError.

    `observe` is called with the seconds that each sync took.
    """

    def __init__(self, observe: Callable[[float], None] = lambda _: None) -> None:
        self._observe = observe
        self._syncs_folders = True  # until the file system says that it does not

    def call(self, function: Callable[_P, _T], /, *arguments: _P.args, **options: _P.kwargs) -> _T:
        """Make this system call. Tests replace this method."""
        return function(*arguments, **options)

    # -- descriptors

    def open(self, path: Path | str, flags: int, *, folder: int | None = None) -> int:
        """A descriptor; `path` is relative to the descriptor `folder` where one is given."""
        return self.call(os.open, path, flags | os.O_CLOEXEC, 0o666, dir_fd=folder)

    def close(self, fd: int) -> None:
        """Give the descriptor back. That this fails tells nothing that a sync has not told."""
        with contextlib.suppress(OSError):
            self.call(os.close, fd)

    @contextlib.contextmanager
    def opened(self, path: Path, flags: int = os.O_RDONLY | FILE) -> Iterator[int]:
        """A descriptor for the length of the block."""
        fd = self.open(path, flags)
        try:
            yield fd
        finally:
            self.close(fd)

    def create(self, path: Path, data: bytes, *, sync: bool = False, mtime: float | None = None) -> int:
        """A descriptor of a file that was not there before, with these bytes. Where it raises there is no file."""
        fd = self.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            self.write(fd, data)
            if mtime is not None:
                self.call(os.utime, fd, (mtime, mtime))
            if sync:
                self.fsync(fd)
        except BaseException:
            self.close(fd)
            with contextlib.suppress(OSError):
                self.unlink(path)
            raise
        return fd

    def write_new(self, path: Path, data: bytes, *, sync: bool, mtime: float | None = None) -> None:
        """The same, closed."""
        self.close(self.create(path, data, sync=sync, mtime=mtime))

    def replace_file(self, path: Path, data: bytes, *, mtime: float | None = None, also: Path | None = None) -> None:
        """Put a new file in the place of `path`, atomically and durably: readers find the old or the new one.

        `also` is a name beside it that the new file gets first.
        """
        new = path.with_name(f"{path.name}.new")
        self.unlink(new)
        self.write_new(new, data, sync=True, mtime=mtime)
        try:
            if also is not None:
                self.add_name(new, also)
            self.replace(new, path)
        except OSError:
            with contextlib.suppress(OSError):
                self.unlink(new)
            raise
        self.sync_folder(path.parent)

    # -- bytes

    def write(self, fd: int, data: bytes) -> None:
        """All of `data`."""
        while data:
            data = data[self.call(os.write, fd, data) :]

    def pwritev(self, fd: int, views: Sequence[memoryview], place: int) -> int:
        """How many bytes were written from `place` on."""
        return self.call(os.pwritev, fd, views, place)

    def pread(self, fd: int, size: int, place: int) -> bytes:
        """Up to `size` bytes from `place` on."""
        return self.call(os.pread, fd, size, place)

    def read_file(self, path: Path, most: int) -> bytes:
        """Up to `most` bytes of a regular file; ValueError where it is anything else."""
        try:
            with self.opened(path) as fd:
                if not stat.S_ISREG(self.fstat(fd).st_mode):
                    raise ValueError("no regular file")
                return self.call(os.read, fd, most)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise ValueError("no regular file") from None
            raise

    def copy(self, source: int, target: int, size: int) -> None:
        """The first `size` bytes from one descriptor to another."""
        while size:
            sent = self.call(os.sendfile, target, source, None, min(size, _BLOCK))
            if not sent:
                raise OSError(errno.EIO, "The file is shorter than it was")
            size -= sent

    def truncate(self, file: int | Path, size: int) -> None:
        """Cut it to `size` bytes."""
        self.call(os.truncate, file, size)

    # -- syncs

    def fsync(self, fd: int) -> None:
        """All of a file is durable."""
        self._timed(os.fsync, fd)

    def fdatasync(self, fd: int) -> None:
        """The bytes of a file are durable, and its size."""
        self._timed(os.fdatasync, fd)

    def sync_folder(self, folder: int | Path) -> None:
        """The entries of a folder are durable; where the file system has no such thing (EINVAL), it is logged once."""
        if isinstance(folder, Path):
            with self.opened(folder, FOLDER) as fd:
                self.sync_folder(fd)
            return
        try:
            self._timed(os.fsync, folder)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            if self._syncs_folders:
                self._syncs_folders = False
                log.warning("disk.no_folder_sync", problem="This file system does not sync folders.")

    def sync_system(self, fd: int) -> None:
        """All that was written to the file system of `fd` since it was opened is durable."""
        self._timed(syncfs, fd)

    def _timed(self, sync: Callable[[int], None], fd: int) -> None:
        begun = time.perf_counter()
        self.call(sync, fd)
        self._observe(time.perf_counter() - begun)

    # -- names

    def link(self, fd: int, name: str, folder: int) -> None:
        """A name in `folder` for the very file that is open, whatever stands at its path by now; never overwrites."""
        self.call(os.link, f"/proc/self/fd/{fd}", name, dst_dir_fd=folder, follow_symlinks=True)

    def add_name(self, path: Path, name: Path) -> None:
        """A second name of a file, in the place of what had it before."""
        try:
            self.call(os.link, path, name, follow_symlinks=False)
        except FileExistsError:
            self.unlink(name)
            self.call(os.link, path, name, follow_symlinks=False)

    def touch(self, path: Path) -> None:
        """It was modified now."""
        self.call(os.utime, path, follow_symlinks=False)

    def append(self, path: Path, data: bytes) -> None:
        """Behind what stands in a file, which is made where there is none. Nothing is synced."""
        with self.opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | FILE) as fd:
            self.write(fd, data)

    def replace(self, source: Path, target: Path | str, *, folder: int | None = None) -> None:
        """Rename, over what was there; `target` is relative to the descriptor `folder` where one is given."""
        self.call(os.replace, source, target, dst_dir_fd=folder)

    def unlink(self, path: Path) -> None:
        """Remove a name, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.call(os.unlink, path)

    def make_folder(self, path: Path | str, mode: int = 0o777, *, folder: int | None = None) -> None:
        """A folder, if there is nothing of that name; `path` may be relative as in `open`."""
        with contextlib.suppress(FileExistsError):
            self.call(os.mkdir, path, mode, dir_fd=folder)

    # -- attributes

    def default_acl(self, folder: int) -> bytes | None:
        """The list of access rights that files in a folder begin with; None where it has none."""
        return self._attribute(folder, "system.posix_acl_default")

    def _attribute(self, fd: int, name: str) -> bytes | None:
        try:
            return self.call(os.getxattr, fd, name)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
                raise
            return None

    def drop_default_acl(self, folder: int) -> None:
        """Files in it begin with none."""
        if self.default_acl(folder) is not None:
            self.call(os.removexattr, folder, "system.posix_acl_default")

    def set_acl(self, fd: int, acl: bytes) -> None:
        """The list of access rights of a file."""
        self.call(os.setxattr, fd, "system.posix_acl_access", acl)

    def set_mode(self, fd: int, mode: int) -> None:
        """The permissions of a file."""
        self.call(os.fchmod, fd, mode)

    def set_group(self, fd: int, group: int) -> None:
        """The group of a file."""
        self.call(os.fchown, fd, -1, group)

    def set_mtime(self, fd: int, moment: int) -> None:
        """When a file was modified, in nanoseconds since 1970."""
        self.call(os.utime, fd, ns=(moment, moment))

    # -- looking

    def fstat(self, fd: int) -> os.stat_result:
        """Of an open file."""
        return self.call(os.fstat, fd)

    def lstat(self, path: Path | str, *, folder: int | None = None) -> os.stat_result:
        """Of what has this name, which may be a link; `path` may be relative as in `open`."""
        return self.call(os.stat, path, dir_fd=folder, follow_symlinks=False)

    def exists(self, path: Path | str, *, folder: int | None = None) -> bool:
        """Whether anything has this name."""
        try:
            self.lstat(path, folder=folder)
        except FileNotFoundError:
            return False
        return True

    def writable(self, folder: Path) -> bool:
        """Whether entries may be made in a folder. Raises OSError where it is not there."""
        if self.call(os.access, folder, os.W_OK | os.X_OK, effective_ids=True):
            return True
        self.lstat(folder)
        return False

    def entries(self, folder: Path) -> Iterator[os.DirEntry[str]]:
        """All that lies in a folder."""
        with self.call(os.scandir, folder) as entries:
            yield from entries

    def free(self, folder: Path) -> int:
        """Bytes that may still be written there."""
        system = self.call(os.statvfs, folder)
        return system.f_bavail * system.f_frsize


def syncfs(fd: int) -> None:
    """syncfs(2). Raises OSError."""
    if _libc.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _syncfs_tells() -> bool:
    """Whether syncfs says that writing failed: Linux does since 5.8."""
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return hasattr(_libc, "syncfs") and version is not None and (int(version[1]), int(version[2])) >= (5, 8)


SYNCFS_TELLS: Final = _syncfs_tells()
