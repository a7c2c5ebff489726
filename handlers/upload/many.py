"""A socket on `/upload`: many files, one after the other, without waiting for answers.

While one file is being made safe the next ones come in, so that their syncs are shared. The answers
are given in the order in which they were asked for: each request has a *slot*, and only the foremost
slot speaks.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from prometheus_client import Counter

from app.errors import BAD_MESSAGE, DRAINING, IDLE, INCOMPLETE, TIMED_OUT
from app.handler import Batch, Connection, Failure
from handlers.upload import messages
from handlers.upload.acks import Acks
from handlers.upload.messages import Create, End, Promise, Receipt, Restart, Resume
from handlers.upload.open_upload import OpenUpload
from handlers.upload.protocol import Bytes, Finish, Forget
from handlers.upload.session import Session
from handlers.upload.settings import UploadOptions
from handlers.upload.store import Kept
from handlers.upload.uploads import Uploads

BATCH: Final = 2 * 1024 * 1024  # bytes, as on a socket of one upload
PATIENCE: Final = 0.02  # seconds
SLOTS: Final = 512  # requests that wait for their answers at once; beyond them the socket is not read
BACKLOG: Final = 1024 * 1024  # bytes of answers that wait to be read, likewise


class Slot:
    """The answers to one `create` or `resume`."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token
        self.texts: list[str] = []  # what is to be said, as soon as it is this slot's turn
        self.done = False
        self.session: Session | None = None
        self.acks: Acks | None = None
        self.released = False


class ManySocket:
    """Serves one socket on which uploads are created."""

    def __init__(self, connection: Connection, uploads: Uploads, options: UploadOptions, results: Counter) -> None:
        self._connection = connection
        self._uploads = uploads
        self._options = options
        self._results = results
        self._slots: deque[Slot] = deque()
        self._current: Slot | None = None  # which takes bytes
        self._discarding = False  # after an error: up to the next request
        self._said = asyncio.Event()  # a slot has something to say
        self._room = asyncio.Event()  # a slot has said all
        self._releases: set[asyncio.Task[None]] = set()
        self._least = min(BATCH, max(options.window // 4, 1))

    async def run(self) -> None:
        """Until the client leaves or breaks the rules; then what has come is kept, what was ended is finished."""
        answering = asyncio.create_task(self._answer())
        try:
            while True:
                await self._step()
        finally:
            answering.cancel()
            await self._leave()

    # -- one turn

    async def _step(self) -> None:
        try:
            item = await self._connection.take(self._least, PATIENCE, self._options.idle_timeout)
        except Failure as failure:
            raise Failure(IDLE, failure.detail) if failure.kind is TIMED_OUT else failure from None
        if isinstance(item, Batch):
            try:
                await self._bytes(item)
            finally:
                item.release()
            return
        match messages.parse_many(item):
            case Create(promise):
                await self._begin(lambda: self._create(promise))
            case Resume(token):
                await self._begin(lambda: self._find(token), token)
            case End() | Restart() as message:
                await self._tell(message)

    async def _create(self, promise: Promise) -> tuple[str, OpenUpload]:
        created = await self._uploads.create(promise, lazily=True)
        self._results.labels("created").inc()
        return created

    async def _find(self, token: str) -> tuple[str, OpenUpload | Kept]:
        return token, await self._uploads.find(token)

    async def _begin(
        self, get: Callable[[], Awaitable[tuple[str, OpenUpload | Kept]]], token: str | None = None
    ) -> None:
        """A request: get its upload, hold it, say `ready`; or say what was wrong with it."""
        if self._current is not None:
            self._fail(self._current, Failure(INCOMPLETE, "The next upload came before the end of this one."))
        self._current, self._discarding = None, True
        await self._wait_for_room()
        slot = Slot(token)
        self._slots.append(slot)
        try:
            slot.token, found = await get()
            receipt = found.receipt if isinstance(found, Kept) else await self._hold(slot, found)
        except Failure as failure:
            self._fail(slot, failure)
            return
        if receipt is not None:
            self._finished(slot, receipt)
            return
        self._current, self._discarding = slot, False
        self._ready(slot)

    async def _hold(self, slot: Slot, upload: OpenUpload) -> Receipt | None:
        slot.acks = Acks(upload.part, self._options.window // 4, self._connection.offer)
        slot.session = Session(
            upload, self._options, self._results, lambda failure: self._fail(slot, failure), lambda: self._moved(slot)
        )
        await slot.session.hold()
        return upload.receipt

    async def _wait_for_room(self) -> None:
        while len(self._slots) >= SLOTS or self._connection.backlog > BACKLOG:
            self._room.clear()
            await self._connection.interruptible(self._room.wait())

    def _ready(self, slot: Slot) -> None:
        assert slot.session is not None
        assert slot.token is not None
        upload, options = slot.session.upload, self._options
        text = messages.ready(
            slot.token, upload.promise, upload.part.offset, upload.sha256, options.message_size, options.window
        )
        self._say(slot, text)
        if slot.acks is not None:
            slot.acks.begin()

    async def _bytes(self, batch: Batch) -> None:
        slot = self._taking("Bytes")
        if slot is None or slot.session is None:
            return
        try:
            await slot.session.receive(Bytes(batch.size), batch.views)
        except Failure as failure:
            self._fail(slot, failure)

    async def _tell(self, message: End | Restart) -> None:
        slot = self._taking(type(message).__name__)
        if slot is None or slot.session is None:
            return
        try:
            effect = await slot.session.receive(message)
        except Failure as failure:
            self._fail(slot, failure)
            return
        if isinstance(effect, Forget):
            self._ready(slot)
        elif isinstance(effect, Finish):
            self._current = None
            finishing = slot.session.finish(effect.sha256, self._uploads.stored)
            finishing.add_done_callback(lambda task: self._concluded(slot, task))

    def _taking(self, what: str) -> Slot | None:
        """Which slot the bytes are for; None while they are thrown away. Raises `bad_message` before any request."""
        if self._current is None and not self._discarding:
            raise Failure(BAD_MESSAGE, f"{what} without a `create` or `resume` before.")
        return self._current

    # -- how it ends for one of them

    def _concluded(self, slot: Slot, finishing: "asyncio.Task[Receipt]") -> None:
        error = finishing.exception() if not finishing.cancelled() else None
        if isinstance(error, Failure):
            self._fail(slot, error)
        elif error is not None or finishing.cancelled():
            self._connection.interrupt(Failure(DRAINING, "The service restarts; come back."))
        else:
            self._finished(slot, finishing.result())

    def _finished(self, slot: Slot, receipt: Receipt) -> None:
        assert slot.token is not None
        self._say(slot, messages.stored(slot.token, receipt), done=True)
        self._release(slot, None)

    def _fail(self, slot: Slot, failure: Failure) -> None:
        """It failed, for itself alone: the socket goes on with the next request."""
        if slot.done:
            return
        if self._current in (slot, None):  # what follows may have been meant for it
            self._current, self._discarding = None, True
        self._say(slot, messages.error(failure, slot.token), done=True)
        self._release(slot, failure)

    def _release(self, slot: Slot, failure: Failure | None) -> None:
        if slot.session is not None and not slot.released:
            slot.released = True
            release = asyncio.create_task(slot.session.release(failure))
            self._releases.add(release)
            release.add_done_callback(self._releases.discard)

    async def _leave(self) -> None:
        """The socket is over: what was ended is finished, what was not is kept, and what can be said is said."""
        sessions = [slot.session for slot in self._slots if slot.session is not None]
        finishing = [session.upload.finishing for session in sessions if session.upload.finishing is not None]
        if finishing:
            await asyncio.wait(finishing)
        last = self._current
        if last is not None:
            self._release(last, None)
        while self._releases:
            await asyncio.wait(list(self._releases))
        while self._slots:
            slot = self._slots.popleft()
            for text in slot.texts:
                await self._connection.offer(text)
            if not slot.done:
                if slot.acks is not None:
                    await slot.acks.send()
                return

    # -- answers, in the order of the requests

    def _say(self, slot: Slot, text: str, *, done: bool = False) -> None:
        slot.texts.append(text)
        slot.done = slot.done or done
        self._said.set()

    def _moved(self, slot: Slot) -> None:
        if slot.acks is not None:
            slot.acks.moved()

    async def _answer(self) -> None:
        while True:
            if not self._slots or not (self._slots[0].texts or self._slots[0].done):
                self._said.clear()
                await self._said.wait()
                continue
            await self._speak(self._slots[0])

    async def _speak(self, slot: Slot) -> None:
        """It is this slot's turn, until it has said all: its answers, and acks while its bytes come."""
        acknowledging = asyncio.create_task(slot.acks.run()) if slot.acks is not None and not slot.done else None
        try:
            while not slot.done or slot.texts:
                while slot.texts:
                    await self._connection.send(slot.texts.pop(0))
                if not slot.done:
                    self._said.clear()
                    await self._said.wait()
        finally:
            if acknowledging is not None:
                acknowledging.cancel()
        self._slots.popleft()
        self._room.set()
