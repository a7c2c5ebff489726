"""The bytes of the disk that nobody was promised."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from jackfield.app.errors import Failure
from jackfield.handlers.upload.wire.words import NO_SPACE

_BELIEVED: Final = 0.1  # seconds for which free space is not asked for again


class Room:
    """Hands out what is `free` on the disk and not `promised` to open uploads, each byte once.

    Between two looks at the disk it counts for itself. Bytes that are being written while it looks are
    counted twice rather than not at all; so before it refuses it waits until no such bytes are there.
    """

    def __init__(self, free: Callable[[], Awaitable[int]], promised: Callable[[], int]) -> None:
        self._free = free
        self._promised = promised
        self._left = 0
        self._measured = -_BELIEVED  # never yet
        self._claimed = 0  # bytes claimed, and neither written yet nor promised to an open upload
        self._settled = asyncio.Event()
        self._lock = asyncio.Lock()

    async def claim(self, size: int, leave: int = 0) -> None:
        """Take `size` bytes, so that `leave` are left; raises Failure `no_space`, or OSError.

        Say `settle` when the bytes are written, or counted in `promised`, or will never be.
        """
        needed = size + leave
        async with self._lock:
            if self._left < needed or time.monotonic() - self._measured > _BELIEVED:
                await self._measure()
            while self._left < needed:
                if not self._claimed:
                    raise Failure(NO_SPACE, "There is not enough room on the disk.")
                self._settled.clear()
                await self._settled.wait()
                await self._measure()
            self._left -= size
            self._claimed += size

    def doubt(self) -> None:
        """Look at the disk before the next claim is granted."""
        self._measured = -_BELIEVED

    async def _measure(self) -> None:
        owed = self._promised() + self._claimed
        self._left, self._measured = await self._free() - owed, time.monotonic()

    def settle(self, size: int) -> None:
        """These bytes need not be held back by us any more."""
        self._claimed -= size
        self._settled.set()
