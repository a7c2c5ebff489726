"""A socket on `/upload`: many files, one after the other, without waiting for answers.

What comes is given to the state machine in `wire.many`; what that decides is done here. While one file is being
made safe the next ones come in, so that their syncs are shared.
"""

import asyncio
from typing import Final

from jackfield.app.errors import ABNORMAL, DRAINING, TIMED_OUT
from jackfield.app.handler import CALLER, Batch, Close, Connection, Disconnected, Failure
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.sockets.answers import Answers
from jackfield.handlers.upload.sockets.lookahead import CompleteFile, Incoming
from jackfield.handlers.upload.sockets.outcomes import Outcomes
from jackfield.handlers.upload.store.contract import Kept
from jackfield.handlers.upload.uploads.batches import GRACE, LAST_TURN
from jackfield.handlers.upload.uploads.metrics import Words
from jackfield.handlers.upload.uploads.registry import Uploads
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire import messages
from jackfield.handlers.upload.wire.many import Forward, ManyConversation, Open, Slot
from jackfield.handlers.upload.wire.messages import Creation, End, Restart, Resume, check_token
from jackfield.handlers.upload.wire.one import Bytes, Finish, Reset
from jackfield.handlers.upload.wire.words import IDLE, UNKNOWN_UPLOAD

MAX_UNANSWERED: Final = 512  # requests that wait for their last answers at once; beyond them nothing is taken
AFTER_LOSS: Final = 1.0  # seconds for which requests that had arrived are still begun when the link is lost
_IN_A_ROW: Final = 16  # small files that are taken before other tasks of the loop have their turn: about 2 ms


class ManySocket:
    """Serves one socket on which uploads are created."""

    def __init__(self, connection: Connection, uploads: Uploads, options: UploadOptions, results: Words) -> None:
        self._connection = connection
        self._uploads = uploads
        self._options = options
        self._incoming = Incoming(connection, options)
        self._conversation = ManyConversation()
        self._answers = Answers(connection, self._conversation)
        self._outcomes = Outcomes(connection, options, results, self._incoming, self._conversation, self._answers)

    async def run(self) -> None:
        """Until the client leaves or breaks the rules; then what has come is kept, what was ended is finished."""
        self._answers.start()
        try:
            while True:
                await self._step()
        except Failure as failure:
            if failure.kind is DRAINING:
                await self._use_what_came()
            raise
        finally:
            try:
                await self._outcomes.settle()
                self._incoming.drop()
                await self._answers.all_sent()
            finally:
                self._answers.stop()

    # -- one turn

    async def _step(self) -> None:
        self._outcomes.end_superseded()
        await self._back_pressure()
        busy = self._conversation.unfinished_before_current
        try:
            item = await self._incoming.take()
        except Failure as failure:
            if failure.kind is not TIMED_OUT:
                raise
            if busy or self._conversation.unfinished_before_current:
                return  # it was the client that waited; from the last answer on it has its time anew
            raise Failure(IDLE, failure.detail) from None
        await self._use(item)

    async def _back_pressure(self) -> None:
        """Where too many answers wait for the client nothing more is received, and what has come is used up first.

        So a client that does not read holds no memory that others need.
        """
        while self._conversation.unanswered >= MAX_UNANSWERED and not self._answers.over:
            await self._connection.interruptible(self._answers.progress())
        if self._answers.too_many:
            self._connection.stream.pause()
            if self._incoming.waiting:
                return
            await self._answers.wait_for_space(self._options.idle_timeout)
            self._connection.stream.resume()

    async def _use_what_came(self) -> None:
        """The service ends: what has arrived is used, and what the kernel still has, until nothing comes any more.

        A client that goes on sending is not waited for; but all that was received is used, however long the disk takes.
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

    # -- what the client says

    async def _use(self, item: Batch | str) -> None:
        if isinstance(item, Batch):
            await self._use_bytes(item)
            return
        message = messages.parse_many(item)
        if isinstance(message, Creation | Resume):
            self._check_link()
        match self._conversation.receive(message):
            case Open() as effect:
                await self._open(effect)
            case Forward(slot):
                assert isinstance(message, End | Restart)
                await self._forward(slot, message)

    def _check_link(self) -> None:
        """Refuse requests once the link is lost, unless a Close frame came before: then all before it are served."""
        if self._answers.lost_for > AFTER_LOSS and self._connection.stream.left is None:
            raise Disconnected(ABNORMAL, clean=False)

    async def _use_bytes(self, batch: Batch) -> None:
        event = Bytes(batch.size)
        try:
            effect = self._conversation.receive(event)
        except Failure:
            batch.release()
            raise
        if isinstance(effect, Forward):
            await self._forward(effect.slot, event, batch)
        else:
            batch.release()

    async def _forward(self, slot: Slot, event: Bytes | End | Restart, batch: Batch | None = None) -> None:
        """Give it to the upload of the slot, and do what that wants."""
        session = self._outcomes.sessions[slot]
        try:
            effect = await session.receive(event, batch)
        except Failure as failure:
            self._outcomes.fail(slot, failure)
            return
        if isinstance(effect, Reset):
            self._ready(slot)
        elif isinstance(effect, Finish) and self._conversation.ended(slot):
            self._outcomes.finish(slot, effect.sha256)

    async def _open(self, effect: Open) -> None:
        """Get the upload, hold it, say `ready`; or say what was wrong with it."""
        slot, request = effect.slot, effect.request
        if effect.left is not None:
            self._outcomes.detach(*effect.left)
        file = self._incoming.take_complete_file(request.promise) if isinstance(request, Creation) else None
        try:
            if isinstance(request, Resume):
                await self._hold(slot, await self._find(request.token))
            elif file is not None:
                await self._store(slot, request, file)
            else:
                await self._hold(slot, await self._create(slot, request), anew=True)
        except Failure as failure:
            self._outcomes.fail(slot, failure)
        finally:
            if file is not None:
                file.release()

    async def _create(self, slot: Slot, creation: Creation, *, ask_later: bool = False) -> OpenUpload | Kept:
        caller = self._connection.request[CALLER]
        slot.token, found = await self._uploads.create(
            creation.promise, caller, token=creation.token, lazily=True, ask_later=ask_later
        )
        return found

    async def _find(self, token: str) -> OpenUpload | Kept:
        if not check_token(token):
            raise Failure(UNKNOWN_UPLOAD, "No upload has such a token.")
        return await self._uploads.find(token)

    async def _hold(self, slot: Slot, found: OpenUpload | Kept, *, anew: bool = False) -> None:
        """Take it over and say `ready`, `anew` without the bytes it has; or, where it is stored, its receipt."""
        if isinstance(found, Kept):
            self._outcomes.stored(slot, found.receipt)
            return
        session = self._outcomes.begin(slot, found)
        await session.hold()
        if found.receipt is not None:
            self._outcomes.stored(slot, found.receipt)
            return
        if anew and found.part.offset:
            await session.receive(Restart())
        self._ready(slot)

    def _ready(self, slot: Slot) -> None:
        if slot.done:
            return  # it was taken over, or cancelled, meanwhile
        session = self._outcomes.sessions[slot]
        part = session.upload.part
        if part.offset:
            self._connection.stream.align(part.offset)
        assert slot.token is not None
        self._conversation.ready(slot, session.greeting(slot.token))
        self._answers.begin(slot, part, self._options.window // 2)

    async def _store(self, slot: Slot, creation: Creation, file: CompleteFile) -> None:
        """The fast path for a small file that has arrived completely; the answers are the same as on the other path."""
        upload = await self._create(slot, creation, ask_later=True)
        if isinstance(upload, OpenUpload):
            if upload.creations == 1 and file.size <= upload.max_size:  # made just now: no other session holds it
                await self._fill(slot, upload, file)
                return
            self._incoming.put_back(file)
        await self._hold(slot, upload, anew=True)

    async def _fill(self, slot: Slot, upload: OpenUpload, file: CompleteFile) -> None:
        assert slot.token is not None
        session = self._outcomes.begin(slot, upload)
        ready, size = session.greeting(slot.token), file.size
        finish = await session.fill(file.read(), file.end)
        if not self._conversation.ready(slot, ready):
            return  # it was taken over, or cancelled, meanwhile
        self._answers.changed()
        for event in (Bytes(size), file.end):
            self._conversation.receive(event)
        self._conversation.ended(slot)
        self._outcomes.finish(slot, finish.sha256)
        if self._conversation.unanswered % _IN_A_ROW == 0:
            await asyncio.sleep(0)
