"""The folders that final names stand in: opened part by part, made where they are missing. Blocking calls."""

import errno
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from jackfield.app.errors import Failure
from jackfield.handlers.upload.wire.words import NAME_TAKEN

FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folders:
    """Opens the folder of one name after the other; names in one folder that come in a row cost it once.

    Never through a link, so that nobody leads a file out of the directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path: str | None = None  # whose folders are open
        self._open: list[int] = []  # from the directory down

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def of(self, name: str) -> int:
        """A descriptor of this name's folder, good until the next call. Raises Failure `name_taken`, or OSError."""
        path = name.rpartition("/")[0]
        if path != self._path:
            self._close()
            self._enter(path)
            self._path = path
        return self._open[-1]

    def _enter(self, path: str) -> None:
        self._open.append(os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        try:
            for part in filter(None, path.split("/")):
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=self._open[-1])
                self._open.append(os.open(part, FOLDER, dir_fd=self._open[-1]))
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise Failure(NAME_TAKEN, "A folder of the name is a file.") from None
            raise

    def sync(self) -> None:
        """Make durable what is new in them, from the directory down to the folder of the last name."""
        for folder in self._open:
            os.fsync(folder)

    def _close(self) -> None:
        folders, self._open, self._path = self._open, [], None
        for folder in folders:
            os.close(folder)


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
