"""One socket, as a handler sees it: receive, iterate, stream, send. It is closed in `closing`."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Generic

from aiohttp import WSMsgType, web
from typing_extensions import TypeVar

from jackfield.app.callers import CALLER
from jackfield.app.errors import ABNORMAL, OVERLOADED, TIMED_OUT, Close, Disconnected, Failure
from jackfield.app.socket.frames import BINARY, PONG, TEXT, whole_frame
from jackfield.app.socket.messages import Messages
from jackfield.app.socket.outbox import Full, Outbox
from jackfield.app.socket.shared import Budget
from jackfield.app.socket.stream import Batch, Stream

SEND_LIMIT: Final = 30.0  # seconds a peer that does not read may hold a send
GRACE: Final = 0.5  # seconds that a handler may be busy with something else once its socket has ended
_BUFFER: Final = 16 * 1024  # bytes that may wait to be read and are not counted; beyond them pings are not answered
_BURST: Final = 32  # messages that a handler may take in a row before others have their turn

_T = TypeVar("_T")
Admitted = TypeVar("Admitted", default=Any)


class Connection(Generic[Admitted]):
    """One accepted socket. `admitted` is what the handler's `admit` returned.

    Waiting for the peer raises Disconnected when it is gone, and what `interrupt` was given, so Failure
    `draining` when the service ends. `send` raises it once: a handler may still say a last word. A handler
    that waits for something else is cancelled when the socket has ended, unless it is `shielded`.
    """

    __slots__ = (
        "_budget", "_checking", "_interruption", "_notified", "_open", "_queued", "_shields", "_taken", "_waiting",
        "_ws", "admitted", "dropped", "id", "patience", "request", "sent", "serving", "source", "transport",
    )  # fmt: skip

    def __init__(
        self,
        request: web.Request,
        ws: web.WebSocketResponse,
        source: Messages | Stream,
        admitted: Admitted,
        budget: Budget,
    ) -> None:
        assert request.transport is not None
        self.id = secrets.token_hex(4)
        self.request = request
        self.admitted = admitted
        self.transport: asyncio.Transport = request.transport
        self.source = source
        source.on_pings = self._pong
        source.on_end = self._check_soon
        source.on_backlog = self._count
        self.sent = 0  # bytes of the messages sent
        self.dropped = 0  # messages that an outbox has dropped
        self.serving: asyncio.Task[Any] | None = None  # set by `serve_in`
        self.patience = GRACE  # seconds that it may go on after the end, if it has heard of it or has messages to take
        self._taken = 0  # messages, or pieces of a stream, that the handler has taken
        self._ws = ws
        self._open = True  # nothing may follow our Close frame
        self._interruption: Close | Disconnected | None = None
        self._notified: asyncio.Task[Any] | None = None  # the task to which the end was raised
        self._waiting: asyncio.Task[Any] | None = None  # the task inside `interruptible`
        self._shields = 0
        self._checking = False  # set once `_check` is scheduled
        self._budget = budget
        self._queued = 0  # bytes that outboxes and the handler hold

    @property
    def user(self) -> str | None:
        """Who has opened it: the name of the token, or whom a proxy named; None where nobody is named."""
        return self.request[CALLER].user

    @property
    def remote(self) -> str:
        """The address it comes from, behind the proxies that are trusted; `unix` by the Unix socket."""
        return self.request[CALLER].remote

    @property
    def subprotocol(self) -> str | None:
        """What was agreed to in the handshake."""
        return self._ws.ws_protocol

    @property
    def stream(self) -> Stream:
        """The incoming bytes of a handler that has `buffers`; take with `await connection.take(...)`.

        Raises TypeError for any other handler.
        """
        if not isinstance(self.source, Stream):
            raise TypeError("only a handler with `buffers` has a stream: use `connection.receive()`")
        return self.source

    @property
    def lost(self) -> bool:
        """Whether there is no link any more: nothing can be sent, and nothing will come."""
        return self.source.lost

    async def until_lost(self) -> None:
        """Wait until there is no link any more."""
        while not self.source.lost:
            await self.source.writable()

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
        """The next whole message, text or binary. After `timeout` seconds without one: Failure, close 4408.

        Raises TypeError for a handler with `buffers`, whose sockets are streams: use `take` there.
        """
        source = self.source
        if not isinstance(source, Messages):
            raise TypeError("a handler with `buffers` has no whole messages: use `connection.take()`")
        late = False
        await self._yield_sometimes()
        while self._interruption is None:
            if (message := self._ready(source)) is not None:
                return message
            if late:
                raise Failure(TIMED_OUT, f"Nothing came within {timeout:g} s.")
            late = await source.arrival(timeout)
        self._notified = asyncio.current_task()
        raise self._interruption

    def _ready(self, source: Messages) -> str | bytes | None:
        try:
            return source.ready()
        except (Close, Disconnected):
            self._notified = asyncio.current_task()
            raise

    async def _yield_sometimes(self) -> None:
        """Taking queued messages never waits, so every `_BURST` messages the event loop gets a turn."""
        self._taken += 1
        if self._taken % _BURST == 0:
            await asyncio.sleep(0)

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
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
        await self._yield_sometimes()
        if self._interruption is None and (item := stream.ready(least, most)) is not None:
            return item
        while True:
            try:
                async with asyncio.timeout(timeout):
                    return await self.interruptible(stream.next(least, patience, most))
            except TimeoutError:
                if not stream.paused:
                    raise Failure(TIMED_OUT, f"Nothing came within {timeout:g} s.") from None
            except (Close, Disconnected):
                self._notified = asyncio.current_task()
                raise

    # -- being interrupted

    async def interruptible(self, wait: Coroutine[Any, Any, _T]) -> _T:
        """Await something that `interrupt` may end; what it was given is raised here."""
        reason = self._interruption
        task = asyncio.current_task()
        if reason is not None:
            self._notified = task
            wait.close()
            raise reason
        self._waiting = task
        try:
            return await wait
        except asyncio.CancelledError:
            reason = self._interruption
            if reason is None or task is None:
                raise
            task.uncancel()
            self._notified = task
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
        self._check_soon()

    @property
    def interruption(self) -> Close | Disconnected | None:
        """What `interrupt` was given."""
        return self._interruption

    # -- cancelling a handler that does not notice the end

    @asynccontextmanager
    async def shielded(self) -> AsyncIterator[None]:
        """The block is not cancelled when the client leaves or the service drains."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1

    def serve_in(self, task: asyncio.Task[Any] | None) -> None:
        """The handler's `serve` begins in this task; None: it has ended, or is never cancelled."""
        self.serving = task
        if self.source.end is not None or self._interruption is not None:
            self._check_soon()

    def _check_soon(self) -> None:
        """The socket has ended: schedule the check whether its handler notices."""
        if not self._checking and self.serving is not None:
            self._checking = True
            loop = asyncio.get_running_loop()
            loop.call_later(GRACE, self._check, self._taken, loop.time())

    def _check(self, taken: int, since: float) -> None:
        """Cancel a handler that has taken nothing from its socket `since` the loop's time, when it had `taken` so many.

        One to which the end was raised, or that has messages left to take, gets `patience` seconds instead of GRACE.
        """
        loop = asyncio.get_running_loop()
        if self.serving is None:
            return
        if self._shields or self._taken != taken:
            taken, since = self._taken, loop.time()
        elif loop.time() - since >= (self.patience if self._may_end_by_itself else GRACE):
            self._interruption = self._interruption or self.source.end
            self.serving.cancel()
            return
        loop.call_later(GRACE, self._check, taken, since)

    @property
    def _may_end_by_itself(self) -> bool:
        return self._notified is self.serving or (self._interruption is None and self.source.queued)

    # -- sending

    async def send(self, message: str | bytes) -> None:
        """Send one message. A peer that does not take it for 30 s is cut off: Disconnected."""
        if self._interruption is not None and self._notified is None:
            self._notified = asyncio.current_task()
            raise self._interruption
        if not self._open:
            raise Disconnected(ABNORMAL, clean=False)
        await self._send(message)

    async def _send(self, message: str | bytes) -> None:
        if not self._linked:
            raise Disconnected(ABNORMAL, clean=False)
        if self._ws.compress:
            await self._compress(message)
        else:
            self._write([message])
        if self.source.congested:
            await self._decongested()

    async def _decongested(self) -> None:
        """The time limit of a send."""
        try:
            async with asyncio.timeout(SEND_LIMIT):
                while self.source.congested:
                    await self.source.writable()
        except TimeoutError:
            self.transport.abort()
            raise Disconnected(ABNORMAL, "The peer does not read", clean=False) from None
        if self.lost:
            raise Disconnected(ABNORMAL, clean=False)

    async def _compress(self, message: str | bytes) -> None:
        payload, kind = (message.encode(), WSMsgType.TEXT) if isinstance(message, str) else (message, WSMsgType.BINARY)
        self.sent += len(payload)
        try:
            await self._ws.send_frame(payload, kind)
        except ConnectionError:
            raise Disconnected(ABNORMAL, clean=False) from None
        self._count()

    async def offer(self, message: str | bytes) -> bool:
        """Best-effort send: True if the message was sent at once. Never waits, never raises.

        False: the message is dropped, since the peer has not read earlier ones, or is gone.
        """
        return self.offer_all([message])

    def offer_all(self, messages: Sequence[str | bytes]) -> bool:
        """The same for several messages, with one write."""
        if not (self._open and self._linked) or self.backlog:
            return False
        self._write(messages)
        return True

    async def drained(self) -> bool:
        """Wait until the kernel has taken all that was sent. False if nothing can be sent any more."""
        if not self.transport.is_closing():
            self.transport.set_write_buffer_limits(0)  # `resume_writing` is called when nothing is left
        while self.backlog and not self.transport.is_closing():
            await self.source.writable()
        return self._open and self._linked

    @property
    def _linked(self) -> bool:
        """Whether a message may still be written: nothing may follow a Close frame."""
        return not self._ws.closed and not self.transport.is_closing()

    def _write(self, messages: Sequence[str | bytes]) -> None:
        """Each is a frame, all of them are one write. aiohttp would take 3 µs more for one."""
        size = 0
        frames = []
        for message in messages:
            payload, opcode = (message.encode(), TEXT) if isinstance(message, str) else (message, BINARY)
            size += len(payload)
            frames.append(whole_frame(opcode, payload))
        self.transport.write(frames[0] if len(frames) == 1 else b"".join(frames))
        self.sent += size
        if size > _BUFFER:
            self._count()

    def _pong(self, payloads: list[bytes]) -> None:
        """Answer pings before all else, unless earlier answers still wait to be read (RFC 6455, 5.5.3)."""
        answers = b"".join(whole_frame(PONG, payload) for payload in payloads)
        if self._linked and self.backlog + len(answers) <= _BUFFER:
            self.transport.write(answers)

    # -- bytes that wait to be read by the peer

    def outbox(self, limit: int = 1024 * 1024, full: Full = "disconnect") -> Outbox:
        """A queue of at most `limit` bytes for messages to this socket: see `Outbox`."""
        return Outbox(self, limit, full)

    def count_unsent(self, size: int) -> None:
        """Count bytes that the handler or an outbox holds for the peer in the budget of messages; negative: fewer."""
        self._queued += size
        self._count()

    def forget_unsent(self) -> None:
        """The handler has ended: it holds nothing any more."""
        self.count_unsent(-self._queued)

    def _count(self) -> None:
        """Tell the budget what waits to be read by the peer."""
        self._budget.hold(self, self._queued + self.backlog)

    def evict(self) -> None:
        """See `Holder`. A peer that does not read would not read a Close frame either."""
        self.interrupt(Failure(OVERLOADED, "Too much waits to be read."))
        self.transport.abort()
