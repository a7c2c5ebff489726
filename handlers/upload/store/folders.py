"""The folders of final names: opened part by part, made where they are missing. Blocking calls."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from jackfield.app.errors import Failure
from jackfield.handlers.upload.store.disk import FOLDER, Disk
from jackfield.handlers.upload.wire.words import NAME_TAKEN, NOT_PERMITTED


class Folders:
    """Opens the folder of one name after the other; names in one folder that come in a row cost it once.

    Never through a link, so that nobody leads a file out of the directory. At most two descriptors are open. With
    `sync` the entry of each folder is durable before the next one is opened.
    """

    def __init__(self, disk: Disk, directory: Path, *, sync: bool) -> None:
        self._disk = disk
        self._directory = directory
        self._sync = sync
        self._path: str | None = None  # of the folder that is open
        self._fd = -1  # that folder, or negative

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def of(self, name: str) -> int:
        """A descriptor of this name's folder, good until the next call.

        Raises Failure `name_taken` or `not_permitted`, or OSError.
        """
        path = name.rpartition("/")[0]
        if path != self._path:
            self._close()
            self._fd = self._disk.open(self._directory, FOLDER)
            with permitted(name):
                for part in filter(None, path.split("/")):
                    self._enter(part)
            self._path = path
        return self._fd

    def _enter(self, part: str) -> None:
        self._disk.make_folder(part, folder=self._fd)
        if self._sync:  # also one that was there: another upload may have made it, and not have synced it yet
            self._disk.sync_folder(self._fd)
        try:
            below = self._disk.open(part, FOLDER | os.O_NOFOLLOW, folder=self._fd)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise Failure(NAME_TAKEN, "A folder of the name is a file.") from None
            raise
        above, self._fd = self._fd, below
        self._disk.close(above)

    def sync(self) -> None:
        """Make durable what is new in the folder of the last name."""
        self._disk.sync_folder(self._fd)

    def _close(self) -> None:
        fd, self._fd, self._path = self._fd, -1, None
        if fd >= 0:
            self._disk.close(fd)


@contextlib.contextmanager
def permitted(name: str) -> Iterator[None]:
    """The block makes entries in the folders of this name: Failure `not_permitted` where the service may not."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise not_permitted(name) from error
        raise


def not_permitted(name: str) -> Failure:
    """The refusal of a name whose folder may not be written."""
    folder = name.rpartition("/")[0]
    return Failure(NOT_PERMITTED, f"The service may not write in {folder or 'its directory'}.")
