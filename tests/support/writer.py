"""Those around an upload of which only the upload knows: a session that holds it, and a registry."""

from typing import ClassVar

from jackfield.app.handler import Failure
from jackfield.handlers.upload.uploads.upload import OpenUpload


class Writer:
    """See `uploads.upload.Writer`."""

    brief: ClassVar[bool] = False

    @property
    def backpressured(self) -> bool:
        """Nobody else is there."""
        return False

    def end(self, failure: Failure) -> None:
        """It is told so where it is a real one."""

    def progressed(self) -> None:
        """Nobody waits for it."""

    @property
    def waiting(self) -> bool:
        """Whoever writes here is never slow."""
        return False

    async def drained(self) -> None:
        """It never writes beside another one."""


class Owner:
    """See `uploads.upload.Owner`. `done` are the uploads whose finish has ended."""

    def __init__(self) -> None:
        self.done: list[OpenUpload] = []
        self.failures: list[Failure] = []

    def finish_begun(self, upload: OpenUpload) -> None:
        """It counts nothing."""

    def finish_failed(self, upload: OpenUpload, failure: Failure) -> None:
        """Nobody waited for it."""
        self.failures.append(failure)

    def finish_done(self, upload: OpenUpload) -> None:
        """It is stored, or open again."""
        self.done.append(upload)
