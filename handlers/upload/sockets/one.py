"""A socket on `/upload/<token>`: the connection's bytes go through a session to the store, acks come back."""

import asyncio
from collections.abc import Awaitable
from typing import Final

from prometheus_client import Counter

from jackfield.app.errors import DRAINING, NORMAL, TIMED_OUT
from jackfield.app.handler import Batch, Close, Connection, Disconnected, Failure
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.sockets.acks import Acks
from jackfield.handlers.upload.sockets.session import Session
from jackfield.handlers.upload.store.contract import Kept
from jackfield.handlers.upload.uploads.registry import Uploads
from jackfield.handlers.upload.wire import messages
from jackfield.handlers.upload.wire.messages import Receipt
from jackfield.handlers.upload.wire.one import Bytes, Finish, Forget, Left
from jackfield.handlers.upload.wire.words import IDLE, SUPERSEDED

# The pace of every socket that carries uploads, this one's and that of many files.
BATCH: Final = 4 * 1024 * 1024  # bytes that make a visit to the worker thread worth its 100 to 200 µs
PATIENCE: Final = 0.02  # seconds to wait for so many
GRACE: Final = 0.05  # seconds of silence after which nothing more is on its way
LAST_TURN: Final = 0.25  # seconds that a session which is ended may go on with what has arrived


def least(options: UploadOptions) -> int:
    """Bytes to wait for: a client that keeps to a small window must not wait for a batch that it may not fill."""
    return min(BATCH, max(options.window // 4, 1))


class Socket:
    """Serves one socket on one upload, from `ready` to the receipt, or to whatever else ends it."""

    def __init__(
        self, connection: Connection, token: str, uploads: Uploads, options: UploadOptions, results: Counter
    ) -> None:
        self._connection = connection
        self._token = token
        self._uploads = uploads
        self._options = options
        found = connection.admitted
        if isinstance(found, Kept):
            self._kept: Receipt | None = found.receipt
            return
        self._kept = None
        self._acks = Acks(found.part, options.window // 2, connection.offer)
        self._session = Session(found, options, results, connection.interrupt, self._acks.moved, connection)
        self._least = least(options)

    async def run(self) -> None:
        """See the class. Always ends by raising."""
        if self._kept is not None:
            await self._say_stored(self._kept, plain=True)
        failure: BaseException | None = None
        try:
            await self._session.hold()
            await self._receive()
        except BaseException as error:
            failure = error
            raise
        finally:
            await self._session.release(failure)
            if self._session.upload.receipt is None and self._session.upload.gone is None:
                await self._acks.send()

    async def _receive(self) -> None:
        upload = self._session.upload
        if upload.receipt is not None:
            await self._say_stored(upload.receipt, plain=upload.promise.plain)
        await self._say_ready()
        self._acks.begin()
        acknowledging = asyncio.create_task(self._acks.run())
        try:
            while self._session.receiving:
                await self._step()
        except Failure as failure:
            if failure.kind in (SUPERSEDED, DRAINING):
                await self._use_what_came(GRACE if failure.kind is DRAINING else 0)
            raise
        finally:
            acknowledging.cancel()

    async def _say_ready(self) -> None:
        self._connection.stream.align(self._session.upload.part.offset)
        await self._connection.send(self._session.greeting(self._token))

    # -- one turn: take what has come, and do what the session says

    async def _step(self) -> None:
        try:
            await self._use(self._connection.take(self._least, PATIENCE, self._options.idle_timeout, BATCH))
        except Failure as failure:
            if failure.kind is TIMED_OUT:
                raise Failure(IDLE, failure.detail) from None
            raise

    async def _use(self, taken: Awaitable[Batch | str]) -> None:
        try:
            item = await taken
        except Disconnected as end:
            effect = await self._session.receive(Left(end.code, end.clean))
            if isinstance(effect, Finish):
                # After a client's Close frame there is only our own to say it with.
                raise Close(NORMAL, _closing(await self._finish(effect))) from None
            raise
        if isinstance(item, Batch):
            await self._session.receive(Bytes(item.size), item)
            return
        match await self._session.receive(messages.parse(item)):
            case Forget():
                await self._say_ready()
            case Finish() as finish:
                await self._say_stored(await self._finish(finish), plain=self._session.upload.promise.plain)

    async def _use_what_came(self, grace: float) -> None:
        """Somebody else ends this session: what has arrived is kept all the same.

        With a `grace` in seconds that is also what the kernel still has: until nothing comes for so long.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LAST_TURN
        while self._session.receiving and loop.time() < deadline:
            try:
                await self._use(self._within(grace))
            except TimeoutError:
                return

    async def _within(self, seconds: float) -> Batch | str:
        async with asyncio.timeout(seconds):
            return await self._connection.stream.next()  # does not wait for what is there already

    async def _finish(self, finish: Finish) -> Receipt:
        finishing = self._session.finish(finish.sha256, self._uploads.stored)
        try:
            return await self._connection.interruptible(_wait(finishing))
        except Failure as failure:
            if failure.kind is not DRAINING or finishing.done():
                raise
            return await _wait(finishing)  # the service ends, and this ends well

    async def _say_stored(self, receipt: Receipt, *, plain: bool) -> None:
        await self._connection.send(messages.stored(self._token, receipt))
        raise Close(NORMAL, _closing(receipt) if plain else "")


def _closing(receipt: Receipt) -> str:
    """The receipt of a plain upload: a reason of at most 123 bytes."""
    return f"stored {receipt.size} sha256:{receipt.sha256}"


async def _wait(finishing: "asyncio.Task[Receipt]") -> Receipt:
    """What it comes to; being cancelled here does not cancel it."""
    return await asyncio.shield(finishing)
