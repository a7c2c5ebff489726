"""Sends the answers on a socket of many files, as fast as the client reads them and no faster.

An answer never blocks the receiving: a client may send a large file for minutes before it reads its first answer.
Pending answers are counted. Above the high-water mark nothing more is received from the client.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Final

from jackfield.app.handler import Connection, Failure
from jackfield.handlers.upload import tasks
from jackfield.handlers.upload.sockets.acks import Acks
from jackfield.handlers.upload.store.contract import Part
from jackfield.handlers.upload.wire.many import ManyConversation, Slot
from jackfield.handlers.upload.wire.words import IDLE

HIGH_WATER: Final = 1024 * 1024  # bytes of answers that wait to be sent, above which nothing more is received
LOW_WATER: Final = HIGH_WATER // 2  # bytes from which on it goes on
_ROUGHLY: Final = 4 * 1024  # bytes of them that the connection need not know of: to say each would cost as much
_WRITE: Final = 16 * 1024  # bytes of answers in one write: a write costs as much as making ten of them
STALLED: Final = 5.0  # seconds in which a peer whose socket is over may take nothing at all
LINGER: Final = 30.0  # seconds in which it must have taken everything


class Answers:
    """The answers of `conversation`. Say `changed`, `begin` or `done` when it has said something."""

    def __init__(self, connection: Connection, conversation: ManyConversation) -> None:
        self._connection = connection
        self._conversation = conversation
        self._counted = 0  # bytes that the connection knows of
        self._news = asyncio.Event()  # there may be something to send
        self._progress = asyncio.Event()  # something was said or sent since `progress` began to wait
        self._tasks: list[asyncio.Task[None]] = []  # the sending, and the watch over the link
        self._lost_at: float | None = None  # of the loop's clock; set when the link is lost
        self.over = False  # nothing will be sent any more
        self._acks: dict[Slot, Acks] = {}  # of slots whose `ready` was said and that are not done
        self._acknowledged: Slot | None = None  # whose acks are being sent
        self._acknowledging: asyncio.Task[None] | None = None

    # -- what there is to send

    def begin(self, slot: Slot, part: Part, often: int) -> None:
        """Its `ready` was said: from now on there may be acks, whenever it is its turn, until `done` is said."""
        if slot not in self._acks:
            self._acks[slot] = Acks(part, often, partial(self._offer, slot))
        self._acks[slot].begin()
        self.changed()

    def moved(self, slot: Slot) -> None:
        """There may be something to acknowledge."""
        if slot in self._acks:
            self._acks[slot].moved()

    def done(self, slot: Slot) -> None:
        """Its last answer was said."""
        self._acks.pop(slot, None)
        self.changed()

    def changed(self) -> None:
        """The conversation has said something."""
        self._count()
        self._news.set()
        self._progress.set()

    def _count(self) -> None:
        pending = 0 if self.over else self._conversation.pending_bytes
        if pending and abs(pending - self._counted) < _ROUGHLY:
            return
        self._connection.count_unsent(pending - self._counted)
        self._counted = pending

    def _offer(self, slot: Slot, acks: Sequence[str]) -> bool:
        return self._conversation.may_acknowledge(slot) and self._connection.offer_all(acks)

    # -- back-pressure

    @property
    def too_many(self) -> bool:
        """Whether so many bytes of answers wait that nothing more may be received."""
        return self._conversation.pending_bytes > HIGH_WATER

    async def wait_for_space(self, limit: float) -> None:
        """Until few enough answers wait, or nothing can be sent any more.

        Raises Failure `idle` where the peer has let us wait for `limit` seconds in all: to read a little now and then
        is not enough.
        """
        loop = asyncio.get_running_loop()
        left = limit
        while self._conversation.pending_bytes > LOW_WATER and not self.over:
            began, blocked = loop.time(), self._conversation.blocked_by_peer
            try:
                async with asyncio.timeout(left if blocked else None):
                    await self._connection.interruptible(self.progress())
            except TimeoutError:
                self._give_up()
                raise Failure(IDLE, f"The answers were not read within {limit:g} s.") from None
            if blocked:
                left -= loop.time() - began

    async def progress(self) -> None:
        """Until something more was said or sent, or nothing can be sent any more."""
        self._progress.clear()
        if not self.over:
            await self._progress.wait()

    # -- sending

    def start(self) -> None:
        """Send in a task of its own, until `stop`, or until nothing can be sent any more."""
        self._tasks = [
            self._begin("upload.answers", self._run()),
            self._begin("upload.link", self._watch_link()),
        ]

    def stop(self) -> None:
        """Send nothing more: the socket is over."""
        self._give_up()
        for task in self._tasks:
            task.cancel()

    def _give_up(self) -> None:
        self.over = True
        self._count()
        self._news.set()
        self._progress.set()

    async def _watch_link(self) -> None:
        """End the waits for the peer when the link is lost."""
        await self._connection.until_lost()
        self._lost_at = asyncio.get_running_loop().time()
        self._give_up()

    @property
    def lost_for(self) -> float:
        """Seconds since the link was lost; 0 while it is there."""
        return 0.0 if self._lost_at is None else asyncio.get_running_loop().time() - self._lost_at

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = tasks.begin(name, work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """End the socket if a task that sends its answers has failed: its client would wait for ever."""
        failure = None if task.cancelled() else task.exception()
        if isinstance(failure, Failure):
            self._connection.interrupt(failure)

    async def _run(self) -> None:
        try:
            while not self.over:
                self._let_acknowledge()
                texts = self._conversation.sendable(_WRITE)
                if not texts:
                    self._news.clear()
                    await self._news.wait()
                elif self._connection.offer_all(texts):
                    self._conversation.sent(len(texts))
                    self._count()
                    self._progress.set()
                elif not await self._connection.drained():
                    return
        finally:
            self._give_up()
            if self._acknowledging is not None:
                self._acknowledging.cancel()

    def _let_acknowledge(self) -> None:
        """The slot whose turn it is may send acks, until it is done."""
        foremost = self._conversation.foremost
        slot = foremost if foremost in self._acks else None
        if slot is not self._acknowledged:
            if self._acknowledging is not None:
                self._acknowledging.cancel()
            self._acknowledging = None if slot is None else self._begin("upload.acks", self._acks[slot].run())
            self._acknowledged = slot

    async def all_sent(self) -> None:
        """Until all is sent that there is to say, and the last bytes are acknowledged; or the peer takes no more."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + LINGER
        while self._conversation.pending_bytes and not self.over:
            try:
                async with asyncio.timeout_at(min(loop.time() + STALLED, latest)):
                    await self.progress()
            except TimeoutError:
                return
        foremost = self._conversation.foremost
        if foremost is not None and foremost in self._acks:
            self._acks[foremost].send()
