"""One upload held by one socket or request, from the take-over to its release."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, Final, Protocol, TypeVar

from jackfield.app.errors import DRAINING, INTERNAL
from jackfield.app.handler import Batch, Failure, get_logger
from jackfield.handlers.upload import tasks
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.uploads.metrics import Words
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire import messages
from jackfield.handlers.upload.wire.messages import End, Receipt
from jackfield.handlers.upload.wire.one import Bytes, Conversation, Event, Fail, Finish, Reset, State, Suspend, Write

UNDER_WAY: Final = 3
"""Batches given to the disk before the one before is done: while the event loop hears of one the next is written."""

log = get_logger()

_T = TypeVar("_T")


class Source(Protocol):
    """Where the bytes come from, as a session sees it."""

    @property
    def paused(self) -> bool:
        """Whether it is not read now, for want of memory."""


class Client(Protocol):
    """Who sends the bytes: a connection, or a request's body."""

    async def interruptible(self, wait: Coroutine[Any, Any, _T]) -> _T:
        """Wait for it; the end of the client's link, or of the service, is raised here."""


class Session:
    """Holds an upload (see `uploads.upload.Writer`) and does what the protocol says with what comes.

    `ended` is called with the failure when somebody else ends it: a newer session, a cancellation, the
    disk. `moved` is called when `offset` or `durable` has moved. The bytes come from `source`.
    """

    brief: ClassVar[bool] = False

    def __init__(
        self,
        upload: OpenUpload,
        options: UploadOptions,
        results: Words,
        ended: Callable[[Failure], None],
        moved: Callable[[], None],
        source: Source,
    ) -> None:
        self.upload = upload
        self._options = options
        self._results = results
        self._ended = ended
        self._moved = moved
        self._source = source
        self._conversation: Conversation | None = None  # set by `hold`
        self._writing: set[asyncio.Task[None]] = set()
        self._fewer = asyncio.Event()  # set when a write has ended
        self._broken: Failure | None = None  # what the first write that failed came to
        self._drained = asyncio.Event()  # set when it will not write any more

    def end(self, failure: Failure) -> None:
        """See `Writer`."""
        self._ended(failure)

    def progressed(self) -> None:
        """See `Writer`."""
        self._moved()

    async def hold(self) -> None:
        """Take the upload over. Raises Failure; afterwards `upload.receipt` may be there already."""
        await self.upload.hold(self)
        offset = self.upload.part.offset
        self._conversation = Conversation(self.upload.promise, offset, self.upload.max_size)
        if offset and self.upload.receipt is None:
            log.info("upload.resumed", upload=self.upload.id, offset=offset)

    async def amend(self, length: int) -> None:
        """Its client says only now how many bytes it will have. Raises Failure, also where it has said otherwise."""
        await self.upload.amend(self, length)
        self._conversation = Conversation(self.upload.promise, self.upload.part.offset, self.upload.max_size)

    async def fill(self, data: bytes, end: End) -> Finish:
        """Give an upload that was created just now all the bytes that it may have, and its end. Raises Failure."""
        self._conversation = Conversation(self.upload.promise, 0, self.upload.max_size)
        *_, finish = (*self._conversation.receive(Bytes(len(data))), *self._conversation.receive(end))
        assert isinstance(finish, Finish), "more or fewer bytes than may come"
        await self.upload.fill(self, data)
        return finish

    def greeting(self, token: str) -> str:
        """The text `ready`, as things stand."""
        upload, options = self.upload, self._options
        return messages.ready(
            token, upload.promise, upload.part.offset, upload.sha256, options.message_size, options.window
        )

    @property
    def receiving(self) -> bool:
        """Whether bytes and an end may still come."""
        return self._conversation is not None and self._conversation.state is State.RECEIVING

    async def receive(self, event: Event, batch: Batch | None = None) -> Finish | Reset | None:
        """Do what the protocol says to what came; what is left to the socket is returned. Raises Failure.

        The bytes of `batch` go to the disk behind those before them. This waits while enough are under
        way, and not for these; they are given back when they are written. If that fails `ended` is told,
        and whatever comes next raises it.
        """
        assert self._conversation is not None, "hold before receive"
        try:
            await self._until(UNDER_WAY - 1 if batch is not None else 0)
            if self._broken is not None:
                raise self._broken
            for effect in self._conversation.receive(event):
                match effect:
                    case Write(size):
                        assert batch is not None
                        self._begin(batch, size)
                        batch = None
                    case Reset():
                        await self.upload.restart(self)
                        return effect
                    case Fail(failure):
                        raise failure
                    case Finish():
                        return effect
                    case Suspend():
                        return None
            return None
        finally:
            if batch is not None:
                batch.release()

    def _begin(self, batch: Batch, size: int) -> None:
        """Write in a detached task: its memory is released only when it is written, even if the socket ends."""
        self._writing.add(tasks.begin("upload.write", self._write(batch, size)))

    async def _write(self, batch: Batch, size: int) -> None:
        try:
            await self.upload.write(self, first(batch.views, size), size)
        except Failure as failure:
            self._break(failure)
        except Exception:  # a fault of ours: `tasks` tells it
            self._break(Failure(INTERNAL, "The service failed; its log says why."))
            raise
        else:
            self.progressed()
        finally:
            batch.release()
            task = asyncio.current_task()
            assert task is not None
            self._writing.discard(task)
            self._fewer.set()

    def _break(self, failure: Failure) -> None:
        if self._broken is None:
            self._broken = failure
            self.end(failure)

    async def settle(self) -> None:
        """Until all that came is written. Raises Failure where it could not be."""
        await self.idle()
        if self._broken is not None:
            raise self._broken

    async def idle(self) -> None:
        """Until no write is under way any more, however they ended."""
        await self._until(0)

    async def _until(self, most: int) -> None:
        """Until at most so many writes are under way."""
        while len(self._writing) > most:
            self._fewer.clear()
            await self._fewer.wait()

    def finish(self, sha256: str | None) -> "asyncio.Task[Receipt]":
        """Verify and store, even if the socket ends meanwhile."""
        promised = self.upload.promise.sha256
        return self.upload.finish(self, [digest for digest in (promised, sha256) if digest is not None])

    async def store(self, sha256: str | None, client: Client) -> Receipt:
        """The same, and wait for it, as long as nobody interrupts the client; the end of the service is waited out."""
        finishing = self.finish(sha256)
        try:
            return await client.interruptible(_shielded(finishing))
        except Failure as failure:
            if failure.kind is not DRAINING or finishing.done():
                raise
            return await _shielded(finishing)  # the service ends, and this ends well

    @property
    def backpressured(self) -> bool:
        """See `Writer`."""
        return self._source.paused

    @property
    def waiting(self) -> bool:
        """See `Writer`."""
        return not self._writing and not self.backpressured

    async def drained(self) -> None:
        """See `Writer`."""
        await self._drained.wait()

    async def release(self, failure: BaseException | None) -> tuple[int, int] | None:
        """Let go: what has come is made durable; what became of it is written down.

        `offset` and `durable` to be acknowledged as the last ones; None where there is nothing more to be said.
        """
        await self._until(0)
        self._drained.set()
        left = await self.upload.release(self)
        self._report(self._broken or failure)
        return left

    def stored(self) -> None:
        """It has its receipt, so that there is nothing to wait for."""
        self._drained.set()
        self.upload.detach(self)

    def _report(self, failure: BaseException | None) -> None:
        upload = self.upload
        if upload.receipt is not None:
            return  # the registry has told it
        if isinstance(failure, Failure):
            log.info("upload.failed", upload=upload.id, failure=failure.kind.code, offset=upload.part.offset)
            self._results.labels(failure.kind.code).inc()
        else:
            log.info("upload.suspended", upload=upload.id, offset=upload.part.offset)


def first(views: Sequence[memoryview], size: int) -> Sequence[memoryview]:
    """The first `size` bytes of all views."""
    if sum(map(len, views)) == size:
        return views
    kept = []
    for view in views:
        if not size:
            break
        kept.append(view[:size])
        size -= len(kept[-1])
    return kept


async def _shielded(finishing: "asyncio.Task[Receipt]") -> Receipt:
    """What it comes to; being cancelled here does not cancel it."""
    return await asyncio.shield(finishing)
