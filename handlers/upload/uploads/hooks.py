"""What others may have to say about uploads, as the registry of uploads sees it."""

from typing import Protocol

from jackfield.handlers.upload.wire.messages import Promise


class Hooks(Protocol):
    """Whoever is asked before an upload exists, and told of each that is stored."""

    @property
    def asks(self) -> bool:
        """Whether there is anybody to ask."""

    async def ask(self, key: str, promise: Promise) -> None:
        """Return where the upload may exist. Raises Failure."""

    def stored(self) -> None:
        """The store may have new events."""


class NoHooks:
    """Nobody."""

    asks = False

    async def ask(self, key: str, promise: Promise) -> None:
        """See `Hooks`."""

    def stored(self) -> None:
        """See `Hooks`."""
