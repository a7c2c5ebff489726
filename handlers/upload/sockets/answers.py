"""The answers on a socket of many files, given in the order of the requests.

Each request has a *slot*, and only the foremost slot speaks. What waits to be said is counted, so that
a client that does not read is not read on either; and it is offered, never forced upon anybody: who
sends a large file for minutes may read its first answer afterwards.
"""

import asyncio
from collections import deque
from typing import Final

from jackfield.app.handler import Connection, Failure
from jackfield.handlers.upload.sockets.acks import Acks
from jackfield.handlers.upload.sockets.session import Session
from jackfield.handlers.upload.wire.words import IDLE

SLOTS: Final = 512  # requests that wait for their answers at once; beyond them the socket is not read
BACKLOG: Final = 1024 * 1024  # bytes of answers that wait to be read, likewise
_TOGETHER: Final = 16 * 1024  # characters of answers in one write: a write costs as much as making ten of them
_SLOW: Final = 0.02  # seconds until a peer that is slow to read is offered the next answer
GIVE_UP: Final = 5.0  # seconds in which a peer whose socket is over may take nothing at all


class Slot:
    """The answers to one `create` or `resume`."""

    def __init__(self, token: str | None) -> None:
        self.token = token
        self.texts: deque[str] = deque()  # what is to be said, as soon as it is this slot's turn
        self.done = False  # nothing more will be
        self.session: Session | None = None  # until it is let go
        self.acks: Acks | None = None
        self.ending: Failure | None = None  # it is taken over, and ends when what has arrived is used

    def moved(self) -> None:
        """There is something to acknowledge."""
        if self.acks is not None:
            self.acks.moved()


class Answers:
    """All slots of one socket. `unsaid` counts the bytes that wait, `unanswered` the slots that are not done."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._slots: deque[Slot] = deque()
        self._news = asyncio.Event()
        self._progress = asyncio.Event()
        self._acknowledged: Acks | None = None  # whose acks are being sent
        self._acknowledging: asyncio.Task[None] | None = None
        self.unsaid = 0
        self.unanswered = 0

    @property
    def unheard(self) -> bool:
        """Whether it is the peer that the next answer waits for."""
        return bool(self._slots and self._slots[0].texts)

    def slot(self, token: str | None) -> Slot:
        """One behind all others."""
        slot = Slot(token)
        self._slots.append(slot)
        self.unanswered += 1
        return slot

    def say(self, slot: Slot, text: str, *, done: bool = False) -> None:
        """Put one text where it belongs; after one that is `done` nothing more may be said there."""
        assert not slot.done, "one `stored` or `error` for each request"
        slot.texts.append(text)
        self._count(len(text.encode()))
        if done:
            slot.done = True
            self.unanswered -= 1
        self._news.set()
        self._progress.set()

    def _count(self, size: int) -> None:
        self.unsaid += size
        self._connection.count_unsent(size)

    async def room(self, limit: float) -> None:
        """Until not too much waits. Raises Failure `idle` where the peer reads no answer for `limit` seconds."""
        while self.unanswered >= SLOTS or self.unsaid > BACKLOG:
            try:
                async with asyncio.timeout(limit):
                    await self._connection.interruptible(self.progress())
            except TimeoutError:
                if self.unheard:
                    raise Failure(IDLE, f"No answer was read within {limit:g} s.") from None

    async def progress(self) -> None:
        """Until something more was said, or put where it belongs."""
        self._progress.clear()
        await self._progress.wait()

    async def run(self) -> None:
        """Speak, until cancelled."""
        try:
            while True:
                self._acknowledge()
                texts = self._due()
                if not texts:
                    await self._something_new()
                elif self._connection.offer_all(texts):
                    self._said(len(texts))
                else:
                    await asyncio.sleep(_SLOW)
        finally:
            if self._acknowledging is not None:
                self._acknowledging.cancel()

    async def _something_new(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _acknowledge(self) -> None:
        """There are acks for the foremost slot, until it is done."""
        acks = self._slots[0].acks if self._slots and not self._slots[0].done else None
        if acks is not self._acknowledged:
            if self._acknowledging is not None:
                self._acknowledging.cancel()
            self._acknowledging = None if acks is None else asyncio.create_task(acks.run())
            self._acknowledged = acks

    def _due(self) -> list[str]:
        """What comes next, of as many slots as are done, up to what is worth one write."""
        texts: list[str] = []
        size = 0
        for slot in self._slots:
            for text in slot.texts:
                texts.append(text)
                size += len(text)
            if not slot.done or size >= _TOGETHER:
                break
        return texts

    def _said(self, count: int) -> None:
        """So many texts are said; slots that have nothing more to say are over."""
        slots = self._slots
        for _ in range(count):
            self._count(-len(slots[0].texts.popleft().encode()))
            if slots[0].done and not slots[0].texts:
                slots.popleft()
        self._progress.set()

    async def all_said(self) -> None:
        """Until all is said that there is to say, and the last bytes are acknowledged; or the peer takes no more."""
        while self.unsaid and not self._connection.lost:
            try:
                async with asyncio.timeout(GIVE_UP):
                    await self.progress()
            except TimeoutError:
                return
        last = self._slots[0] if self._slots else None
        if last is not None and last.acks is not None and not last.done:
            last.acks.send()
