"""One socket on one upload: the connection's bytes go through the protocol to the store, acks come back."""

import asyncio
from collections.abc import Awaitable
from typing import Final

import structlog
from prometheus_client import Counter

from app.errors import DRAINING, IDLE, NORMAL, SUPERSEDED, TIMED_OUT
from app.handler import Batch, Close, Connection, Disconnected, Failure
from handlers.upload import messages
from handlers.upload.messages import Receipt
from handlers.upload.protocol import Bytes, Event, Fail, Finish, Forget, Keep, Left, State, Transfer, Write
from handlers.upload.settings import UploadOptions
from handlers.upload.store import Kept
from handlers.upload.uploads import Upload, Uploads

BATCH: Final = 2 * 1024 * 1024  # bytes that make a visit to the worker thread worth its 100 to 200 µs
PATIENCE: Final = 0.02  # seconds to wait for so many
GRACE: Final = 0.05  # seconds of silence after which nothing more is on its way
LAST_TURN: Final = 0.25  # seconds that a session which is ended may go on with what has arrived
ACK_EVERY: Final = 0.1  # seconds between acks at the most, while bytes come

log = structlog.get_logger()


class Socket:
    """Serves one socket on `/upload/<token>`."""

    def __init__(
        self, connection: Connection, token: str, uploads: Uploads, options: UploadOptions, results: Counter
    ) -> None:
        self._connection = connection
        self._token = token
        self._uploads = uploads
        self._options = options
        self._results = results
        self._news = asyncio.Event()
        self._plenty = asyncio.Event()
        self._quiet = asyncio.Event()
        self._upload: Upload | None = None
        self._acked = (-1, -1)
        # A client that keeps to a small window must not wait for a batch that it may not fill.
        self._least = min(BATCH, max(options.window // 4, 1))

    async def run(self) -> None:
        """From `ready` to the receipt, or to whatever else ends it."""
        found = self._connection.admitted
        if isinstance(found, Kept):
            await self._say_stored(found.receipt, plain=True)
        upload: Upload = found
        self._upload = upload
        failure: BaseException | None = None
        try:
            await upload.hold(self)
            if upload.receipt is not None:
                await self._say_stored(upload.receipt, plain=upload.promise.plain)
            if upload.part.offset:
                log.info("upload.resumed", upload=upload.id, offset=upload.part.offset)
            await self._receive(upload)
        except BaseException as error:
            failure = error
            raise
        finally:
            self._quiet.set()
            await upload.release(self)
            await self._last_ack(upload)
            self._report(upload, failure)

    async def _receive(self, upload: Upload) -> None:
        transfer = Transfer(upload.promise, upload.part.offset, self._options.max_size)
        await self._connection.send(self._ready(upload))
        self._acked = (upload.part.offset, upload.part.durable)
        acknowledging = asyncio.create_task(self._acknowledge(upload))
        try:
            while transfer.state is State.RECEIVING:
                await self._step(upload, transfer)
        except Failure as failure:
            if failure.kind in (SUPERSEDED, DRAINING):
                await self._use_what_came(upload, transfer, GRACE if failure.kind is DRAINING else 0)
            raise
        finally:
            acknowledging.cancel()

    async def _use_what_came(self, upload: Upload, transfer: Transfer, grace: float) -> None:
        """Somebody else ends this session: what has arrived is kept all the same.

        With a `grace` in seconds that is also what the kernel still has: until nothing comes for so long.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LAST_TURN
        while transfer.state is State.RECEIVING and loop.time() < deadline:
            try:
                await self._use(upload, transfer, self._within(grace))
            except TimeoutError:
                return

    async def _within(self, seconds: float) -> Batch | str:
        async with asyncio.timeout(seconds):
            return await self._connection.stream.next()  # does not wait for what is there already

    def _ready(self, upload: Upload) -> str:
        options = self._options
        return messages.ready(
            self._token, upload.promise, upload.part.offset, upload.sha256, options.message_size, options.window
        )

    # -- one turn: take what has come, ask the protocol, do what it says

    async def _step(self, upload: Upload, transfer: Transfer) -> None:
        try:
            taken = self._connection.take(self._least, PATIENCE, self._options.idle_timeout)
            await self._use(upload, transfer, taken)
        except Failure as failure:
            if failure.kind is TIMED_OUT:
                raise Failure(IDLE, failure.detail) from None
            raise

    async def _use(self, upload: Upload, transfer: Transfer, taken: Awaitable[Batch | str]) -> None:
        try:
            item = await taken
        except Disconnected as end:
            await self._do(upload, transfer, Left(end.code, end.clean), [])
            raise
        if isinstance(item, str):
            await self._do(upload, transfer, messages.parse(item), [])
            return
        try:
            await self._do(upload, transfer, Bytes(item.size), item.views)
        finally:
            item.release()

    async def _do(self, upload: Upload, transfer: Transfer, event: Event, views: list[memoryview]) -> None:
        for effect in transfer.receive(event):
            match effect:
                case Write(size):
                    await upload.write(self, first(views, size), size)
                    self.progressed()
                case Forget():
                    await upload.restart(self)
                    await self._connection.send(self._ready(upload))
                case Finish(sha256):
                    await self._finish(upload, sha256, by_close=isinstance(event, Left))
                case Fail(failure):
                    raise failure
                case Keep():
                    return

    async def _finish(self, upload: Upload, sha256: str | None, *, by_close: bool) -> None:
        expected = [digest for digest in (upload.promise.sha256, sha256) if digest is not None]
        finishing = upload.finish(self, expected, self._uploads.stored)
        try:
            receipt = await self._connection.interruptible(_wait(finishing))
        except Failure as failure:
            if failure.kind is not DRAINING or finishing.done():
                raise
            receipt = await _wait(finishing)  # the service ends, and this ends well
        if by_close:  # after a client's Close frame there is only our own
            raise Close(NORMAL, _closing(receipt))
        await self._say_stored(receipt, plain=upload.promise.plain)

    async def _say_stored(self, receipt: Receipt, *, plain: bool) -> None:
        await self._connection.send(messages.stored(self._token, receipt))
        raise Close(NORMAL, _closing(receipt) if plain else "")

    # -- acks: only the newest counts, and no ack ever holds up the receiving

    def progressed(self) -> None:
        """There is something to acknowledge; much of it at once, since a client waits for its window."""
        self._news.set()
        if self._upload is not None and self._upload.part.offset - self._acked[0] >= self._options.window // 4:
            self._plenty.set()

    async def quiet(self) -> None:
        """Until this session will not write any more."""
        await self._quiet.wait()

    def end(self, failure: Failure) -> None:
        """Somebody else has ended this session."""
        self._connection.interrupt(failure)

    async def _acknowledge(self, upload: Upload) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            if not await self._ack(upload):
                self._news.set()  # the peer is slow to read: once more, a little later
            self._plenty.clear()
            try:
                async with asyncio.timeout(ACK_EVERY):
                    await self._plenty.wait()
            except TimeoutError:
                continue

    async def _ack(self, upload: Upload) -> bool:
        state = (upload.part.offset, upload.part.durable)
        if state == self._acked:
            return True
        if not await self._connection.offer(messages.ack(*state)):
            return False
        self._acked = state
        return True

    async def _last_ack(self, upload: Upload) -> None:
        if upload.receipt is None and upload.gone is None:
            await self._ack(upload)

    # -- what is written down of it

    def _report(self, upload: Upload, failure: BaseException | None) -> None:
        receipt = upload.receipt
        if receipt is not None:
            log.info("upload.stored", upload=upload.id, name=receipt.name, size=receipt.size, sha256=receipt.sha256)
            self._results.labels("stored").inc()
        elif isinstance(failure, Failure):
            log.info("upload.failed", upload=upload.id, failure=failure.kind.code, offset=upload.part.offset)
            self._results.labels(failure.kind.code).inc()
        else:
            log.info("upload.left", upload=upload.id, offset=upload.part.offset)


def _closing(receipt: Receipt) -> str:
    """The receipt of a plain upload: a reason of at most 123 bytes."""
    return f"stored {receipt.size} sha256:{receipt.sha256}"


async def _wait(finishing: "asyncio.Task[Receipt]") -> Receipt:
    """What it comes to; being cancelled here does not cancel it."""
    return await asyncio.shield(finishing)


def first(views: list[memoryview], size: int) -> list[memoryview]:
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
