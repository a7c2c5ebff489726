"""A socket on `/upload`: many files, one after the other, without waiting for answers (see `answers`).

While one file is being made safe the next ones come in, so that their syncs are shared.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog
from prometheus_client import Counter

from jackfield.app.errors import BAD_MESSAGE, DRAINING, INTERNAL, TIMED_OUT
from jackfield.app.handler import Batch, Close, Connection, Disconnected, Failure
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.sockets.acks import Acks
from jackfield.handlers.upload.sockets.answers import Answers, Slot
from jackfield.handlers.upload.sockets.lookahead import Incoming
from jackfield.handlers.upload.sockets.one import GRACE, LAST_TURN
from jackfield.handlers.upload.sockets.session import Session
from jackfield.handlers.upload.store.contract import Kept
from jackfield.handlers.upload.uploads.registry import Uploads
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire import messages
from jackfield.handlers.upload.wire.messages import Creation, End, Receipt, Restart, Resume, check_token
from jackfield.handlers.upload.wire.one import Bytes, Finish, Reset
from jackfield.handlers.upload.wire.words import IDLE, INCOMPLETE, SUPERSEDED, UNKNOWN_UPLOAD

_TURN: Final = 16  # small files that are taken before others have their turn: about 2 ms

log = structlog.get_logger()


class ManySocket:
    """Serves one socket on which uploads are created."""

    def __init__(self, connection: Connection, uploads: Uploads, options: UploadOptions, results: Counter) -> None:
        self._connection = connection
        self._uploads = uploads
        self._options = options
        self._results = results
        self._incoming = Incoming(connection, options)
        self._answers = Answers(connection)
        self._current: Slot | None = None  # which takes bytes
        self._discarding = False  # after an error: up to the next request
        self._finishing: set[asyncio.Task[Receipt]] = set()
        self._releases: set[asyncio.Task[tuple[int, int] | None]] = set()

    async def run(self) -> None:
        """Until the client leaves or breaks the rules; then what has come is kept, what was ended is finished."""
        answering = asyncio.create_task(self._answers.run())
        try:
            while True:
                await self._step()
        except Failure as failure:
            if failure.kind is DRAINING:
                await self._use_what_came()
            raise
        finally:
            try:
                await self._leave()
            finally:
                answering.cancel()

    # -- one turn

    async def _step(self) -> None:
        self._end_what_was_taken_over()
        await self._answers.room(self._options.idle_timeout)
        owed = self._others_unanswered()
        try:
            item = await self._incoming.take()
        except Failure as failure:
            if failure.kind is not TIMED_OUT:
                raise
            if owed or self._others_unanswered():
                return  # it was the client that waited; from the last answer on it has its time anew
            raise Failure(IDLE, failure.detail) from None
        await self._use(item)

    async def _use(self, item: Batch | str) -> None:
        match item if isinstance(item, Batch) else messages.parse_many(item):
            case Batch() as batch:
                await self._bytes(batch)
            case Creation() as creation:
                await self._begin_or_store(creation)
            case Resume(token):
                await self._begin(lambda: self._find(token), token if check_token(token) else None)
            case End() | Restart() as message:
                await self._tell(message)

    async def _use_what_came(self) -> None:
        """The service ends: what has arrived is used, and what the kernel still has, until nothing comes any more.

        Nobody who goes on sending is waited for; but all that was received is used, however long the disk takes.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LAST_TURN
        while True:
            if loop.time() >= deadline:
                self._connection.stream.pause()
                if not self._incoming.waiting:
                    return
            try:
                async with asyncio.timeout(GRACE):
                    item = await self._incoming.rest()
                await self._use(item)
            except (TimeoutError, Close, Disconnected):
                return

    def _others_unanswered(self) -> bool:
        """Whether a request before the current one waits for its answer: it was ended, and is being stored."""
        return self._answers.unanswered > (self._current is not None)

    # -- a request

    async def _create(self, creation: Creation) -> tuple[str, OpenUpload | Kept]:
        return await self._uploads.create(creation.promise, token=creation.token, lazily=True)

    async def _find(self, token: str) -> tuple[str, OpenUpload | Kept]:
        if not check_token(token):
            raise Failure(UNKNOWN_UPLOAD, "No upload has such a token.")
        return token, await self._uploads.find(token)

    async def _begin(
        self,
        get: Callable[[], Awaitable[tuple[str, OpenUpload | Kept]]],
        token: str | None = None,
        *,
        anew: bool = False,
    ) -> None:
        """Get its upload, hold it, say `ready`; or say what was wrong with it. `anew`: its bytes are forgotten."""
        self._leave_current()
        slot = self._answers.slot(token)
        try:
            slot.token, found = await get()
            receipt = found.receipt if isinstance(found, Kept) else await self._hold(slot, found, anew=anew)
        except Failure as failure:
            self._fail(slot, failure)
            return
        if receipt is not None:
            self._finished(slot, receipt)
        elif not slot.done:  # it may have been taken over already
            self._current, self._discarding = slot, False
            self._ready(slot)

    def _leave_current(self) -> None:
        """The next request is here. Until it has its upload there is none that bytes could be for."""
        if self._current is not None:
            early = Failure(INCOMPLETE, "The next upload came before the end of this one.")
            self._fail(self._current, self._current.ending or early)
        self._current, self._discarding = None, True

    async def _hold(self, slot: Slot, upload: OpenUpload, *, anew: bool) -> Receipt | None:
        slot.acks = Acks(upload.part, self._options.window // 2, self._connection.offer_all)
        slot.session = session = self._session(slot, upload)
        await session.hold()
        if anew and upload.receipt is None and upload.part.offset:
            await session.receive(Restart())
        return upload.receipt

    def _session(self, slot: Slot, upload: OpenUpload) -> Session:
        return Session(upload, self._options, self._results, partial(self._ended, slot), slot.moved, self._connection)

    def _ready(self, slot: Slot) -> None:
        assert slot.session is not None
        assert slot.token is not None
        if slot.session.upload.part.offset:
            self._connection.stream.align(slot.session.upload.part.offset)
        self._answers.say(slot, slot.session.greeting(slot.token))
        if slot.acks is not None:
            slot.acks.begin()

    # -- a small file that is here whole

    async def _begin_or_store(self, creation: Creation) -> None:
        """A small file of which all is here already needs no conversation, only its answers."""
        whole = self._incoming.whole(creation.promise)
        if whole is not None:
            await self._store(creation, *whole)
        else:
            await self._begin(lambda: self._create(creation), creation.token, anew=True)

    async def _store(self, creation: Creation, data: bytes, end: End) -> None:
        self._leave_current()
        slot = self._answers.slot(creation.token)
        try:
            slot.token, found = await self._create(creation)
            if isinstance(found, Kept):
                self._finished(slot, found.receipt)
                return
            ready = await self._fill(slot, found, data)
        except Failure as failure:
            self._fail(slot, failure)
            return
        self._discarding = False
        if ready is None:
            assert found.receipt is not None
            self._finished(slot, found.receipt)
        elif not slot.done:  # it may have been taken over already
            assert slot.session is not None
            self._answers.say(slot, ready)
            self._finish(slot, slot.session, end.sha256)
            if self._answers.unanswered % _TURN == 0:
                await asyncio.sleep(0)

    async def _fill(self, slot: Slot, upload: OpenUpload, data: bytes) -> str | None:
        """Give it all its bytes; its `ready`, or None where it is stored meanwhile."""
        assert slot.token is not None
        if upload.creations == 1:  # nobody else comes between: it was created just now
            slot.session = session = self._session(slot, upload)
            ready = session.greeting(slot.token)
            await session.fill(data)
            return ready
        if await self._hold(slot, upload, anew=True) is not None:
            return None
        if slot.session is None:
            return ""  # it was taken over meanwhile, and that is its answer
        ready = slot.session.greeting(slot.token)
        await upload.write(slot.session, [memoryview(data)], len(data))
        return ready

    # -- what belongs to the current one

    async def _bytes(self, batch: Batch) -> None:
        try:
            slot = self._taking("Bytes")
        except Failure:
            batch.release()
            raise
        if slot is None or slot.session is None:
            batch.release()
            return
        try:
            await slot.session.receive(Bytes(batch.size), batch)
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
        if slot.done:
            return  # it was taken over, or cancelled, meanwhile
        if isinstance(effect, Reset):
            self._ready(slot)
        elif isinstance(effect, Finish):
            self._current = None
            self._finish(slot, slot.session, effect.sha256)

    def _finish(self, slot: Slot, session: Session, sha256: str | None) -> None:
        finishing = session.finish(sha256)
        self._finishing.add(finishing)
        finishing.add_done_callback(lambda task: self._concluded(slot, task))

    def _taking(self, what: str) -> Slot | None:
        """Which slot the bytes are for; None while they are thrown away. Raises `bad_message` before any request."""
        if self._current is None and not self._discarding:
            raise Failure(BAD_MESSAGE, f"{what} without a `create` or `resume` before.")
        return self._current

    # -- how it ends for one of them

    def _ended(self, slot: Slot, failure: Failure) -> None:
        """Somebody else ends it. What has arrived for one that is taken over is kept all the same."""
        if failure.kind is SUPERSEDED and slot is self._current and self._incoming.waiting:
            slot.ending = failure
            asyncio.get_running_loop().call_later(LAST_TURN, self._fail, slot, failure)
        else:
            self._fail(slot, failure)

    def _end_what_was_taken_over(self) -> None:
        slot = self._current
        if slot is not None and slot.ending is not None and not self._incoming.waiting:
            self._fail(slot, slot.ending)

    def _concluded(self, slot: Slot, finishing: "asyncio.Task[Receipt]") -> None:
        self._finishing.discard(finishing)
        try:
            receipt = finishing.result()
        except Failure as failure:
            if failure.kind is INTERNAL:
                self._connection.interrupt(failure)
            else:
                self._fail(slot, failure)
        else:
            self._finished(slot, receipt)

    def _finished(self, slot: Slot, receipt: Receipt) -> None:
        assert slot.token is not None
        if not slot.done:
            self._answers.say(slot, messages.stored(slot.token, receipt), done=True)
            session, slot.session = slot.session, None
            if session is not None:
                session.stored()

    def _fail(self, slot: Slot, failure: Failure) -> None:
        """It failed, for itself alone: the socket goes on with the next request."""
        if slot.done:
            return
        if self._current in (slot, None):  # what follows may have been meant for it
            self._current, self._discarding = None, True
        self._answers.say(slot, messages.error(failure, slot.token), done=True)
        self._release(slot, failure)

    def _release(self, slot: Slot, failure: Failure | None) -> None:
        session, slot.session = slot.session, None  # once; and nothing is left that points in a circle
        if session is not None:
            release = asyncio.create_task(session.release(failure))
            self._releases.add(release)
            release.add_done_callback(self._releases.discard)

    async def _leave(self) -> None:
        """The socket is over: what was ended is finished, what was not is kept, and what can be said is said."""
        while self._finishing:
            await asyncio.wait(self._finishing)
        if self._current is not None:
            self._release(self._current, None)
        while self._releases:
            await asyncio.wait(self._releases)
        self._incoming.drop()
        await self._answers.all_said()
