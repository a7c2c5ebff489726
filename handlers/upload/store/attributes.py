"""Group, permissions, access control list and time of modification of a file that is to get its name. Blocking calls.

The bytes were written in staging, and are to look as if they had been written in the folder of their name. All is set
before the bytes are synced, and so before the name: nobody sees it change.
"""

import errno
import os
import stat
import struct
from dataclasses import dataclass
from typing import Final

from jackfield.app.handler import get_logger
from jackfield.handlers.upload.store.disk import FOLDER, Disk
from jackfield.handlers.upload.store.staging import Staging
from jackfield.handlers.upload.wire.messages import Promise

log = get_logger()

_VERSION: Final = struct.Struct("<I")
_ENTRY: Final = struct.Struct("<HHI")  # tag, permissions, id: linux/posix_acl_xattr.h
_OWNER, _GROUP, _MASK, _OTHER = 0x01, 0x04, 0x10, 0x20
_NEW_FILE: Final = 0o6  # what a program asks for when it makes a file: everybody may read and write, as far as allowed


@dataclass(frozen=True, slots=True)
class _Folder:
    """What a file gets from its folder: its group, and a list in the place of the umask."""

    group: int | None  # None: that of the process
    acl: bytes | None


class Attributes:
    """Sets them for files that are published together. `mode` are the permissions that all get, None: see above."""

    def __init__(self, staging: Staging, mode: int | None) -> None:
        self._staging = staging
        self._disk = staging.disk
        self._mode = mode
        self._own_group = os.getegid()
        self._folders: dict[str, _Folder] = {}  # by the path

    def set(self, fd: int, promise: Promise) -> os.stat_result:
        """Set them; what the file was before is returned. Raises OSError."""
        path = promise.place.rpartition("/")[0]
        if path not in self._folders:
            self._folders[path] = _of_folder(self._disk, self._staging, path)
        folder, found = self._folders[path], self._disk.fstat(fd)
        group = self._own_group if folder.group is None else folder.group
        if found.st_gid != group:
            self._set_group(fd, group, promise)
        if folder.acl is not None:
            self._disk.set_acl(fd, folder.acl)
        if self._mode is not None:
            self._disk.set_mode(fd, self._mode)
        if promise.mtime is not None:
            self._disk.set_mtime(fd, promise.mtime)
        return found

    def _set_group(self, fd: int, group: int, promise: Promise) -> None:
        try:
            self._disk.set_group(fd, group)
        except PermissionError as error:  # whoever is not in the group of a folder may write there, and not give away
            log.warning("file.group", name=promise.place, group=group, problem=str(error))


def _of_folder(disk: Disk, staging: Staging, path: str) -> _Folder:
    """What is there of the path decides: folders that are made have all of it from the one above."""
    fd = disk.open(staging.directory, FOLDER)
    try:
        for part in filter(None, path.split("/")):
            try:
                below = disk.open(part, FOLDER | os.O_NOFOLLOW, folder=fd)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                break  # where it is no folder, or may not be entered, publishing says so
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                break
            disk.close(fd)
            fd = below
        found, acl = disk.fstat(fd), disk.default_acl(fd)
        return _Folder(found.st_gid if found.st_mode & stat.S_ISGID else None, None if acl is None else _of_file(acl))
    finally:
        disk.close(fd)


def _of_file(default: bytes) -> bytes:
    """The list of a new file in a folder with this default list: acl(5), "OBJECT CREATION AND DEFAULT ACLs"."""
    entries = list(_ENTRY.iter_unpack(default[_VERSION.size :]))
    limited = {_OWNER, _OTHER, _MASK if any(tag == _MASK for tag, _, _ in entries) else _GROUP}
    packed = (
        _ENTRY.pack(tag, allowed & _NEW_FILE if tag in limited else allowed, who) for tag, allowed, who in entries
    )
    return default[: _VERSION.size] + b"".join(packed)
