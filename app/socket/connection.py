"""One socket, as a handler sees it: receive, iterate, a stream of bytes, send. And the one place that closes."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from aiohttp import WSMsgType, web

from jackfield.app.errors import (
    ABNORMAL,
    NO_CODE,
    TIMED_OUT,
    Close,
    Disconnected,
    Failure,
)
from jackfield.app.socket.frames import BINARY, PONG, TEXT, cut_reason, whole_frame
from jackfield.app.socket.messages import Messages
from jackfield.app.socket.stream import Batch, Stream

SEND_LIMIT: Final = 30.0  # seconds a peer that does not read may hold a send
CLOSE_LIMIT: Final = 5.0  # seconds to wait for the peer's half of the closing handshake
_SHORT: Final = 16 * 1024  # bytes that an empty transport takes without waiting
_BURST: Final = 32  # messages that a handler may take in a row before others have their turn

_T = TypeVar("_T")


class Connection:
    """One accepted socket. `admitted` is what the handler's `admit` returned.

    Waiting for the peer raises Disconnected when it is gone, and what `interrupt` was given, so Failure
    `draining` when the service ends. `send` raises it once: a handler may still say a last word.
    """

    __slots__ = (
        "_in_a_row", "_interruption", "_short", "_told", "_waiting", "_ws", "admitted", "id", "request", "sent",
        "source", "transport",
    )  # fmt: skip

    def __init__(
        self, request: web.Request, ws: web.WebSocketResponse, source: Messages | Stream, admitted: Any
    ) -> None:
        assert request.transport is not None
        self.id = secrets.token_hex(4)
        self.request = request
        self.admitted = admitted
        self.transport: asyncio.Transport = request.transport
        self.source = source
        source.on_pings = self._pong
        self.sent = 0  # bytes of the messages sent
        self._in_a_row = 0  # messages taken since others had their turn
        self._ws = ws
        self._short = -1 if ws.compress else _SHORT  # bytes of a message that we write ourselves
        self._interruption: Close | Disconnected | None = None
        self._told = False
        self._waiting: asyncio.Task[Any] | None = None  # who is inside `interruptible`

    @property
    def remote(self) -> str | None:
        """The peer's address."""
        peer = self.transport.get_extra_info("peername")
        return str(peer[0]) if peer else None

    @property
    def subprotocol(self) -> str | None:
        """What was agreed to in the handshake."""
        return self._ws.ws_protocol

    @property
    def stream(self) -> Stream:
        """The incoming bytes of a handler that has `buffers`; take with `await connection.take(...)`."""
        assert isinstance(self.source, Stream), "only a handler with `buffers` has a stream"
        return self.source

    @property
    def backlog(self) -> int:
        """Bytes sent and not yet taken by the peer's side of the network."""
        if self.source.lost:
            return 0
        try:
            return self.transport.get_write_buffer_size()
        except AttributeError:  # asyncio's TLS transport lets go of all it had when it is closed a second time
            return 0

    # -- receiving

    async def receive(self, timeout: float | None = None) -> str | bytes:
        """The next whole message, text or binary. After `timeout` seconds without one: Failure, close 4408."""
        source = self.source
        assert isinstance(source, Messages), "a handler with `buffers` takes from a stream"
        late = False
        await self._let_others_go()
        while self._interruption is None:
            if (message := source.ready()) is not None:
                return message
            if late:
                raise Failure(TIMED_OUT, f"Nothing came within {timeout:g} s.")
            late = await source.arrival(timeout)
        self._told = True
        raise self._interruption

    async def _let_others_go(self) -> None:
        """What is there is given without waiting; so every now and then we wait for a turn of the loop."""
        self._in_a_row += 1
        if self._in_a_row >= _BURST:
            self._in_a_row = 0
            await asyncio.sleep(0)

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Messages, text or binary, until the peer leaves with a Close frame."""
        while True:
            try:
                message = await self.receive()
            except Disconnected as end:
                if end.clean:
                    return
                raise
            yield message

    async def take(
        self, least: int = 1, patience: float = 0.0, timeout: float | None = None, most: int | None = None
    ) -> Batch | str:
        """The next bytes or text of a stream (see `Stream.next`).

        After `timeout` seconds in which we read and nothing came: Failure, close 4408.
        """
        stream = self.stream
        await self._let_others_go()
        if self._interruption is None and (item := stream.ready(least, most)) is not None:
            return item
        while True:
            try:
                async with asyncio.timeout(timeout):
                    return await self.interruptible(stream.next(least, patience, most))
            except TimeoutError:
                if not stream.paused:
                    raise Failure(TIMED_OUT, f"Nothing came within {timeout:g} s.") from None

    # -- being interrupted

    async def interruptible(self, wait: Coroutine[Any, Any, _T]) -> _T:
        """Await something that `interrupt` may end; what it was given is raised here."""
        reason = self._interruption
        if reason is not None:
            self._told = True
            wait.close()
            raise reason
        task = asyncio.current_task()
        self._waiting = task
        try:
            return await wait
        except asyncio.CancelledError:
            reason = self._interruption
            if reason is None or task is None:
                raise
            task.uncancel()
            self._told = True
            raise reason from None
        finally:
            self._waiting = None

    def interrupt(self, reason: Close | Disconnected) -> None:
        """End the socket from outside: raised where the handler waits for it now, or next. The first one counts."""
        if self._interruption is not None:
            return
        self._interruption = reason
        self.source.wake()
        if self._waiting is not None:
            self._waiting.cancel()

    @property
    def interruption(self) -> Close | Disconnected | None:
        """What `interrupt` was given."""
        return self._interruption

    # -- sending

    async def send(self, message: str | bytes) -> None:
        """Send one message. A peer that does not take it for 30 s is cut off: Disconnected."""
        if self._interruption is not None and not self._told:
            self._told = True
            raise self._interruption
        if not self._write(message):
            await self._send(message)

    async def offer(self, message: str) -> bool:
        """Send a message that a later one makes good, unless the peer is slow to read; never waits or raises."""
        if self.backlog or self._ws.closed:
            return False
        try:
            if not self._write(message):
                await self._send(message)
        except Disconnected:
            return False
        return True

    def _write(self, message: str | bytes) -> bool:
        """Give a short message to an empty transport; False where it has to go the long way.

        aiohttp writes whole frames as well, so none stands inside another. Its own way to here costs 3 µs.
        """
        if len(message) > self._short or self.backlog or self.transport.is_closing():
            return False
        payload, opcode = (message.encode(), TEXT) if isinstance(message, str) else (message, BINARY)
        self.transport.write(whole_frame(opcode, payload))
        self.sent += len(message)
        return True

    def offer_all(self, messages: Sequence[str]) -> bool:
        """The same for several, with one write: it costs a reader that is awake as much as one message does."""
        if self._short < 0 or self.backlog or self._ws.closed or self.transport.is_closing():
            return False
        self.sent += sum(map(len, messages))
        self.transport.write(b"".join(whole_frame(TEXT, message.encode()) for message in messages))
        return True

    async def _send(self, message: str | bytes) -> None:
        self.sent += len(message)
        sending = self._ws.send_str(message) if isinstance(message, str) else self._ws.send_bytes(message)
        try:
            await self._limited(sending)
        except ConnectionError:
            raise Disconnected(ABNORMAL, clean=False) from None

    async def _limited(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(SEND_LIMIT):
                await sending
        except TimeoutError:
            self.abort()
            raise Disconnected(ABNORMAL, "The peer does not read", clean=False) from None

    def _pong(self, payloads: list[bytes]) -> None:
        """Answer pings before all else, unless earlier answers still wait to be read (RFC 6455, 5.5.3)."""
        answers = b"".join(whole_frame(PONG, payload) for payload in payloads)
        if self.backlog + len(answers) <= _SHORT and not self._ws.closed and not self.transport.is_closing():
            self.transport.write(answers)

    async def ping(self) -> None:
        """Ask the peer for a sign of life; never waits."""
        if not self.backlog:
            await self._quietly(self._ws.ping())

    async def _quietly(self, sending: Awaitable[None]) -> None:
        try:
            await sending
        except ConnectionError:
            return  # the reader learns of it, and says it

    # -- closing: the dispatcher's alone

    async def finish(self, end: Close | Disconnected, last_words: str | None) -> None:
        """Close as `end` says, after the last words where there are any, and wait a little for the peer."""
        self.source.discard()
        self._short = -1  # what a task of the handler still sends must not follow our Close frame
        if isinstance(end, Disconnected):
            if end.code == ABNORMAL:
                self.transport.abort()
                return
            end = Close(1000 if end.code == NO_CODE else end.code)
        try:
            async with asyncio.timeout(CLOSE_LIMIT):
                if last_words is not None:
                    await self._send(last_words)
                if self.source.eof or self.source.broken:
                    await self._say_goodbye(end)
                else:
                    await self._ws.close(code=end.code, message=cut_reason(end.reason))
        except (TimeoutError, ConnectionError, Disconnected):
            self.abort()
        self.transport.close()
        if self.backlog:  # `close` would wait for ever for a peer that does not read
            asyncio.get_running_loop().call_later(CLOSE_LIMIT, self.abort)

    async def _say_goodbye(self, end: Close) -> None:
        """Close where no Close frame can be had of the peer: it has shut its side, or broken the protocol.

        Our side is shut behind our frame, and what still comes is read and thrown away until the peer
        shuts its own: closing at once would reset the link, and our frame could be lost with it.
        """
        if self._ws.closed:  # aiohttp found the fault before us, and has said so
            return
        await self._ws.send_frame(end.code.to_bytes(2, "big") + cut_reason(end.reason), WSMsgType.CLOSE)
        if self.transport.can_write_eof() and not self.source.eof:
            self.transport.write_eof()
            await self.source.shut()

    def abort(self) -> None:
        """Cut the link without a word."""
        self.transport.abort()
