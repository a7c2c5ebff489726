"""The answers on a socket of many files, given in the order of the requests.

Each request has a *slot*, and only the foremost slot speaks. What waits to be said is counted, so that
a client that does not read is not read on either; and it is offered, never forced upon anybody: who
sends a large file for minutes may read its first answer afterwards.
"""

import asyncio
from collections import deque
from typing import Final

from app.handler import Connection, Failure
from handlers.upload.acks import Acks
from handlers.upload.session import Session

_SLOW: Final = 0.02  # seconds until a peer that is slow to read is offered the next answer
GIVE_UP: Final = 5.0  # seconds in which a peer whose socket is over may take nothing at all


class Slot:
    """The answers to one `create` or `resume`."""

    def __init__(self, token: str | None) -> None:
        self.token = token
        self.texts: deque[str] = deque()  # what is to be said, as soon as it is this slot's turn
        self.done = False  # nothing more will be
        self.session: Session | None = None
        self.acks: Acks | None = None
        self.released = False
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
        self.unsaid += len(text)
        if done:
            slot.done = True
            self.unanswered -= 1
        self._news.set()
        self._progress.set()

    async def progress(self) -> None:
        """Until something more was said, or put where it belongs."""
        self._progress.clear()
        await self._progress.wait()

    async def run(self) -> None:
        """Speak, until cancelled."""
        while True:
            if self._slots and (self._slots[0].texts or self._slots[0].done):
                await self._speak(self._slots[0])
                self._slots.popleft()
            else:
                await self._something_new()

    async def _something_new(self) -> None:
        self._news.clear()
        await self._news.wait()

    async def _speak(self, slot: Slot) -> None:
        """It is this slot's turn, until it has said all: its answers and, once it is `ready`, acks."""
        await self._utter(slot)
        acknowledging = asyncio.create_task(slot.acks.run()) if slot.acks is not None and not slot.done else None
        try:
            while not slot.done:
                await self._something_new()
                await self._utter(slot)
        finally:
            if acknowledging is not None:
                acknowledging.cancel()

    async def _utter(self, slot: Slot) -> None:
        while slot.texts:
            if not await self._connection.offer(slot.texts[0]):
                await asyncio.sleep(_SLOW)
                continue
            self.unsaid -= len(slot.texts.popleft())
            self._progress.set()

    async def all_said(self) -> None:
        """Until all is said that there is to say, and the last bytes are acknowledged; or the peer takes no more."""
        while self.unsaid and not self._connection.source.lost:
            try:
                async with asyncio.timeout(GIVE_UP):
                    await self.progress()
            except TimeoutError:
                return
        last = self._slots[0] if self._slots else None
        if last is not None and last.acks is not None and not last.done:
            await last.acks.send()
