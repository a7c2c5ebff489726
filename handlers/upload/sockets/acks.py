"""Acks: only the newest counts, and none ever holds up the receiving."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from jackfield.handlers.upload.store.contract import Part
from jackfield.handlers.upload.wire import messages

_EVERY: Final = 0.1  # seconds between acks at the most, while bytes come


class Acks:
    """Tells one client how far a part is: `offer` sends a text unless the peer is slow to read.

    An ack goes out for every `often` bytes, within 0.1 s of new bytes, and when `durable` moves.
    """

    def __init__(self, part: Part, often: int, offer: Callable[[str], Awaitable[bool]]) -> None:
        self._part = part
        self._often = often
        self._offer = offer
        self._news = asyncio.Event()
        self._plenty = asyncio.Event()
        self._told: tuple[int, int] | None = None

    def begin(self) -> None:
        """`ready` has been sent: what it said is known, and from now on there may be acks."""
        self._told = (self._part.offset, self._part.durable)

    def moved(self) -> None:
        """There is something to acknowledge."""
        self._news.set()
        if self._told is not None and self._part.offset - self._told[0] >= self._often:
            self._plenty.set()

    async def run(self) -> None:
        """Send acks until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            if not await self.send():
                self._news.set()  # the peer is slow to read: once more, a little later
            self._plenty.clear()
            try:
                async with asyncio.timeout(_EVERY):
                    await self._plenty.wait()
            except TimeoutError:
                continue

    async def send(self) -> bool:
        """Send one now, where there is anything new; False when the peer is too slow for it."""
        state = (self._part.offset, self._part.durable)
        if self._told is None or state == self._told:
            return True
        if not await self._offer(messages.ack(*state)):
            return False
        self._told = state
        return True
