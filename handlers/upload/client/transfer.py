"""One socket of one upload: from `ready` to the receipt, or to the end of the socket."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from jackfield.handlers.upload.client.connection import Connection
from jackfield.handlers.upload.client.deadline import Deadline
from jackfield.handlers.upload.client.failures import DigestMismatch, from_error, write_timed_out
from jackfield.handlers.upload.client.silence import Listener, beside
from jackfield.handlers.upload.client.source import Source
from jackfield.handlers.upload.wire import messages
from jackfield.handlers.upload.wire.messages import Ack, Error, Ready, Stored


@dataclass(frozen=True, slots=True)
class Receipt(messages.Receipt):
    """The file is stored: whole, verified, and on stable storage.

    `name` is the final one and may differ from the one asked for, `size` is in bytes, `sha256` in lower-case hex.
    `already` says that it had been stored before this call, under the same token.
    """

    already: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the service says it is. `note` says what goes on when nothing is sent."""

    offset: int  # bytes before it are written
    durable: int  # bytes before it survive a crash of the service or of its machine
    size: int | None  # of the whole; None: not known yet
    note: str | None = None


Report = Callable[[Progress], None]


class Transfer:
    """Sends what the service has not got yet, never more than the window beyond what it acknowledged.

    Only the service's offset is believed. A fault of the connection raises Lost, others what they mean.
    """

    def __init__(
        self, socket: Connection, source: Source, *, window: int | None, deadline: Deadline, report: Report
    ) -> None:
        self._socket = socket
        self._source = source
        self._wanted_window = window  # bytes; None: the one the service names
        self._deadline = deadline
        self._report = report
        self._listener = Listener(socket, deadline)
        self._sent = self._acked = self._durable = 0
        self._window = self._message_size = 0  # bytes; set by `ready`
        self.sending = False  # once both sides agree on the first byte to send
        self._moved = asyncio.Event()  # set whenever the service acknowledges more than before

    async def run(self, *, anew: bool) -> Receipt:
        """Hold the conversation; `anew`: from the first byte on, whatever the service has.

        Returns once the service has said that the file is stored.
        """
        stored = await beside(self._converse(anew), self._listener.watch())
        return await verified(self._source, stored.receipt)

    async def _converse(self, anew: bool) -> Stored:
        """Send what is missing, and return the receipt's message."""
        message = await self._next(Ready, Stored)
        if isinstance(message, Ready):
            await self._begin(message, anew)
            return await beside(self._follow(), self._send())
        assert isinstance(message, Stored)
        return message

    async def _next(self, *kinds: type) -> Ready | Ack | Stored:
        """Return the next message of these types. Raises what an error or the socket's end means."""
        while True:
            message = await self._listener.next()
            if isinstance(message, Error):
                raise from_error(message)
            if isinstance(message, kinds):
                return message

    async def _begin(self, ready: Ready, anew: bool) -> None:
        """Go to where the service is, or ask it to forget what it has when that is not ours."""
        self._window = self._wanted_window or ready.window or 1
        self._message_size = self._socket.message_size(ready.message_size or 1, self._window)
        if not await self._fits(ready, anew):
            await self._socket.send_text(messages.print_restart())
            again = await self._next(Ready)
            assert isinstance(again, Ready)
            ready = again
            await self._source.seek(ready.offset)
            self._deadline.reset()
        self._sent = self._acked = ready.offset
        self.sending = True
        self._report(Progress(ready.offset, 0, self._source.size))

    async def _fits(self, ready: Ready, anew: bool) -> bool:
        """Whether the bytes that the service has are the first ones of the source.

        Where it does not know their digest yet they are believed to be: `end` has the digest of all.
        """
        if ready.offset and (anew or (self._source.size is not None and ready.offset > self._source.size)):
            return False
        with self._deadline.paused():
            ours = await self._source.seek(ready.offset)
        return ready.sha256 in (None, ours)

    async def _follow(self) -> Stored:
        """Follow the acknowledgements, and return the receipt's message."""
        while not isinstance(message := await self._next(Ack, Stored), Stored):
            assert isinstance(message, Ack)
            self._take(message)
        return message

    def _take(self, ack: Ack) -> None:
        if (ack.offset, ack.durable) != (self._acked, self._durable):
            self._moved.set()
        self._acked, self._durable = ack.offset, ack.durable
        self._source.release(ack.durable)
        self._deadline.reached(ack.offset)
        self._report(Progress(ack.offset, ack.durable, self._source.size))

    async def _send(self) -> None:
        """Send the source to its end, and say that it was the end."""
        while piece := await self._read():
            for start in range(0, len(piece), self._message_size):
                await self._put(piece[start : start + self._message_size])
        digest = await self._source.digest()
        with suppress(ConnectionError):
            await self._socket.send_text(messages.print_end(digest))
        with self._deadline.paused():  # as long as pings are answered, the receipt may take its time
            await asyncio.Event().wait()

    async def _read(self) -> memoryview:
        while self._source.full:
            await self._moves()
        with self._deadline.paused():
            return await self._source.read()

    async def _put(self, message: memoryview) -> None:
        while self._sent + len(message) > self._acked + self._window:
            await self._moves()
        self._sent += len(message)
        with suppress(ConnectionError):  # the receiving side reports why the socket ended
            await self._socket.send(message)

    async def _moves(self) -> None:
        """Wait until the service has more than it had. Raises Lost when it takes no bytes for too long."""
        self._moved.clear()
        try:
            async with asyncio.timeout(self._deadline.limit):
                await self._moved.wait()
        except TimeoutError:
            raise write_timed_out(self._deadline.limit) from None


async def verified(source: Source, receipt: messages.Receipt) -> Receipt:
    """Return the receipt, if it is for the bytes of the source. Raises DigestMismatch."""
    if source.size not in (None, receipt.size) or await source.seek(receipt.size) != receipt.sha256:
        raise mismatch(receipt)
    return Receipt(receipt.name, receipt.size, receipt.sha256)


def mismatch(receipt: messages.Receipt) -> DigestMismatch:
    """The receipt is for other bytes than those that were sent."""
    detail = f"the service stored {receipt.size} bytes with SHA-256 {receipt.sha256}, not what was sent"
    return DigestMismatch("digest_mismatch", detail)
