"""What a connection sends: within a time limit, best-effort, or from a queue; and the bytes that wait to be read."""

import asyncio
from collections.abc import Sequence
from typing import Final

from aiohttp import WSMsgType, web

from jackfield.app.errors import ABNORMAL, OVERLOADED, Disconnected, Failure
from jackfield.app.socket.frames import BINARY, PONG, TEXT, whole_frame
from jackfield.app.socket.interruption import Interruptible
from jackfield.app.socket.messages import Messages
from jackfield.app.socket.outbox import Full, Outbox
from jackfield.app.socket.shared import Budget
from jackfield.app.socket.stream import Stream

SEND_LIMIT: Final = 30.0  # seconds a peer that does not read may hold a send
_BUFFER: Final = 16 * 1024  # bytes that may wait to be read and are not counted; beyond them pings are not answered


class Sender(Interruptible[Messages | Stream]):
    """The part of a connection that sends."""

    __slots__ = ("_budget", "_open", "_queued", "_ws", "dropped", "sent", "transport")

    def __init__(
        self, transport: asyncio.Transport, ws: web.WebSocketResponse, source: Messages | Stream, budget: Budget
    ) -> None:
        super().__init__(source)
        self.transport = transport
        self.sent = 0  # bytes of the messages sent
        self.dropped = 0  # messages that an outbox has dropped
        self._ws = ws
        self._open = True  # nothing may follow our Close frame
        self._budget = budget
        self._queued = 0  # bytes that outboxes and the handler hold

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
        self.on_backlog()

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
            self.on_backlog()

    def on_pings(self, payloads: list[bytes]) -> None:
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
        self.on_backlog()

    def forget_unsent(self) -> None:
        """The handler has ended: it holds nothing any more."""
        self.count_unsent(-self._queued)

    def on_backlog(self) -> None:
        """Tell the budget what waits to be read by the peer."""
        self._budget.hold(self, self._queued + self.backlog)

    def evict(self) -> None:
        """See `Holder`. A peer that does not read would not read a Close frame either."""
        self.interrupt(Failure(OVERLOADED, "Too much waits to be read."))
        self.transport.abort()
