"""A socket on `/upload/<token>`: the connection's bytes go through a session to the store, acks come back."""

import asyncio
from collections.abc import Awaitable
from typing import NoReturn

from jackfield.app.errors import DRAINING, INTERNAL, NORMAL, TIMED_OUT
from jackfield.app.handler import Batch, Close, Connection, Disconnected, Failure
from jackfield.handlers.upload import tasks
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.sockets.acks import Acks
from jackfield.handlers.upload.uploads.batches import BATCH, GRACE, LAST_TURN, PATIENCE, least
from jackfield.handlers.upload.uploads.metrics import Words
from jackfield.handlers.upload.uploads.session import Session
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire import messages
from jackfield.handlers.upload.wire.messages import Receipt
from jackfield.handlers.upload.wire.one import Bytes, Finish, Left, Reset
from jackfield.handlers.upload.wire.words import IDLE, SUPERSEDED


class Socket:
    """Serves one socket on one open upload, from `ready` to the receipt, or to whatever else ends it."""

    def __init__(
        self, connection: Connection, token: str, upload: OpenUpload, options: UploadOptions, results: Words
    ) -> None:
        self._connection = connection
        self._token = token
        self._options = options
        self._acks = Acks(upload.part, options.window // 2, connection.offer_all)
        self._session = Session(upload, options, results, connection.interrupt, self._acks.moved, connection.stream)
        self._least = least(options)

    async def run(self) -> None:
        """See the class. Always ends by raising."""
        failure: BaseException | None = None
        try:
            await self._session.hold()
            await self._receive()
        except BaseException as error:
            failure = error
            raise
        finally:
            left = await self._session.release(failure)
            if left is not None:
                self._acks.send(left)

    async def _receive(self) -> None:
        upload = self._session.upload
        if upload.receipt is not None:
            await say_stored(self._connection, self._token, upload.receipt, plain=upload.promise.plain)
        await self._say_ready()
        acknowledging = tasks.begin("upload.acks", self._acks.run())
        acknowledging.add_done_callback(self._acks_ended)
        try:
            while self._session.receiving:
                await self._step()
        except Failure as failure:
            if failure.kind in (SUPERSEDED, DRAINING):
                await self._use_what_came(GRACE if failure.kind is DRAINING else 0)
            raise
        finally:
            acknowledging.cancel()

    def _acks_ended(self, acknowledging: asyncio.Task[None]) -> None:
        if not acknowledging.cancelled():
            self._connection.interrupt(Failure(INTERNAL, "The service failed; its log says why."))

    async def _say_ready(self) -> None:
        self._connection.stream.align(self._session.upload.part.offset)
        await self._connection.send(self._session.greeting(self._token))
        self._acks.begin()

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
            case Reset():
                await self._say_ready()
            case Finish() as finish:
                receipt, plain = await self._finish(finish), self._session.upload.promise.plain
                await say_stored(self._connection, self._token, receipt, plain=plain)

    async def _use_what_came(self, grace: float) -> None:
        """Somebody else ends this session: what has arrived is kept all the same.

        With a `grace` in seconds that is also what the kernel still has: until nothing comes for so long. Then all
        that was received is used, however long the disk takes; whoever takes over does not wait for that.
        """
        loop, stream = asyncio.get_running_loop(), self._connection.stream
        deadline = loop.time() + LAST_TURN
        while self._session.receiving:
            if loop.time() >= deadline:
                stream.pause()
                if not (grace and stream.waiting):
                    return
            try:
                await self._use(self._within(grace))
            except TimeoutError:
                return

    async def _within(self, seconds: float) -> Batch | str:
        async with asyncio.timeout(seconds):
            return await self._connection.stream.next()  # does not wait for what is there already

    async def _finish(self, finish: Finish) -> Receipt:
        return await self._session.store(finish.sha256, self._connection)


async def say_stored(connection: Connection, token: str, receipt: Receipt, *, plain: bool) -> NoReturn:
    """Send the receipt and end the socket; to a client that knows no messages the closing reason says it too."""
    await connection.send(messages.stored(token, receipt))
    raise Close(NORMAL, _closing(receipt) if plain else "")


def _closing(receipt: Receipt) -> str:
    """The receipt of a plain upload: a reason of at most 123 bytes."""
    return f"stored {receipt.size} sha256:{receipt.sha256}"
