"""One upload held by one socket, from the taking over to the letting go."""

import asyncio
from collections.abc import Callable, Sequence

import structlog
from prometheus_client import Counter

from app.handler import Failure
from handlers.upload.messages import Receipt
from handlers.upload.open_upload import OpenUpload
from handlers.upload.protocol import Event, Fail, Finish, Forget, Keep, State, Transfer, Write
from handlers.upload.settings import UploadOptions

log = structlog.get_logger()


class Session:
    """Holds an upload (see `open_upload.Holder`) and does what the protocol says with what comes.

    `ended` is called with the failure when somebody else ends it: a newer socket, a cancellation, the
    disk. `moved` is called when `offset` or `durable` has moved.
    """

    def __init__(
        self,
        upload: OpenUpload,
        options: UploadOptions,
        results: Counter,
        ended: Callable[[Failure], None],
        moved: Callable[[], None],
    ) -> None:
        self.upload = upload
        self._max_size = options.max_size
        self._results = results
        self.end = ended
        self.progressed = moved
        self._transfer: Transfer | None = None
        self._quiet = asyncio.Event()

    async def hold(self) -> None:
        """Take the upload over. Raises Failure; afterwards `upload.receipt` may be there already."""
        await self.upload.hold(self)
        offset = self.upload.part.offset
        self._transfer = Transfer(self.upload.promise, offset, self._max_size)
        if offset and self.upload.receipt is None:
            log.info("upload.resumed", upload=self.upload.id, offset=offset)

    @property
    def receiving(self) -> bool:
        """Whether bytes and an end may still come."""
        return self._transfer is not None and self._transfer.state is State.RECEIVING

    async def receive(self, event: Event, views: Sequence[memoryview] = ()) -> Finish | Forget | None:
        """Do what the protocol says to what came; what is left to the socket is returned. Raises Failure."""
        assert self._transfer is not None, "hold before receive"
        for effect in self._transfer.receive(event):
            match effect:
                case Write(size):
                    await self.upload.write(self, first(views, size), size)
                    self.progressed()
                case Forget():
                    await self.upload.restart(self)
                    return effect
                case Fail(failure):
                    raise failure
                case Finish():
                    return effect
                case Keep():
                    return None
        return None

    def finish(self, sha256: str | None, stored: Callable[[OpenUpload], None]) -> "asyncio.Task[Receipt]":
        """Verify and store, whatever becomes of the socket."""
        promised = self.upload.promise.sha256
        return self.upload.finish(self, [digest for digest in (promised, sha256) if digest is not None], stored)

    async def quiet(self) -> None:
        """Until this session will not write any more."""
        await self._quiet.wait()

    async def release(self, failure: BaseException | None) -> None:
        """Let go: what has come is made durable; what became of it is written down."""
        self._quiet.set()
        await self.upload.release(self)
        self._report(failure)

    def _report(self, failure: BaseException | None) -> None:
        upload, receipt = self.upload, self.upload.receipt
        if receipt is not None:
            log.info("upload.stored", upload=upload.id, name=receipt.name, size=receipt.size, sha256=receipt.sha256)
            self._results.labels("stored").inc()
        elif isinstance(failure, Failure):
            log.info("upload.failed", upload=upload.id, failure=failure.kind.code, offset=upload.part.offset)
            self._results.labels(failure.kind.code).inc()
        else:
            log.info("upload.left", upload=upload.id, offset=upload.part.offset)


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
