"""Reservations of free disk space."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from jackfield.app.errors import Failure
from jackfield.handlers.upload.wire.words import NO_SPACE

_VALID: Final = 0.1  # seconds for which a measurement of the free space is used again


class Space:
    """Reserves what is `free` on the disk and not `promised` to open uploads, each byte once.

    Between two measurements it counts for itself. Bytes that are being written while it measures are
    counted twice rather than not at all; so before it refuses it waits until there are no such bytes.
    """

    def __init__(self, free: Callable[[], Awaitable[int]], promised: Callable[[], int]) -> None:
        self._free = free
        self._promised = promised
        self.free = 0  # bytes of the disk, as they were measured last
        self._left = 0  # bytes that can still be reserved; set by a measurement, and counted down
        self._measured = -_VALID  # the time of that measurement, of the monotonic clock
        self._reserved = 0  # bytes that are reserved, and neither written yet nor in `promised`
        self._released = asyncio.Event()
        self._lock = asyncio.Lock()

    async def reserve(self, size: int, leave: int = 0) -> None:
        """Reserve `size` bytes, so that `leave` stay free; raises Failure `no_space`, or OSError.

        Call `release` when the bytes are written, or counted in `promised`, or will never be.
        """
        needed = size + leave
        async with self._lock:
            if self._left < needed or time.monotonic() - self._measured > _VALID:
                await self._measure()
            while self._left < needed:
                if not self._reserved:
                    raise Failure(NO_SPACE, "There is not enough space on the disk.")
                self._released.clear()
                await self._released.wait()
                await self._measure()
            self._left -= size
            self._reserved += size

    def invalidate(self) -> None:
        """Measure before the next reservation is granted."""
        self._measured = -_VALID

    async def _measure(self) -> None:
        reserved = self._promised() + self._reserved
        self.free = await self._free()
        self._left, self._measured = self.free - reserved, time.monotonic()

    def release(self, size: int) -> None:
        """End a reservation."""
        self._reserved -= size
        self._released.set()
