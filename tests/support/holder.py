"""A session that holds an upload, of which only the upload knows."""

from jackfield.app.handler import Failure


class Holder:
    """See `open_upload.Holder`."""

    @property
    def held_up(self) -> bool:
        """Nobody else is there."""
        return False

    def end(self, failure: Failure) -> None:
        """It is told so where it is a real one."""

    def progressed(self) -> None:
        """Nobody waits for it."""

    async def quiet(self) -> None:
        """It never writes beside another one."""
