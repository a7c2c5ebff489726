"""How long to go on trying, and how long to wait between two attempts."""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from jackfield.handlers.upload.client.failures import Lost, Unreachable

_FIRST = 0.5  # seconds; the longest wait after the first failure
_LONGEST = 8.0


class Deadline:
    """The moment to give up: `limit` seconds after the last progress.

    It also backs off between attempts, with full jitter: every client of a service that restarts comes
    back at another moment.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit  # seconds without progress before it is given up
        self._since = time.monotonic()
        self._best = 0
        self._failures = 0

    def reset(self) -> None:
        """It begins at its first byte again, so the bytes from there on are progress."""
        self._best = 0

    def reached(self, offset: int) -> None:
        """The service has the bytes before `offset`. It is progress if it never had as many."""
        if offset > self._best:
            self._since = time.monotonic()
            self._best = offset
            self._failures = 0

    def extend(self, seconds: float) -> None:
        """Move it: so much time does not count."""
        self._since += seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time in this block does not count: we wait for our own side, or are told to wait."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.extend(time.monotonic() - began)

    @property
    def left(self) -> float:
        """Seconds until it is given up; negative once it is over."""
        return self._since + self.limit - time.monotonic()

    async def back_off(self, lost: Lost) -> None:
        """Wait before the next attempt, but not past the deadline: the last attempt is made right there.

        Raises `Unreachable` when there was no progress for `limit` seconds.
        """
        if self.left <= 0:
            raise Unreachable("unreachable", f"{lost.detail}; gave up after {self.limit:g} s without progress")
        jitter = random.uniform(0, min(_LONGEST, _FIRST * 2**self._failures))  # noqa: S311 - no secret
        self._failures += 1
        await asyncio.sleep(max(0, min((lost.retry_after or 0) + jitter, self.left)))
