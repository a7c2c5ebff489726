"""One socket of one upload: from the service's first word to the receipt, or to the end of the socket."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType

from jackfield.handlers.upload.client.connection import Connection
from jackfield.handlers.upload.client.failures import DigestMismatch, Lost, from_close, stuck
from jackfield.handlers.upload.client.patience import Patience
from jackfield.handlers.upload.client.source import Source
from jackfield.handlers.upload.client.words import fail, parsed, text, whole

_SILENCE = 15.0  # seconds without a word, though asked for one, until the connection counts as dead


@dataclass(frozen=True, slots=True)
class Receipt:
    """The file is stored: whole, verified, and on stable storage, under this name."""

    name: str  # the final one; it may differ from the one asked for
    size: int  # bytes
    sha256: str  # lower-case hex


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
        self,
        socket: Connection,
        source: Source,
        *,
        window: int | None,
        same: bool,
        patience: Patience,
        report: Report,
    ) -> None:
        self._socket = socket
        self._source = source
        self._wanted_window = window  # bytes; None: the one the service names
        self._same = same  # whether the source is known to be the one the first bytes came from
        self._patience = patience
        self._report = report
        self._sent = self._acked = self._durable = 0
        self._window = self._message_size = 0  # bytes; set by `ready`
        self._heard = time.monotonic()  # when the last word came
        self._moved = asyncio.Event()  # set whenever the service acknowledges more than before

    async def run(self) -> Receipt:
        """Hold the conversation. Returns once the service has said that the file is stored."""
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [group.create_task(self._watch())]
                message = await self._hear("ready", "stored")
                if message["type"] == "ready":
                    await self._begin(message)
                    helpers.append(group.create_task(self._send()))
                    message = await self._follow()
                for helper in helpers:
                    helper.cancel()
        except ExceptionGroup as all_faults:
            faults = all_faults.exceptions
            raise next((fault for fault in faults if not isinstance(fault, Lost)), faults[0]) from None
        return await self._verified(message)

    async def _hear(self, *kinds: str) -> dict[str, Any]:
        """Return the next message of these types. Raises what an error or the socket's end means."""
        while True:
            received = await self._socket.receive()
            self._heard = time.monotonic()
            match received.type:
                case WSMsgType.TEXT:
                    message = parsed(received.data)
                    if message["type"] == "error":
                        fail(message)
                    if message["type"] in kinds:
                        return message  # others are from a newer service, and for newer clients
                case WSMsgType.PING:
                    await self._socket.pong(received.data)
                case WSMsgType.CLOSE | WSMsgType.CLOSING | WSMsgType.CLOSED | WSMsgType.ERROR:
                    raise _ended(self._socket.close_code, received.extra)

    async def _begin(self, ready: dict[str, Any]) -> None:
        """Go to where the service is, or ask it to forget what it has when that is not ours."""
        offset = whole(ready, "offset")
        self._window = self._wanted_window or whole(ready, "window") or 1
        self._message_size = self._socket.message_size(whole(ready, "message_size") or 1, self._window)
        if not await self._fits(offset, ready.get("sha256")):
            await self._socket.say(type="restart")
            offset = whole(await self._hear("ready"), "offset")
            await self._source.seek(offset)
            self._patience.restart()
        self._sent = self._acked = offset
        self._report(Progress(offset, 0, self._source.size))

    async def _fits(self, offset: int, digest: str | None) -> bool:
        """Whether the bytes that the service has are the first ones of the source."""
        if self._source.size is not None and offset > self._source.size:
            return False
        with self._patience.excused():
            ours = await self._source.seek(offset)
        return offset == 0 or (self._same if digest is None else digest == ours)

    async def _follow(self) -> dict[str, Any]:
        """Follow the acknowledgements, and return the receipt's message."""
        while (message := await self._hear("ack", "stored"))["type"] == "ack":
            self._take(whole(message, "offset"), whole(message, "durable"))
        return message

    async def _verified(self, stored: dict[str, Any]) -> Receipt:
        """Return the receipt, if it is for the bytes of the source."""
        receipt = Receipt(text(stored, "name"), whole(stored, "size"), text(stored, "sha256"))
        same_size = self._source.size in (None, receipt.size)
        if not same_size or await self._source.seek(receipt.size) != receipt.sha256:
            detail = f"the service stored {receipt.size} bytes with SHA-256 {receipt.sha256}, not what was sent"
            raise DigestMismatch("digest_mismatch", detail)
        return receipt

    def _take(self, offset: int, durable: int) -> None:
        if (offset, durable) != (self._acked, self._durable):
            self._moved.set()
        self._acked, self._durable = offset, durable
        self._source.settle(durable)
        self._patience.reached(offset)
        self._report(Progress(offset, durable, self._source.size))

    async def _send(self) -> None:
        """Send the source to its end, and say that it was the end."""
        while piece := await self._read():
            for start in range(0, len(piece), self._message_size):
                await self._put(piece[start : start + self._message_size])
        digest = await self._source.digest()
        with suppress(ConnectionError):
            await self._socket.say(type="end", sha256=digest)
        with self._patience.excused():  # as long as pings are answered, the receipt may take its time
            await asyncio.Event().wait()

    async def _read(self) -> memoryview:
        while self._source.full:
            await self._moves()
        with self._patience.excused():
            return await self._source.read()

    async def _put(self, message: memoryview) -> None:
        while self._sent + len(message) > self._acked + self._window:
            await self._moves()
        self._sent += len(message)
        with suppress(ConnectionError):  # why the socket ended is heard where it is read
            await self._socket.send(message)

    async def _moves(self) -> None:
        """Wait until the service has more than it had. Raises Lost when it takes no bytes for too long."""
        self._moved.clear()
        try:
            async with asyncio.timeout(self._patience.limit):
                await self._moved.wait()
        except TimeoutError:
            raise stuck(self._patience.limit) from None

    async def _watch(self) -> None:
        """Raise Lost when the service is silent although it was asked."""
        limit = min(_SILENCE, self._patience.limit / 2)  # leaves time to try it anew
        tick = limit / 6
        while True:
            began = time.monotonic()
            await asyncio.sleep(tick)
            now = time.monotonic()
            if now - began > 2 * tick:  # we were stopped, so we could not hear
                self._patience.excuse(now - began)
                self._heard = now
            if now - self._heard > limit:
                raise Lost(f"nothing was heard for {limit:g} s")
            if now - self._heard > limit / 3:
                await self._ping(tick)

    async def _ping(self, limit: float) -> None:
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(limit):  # it has to wait where the connection takes nothing
                await self._socket.ping()


def _ended(number: int, reason: str | None) -> Exception:
    if number == 1006:
        return Lost("the connection was lost")
    return from_close(number, "", f"the service closed the connection: {number} {reason or ''}".rstrip())
