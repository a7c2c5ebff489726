"""Acks: they never block the receiving, and no two are further apart than the protocol says."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from jackfield.handlers.upload.store.contract import Part
from jackfield.handlers.upload.uploads.batches import BATCH
from jackfield.handlers.upload.wire import messages

_EVERY: Final = 0.1  # seconds between acks at the most, while bytes come
_TOGETHER: Final = 64  # acks in one write at the most


class Acks:
    """Tells one client how far a part is: `offer` sends texts in one write, or refuses where the peer is slow to read.

    An ack goes out for every `often` bytes, within 0.1 s of new bytes, and when `durable` moves. Where the offset has
    moved by more than that at once, as when several batches end in one turn of the loop or the peer did not read for a
    while, the acks between are made up for: whatever is below the offset is written, so each of them is true.
    """

    def __init__(self, part: Part, often: int, offer: Callable[[Sequence[str]], bool]) -> None:
        self._part = part
        self._often = often
        self._step = max(often, BATCH)
        self._offer = offer
        self._news = asyncio.Event()
        self._enough = asyncio.Event()
        self._sent: tuple[int, int] | None = None  # offset and durable of the last ack, or of `ready`; None before it

    def begin(self) -> None:
        """`ready` has been sent: what it said is known, and from now on there may be acks."""
        self._sent = (self._part.offset, self._part.durable)

    def moved(self) -> None:
        """There is something to acknowledge."""
        self._news.set()
        if self._sent is not None and self._part.offset - self._sent[0] >= self._often:
            self._enough.set()

    async def run(self) -> None:
        """Send acks until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            if not self.send():
                self._news.set()  # the peer is slow to read: once more, a little later
            self._enough.clear()
            try:
                async with asyncio.timeout(_EVERY):
                    await self._enough.wait()
            except TimeoutError:
                continue

    def send(self, state: tuple[int, int] | None = None) -> bool:
        """Acknowledge `state` (offset, durable; None: as the part stands now) where that is anything new.

        False when the peer is too slow for it, or there is more than goes into one write.
        """
        state = state or (self._part.offset, self._part.durable)
        if self._sent is None or state == self._sent or state[0] < self._sent[0]:
            return True  # it has been begun anew: the next `ready` says so
        states = self._steps(self._sent[0], *state)
        if not self._offer([messages.ack(*each) for each in states]):
            return False
        self._sent = states[-1]
        return self._sent == state

    def _steps(self, sent: int, offset: int, durable: int) -> list[tuple[int, int]]:
        between = range(sent + self._step, offset, self._step)[:_TOGETHER]
        steps = [(at, min(at, durable)) for at in between]
        return steps if len(steps) == _TOGETHER else [*steps, (offset, durable)]
