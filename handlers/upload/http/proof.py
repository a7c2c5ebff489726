"""What the body of one request must have: its bytes count only once they have it."""

import asyncio
import hashlib
from collections.abc import Sequence

from jackfield.app.handler import Failure


class Proof:
    """A digest of the body; `failure` is what another one is answered with. `algorithm` is one of `hashlib`."""

    def __init__(self, algorithm: str, digest: bytes, failure: Failure) -> None:
        self.failure = failure
        self._expected = digest
        self._found = hashlib.new(algorithm, usedforsecurity=False)

    async def take(self, views: Sequence[memoryview]) -> None:
        """The next bytes of the body. They are digested in a thread: they may be many."""
        await asyncio.to_thread(self._update, views)

    def _update(self, views: Sequence[memoryview]) -> None:
        for view in views:
            self._found.update(view)

    @property
    def holds(self) -> bool:
        """Whether the body, which is whole, has this digest."""
        return self._found.digest() == self._expected
