"""Receives and parses the frames of one socket.

After the handshake the socket's transport is given one of these protocols in the place of aiohttp's. It
checks the frames (RFC 6455, 5), answers pings at once, however busy the handler is, and notes when
bytes came: any inbound byte is a sign of life. aiohttp still sends long messages, and gets the Close frame
so that it completes the closing handshake. The subclasses use the payload: `Messages` assembles messages,
`Stream` puts bulk into slabs.

A socket is read in turns. When what has come has cost a quantum, in bytes and in frames, parsing stops and
the rest is kept until it is this socket's turn again (see `Turns`).
"""

import asyncio
import codecs
from collections.abc import Callable
from typing import Any, Final

from jackfield.app.errors import (
    ABNORMAL,
    INVALID_TEXT,
    MESSAGE_TOO_BIG,
    OVERLOADED,
    POLICY,
    PROTOCOL_ERROR,
    Close,
    Disconnected,
    Failure,
)
from jackfield.app.socket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    LONGEST_HEADER,
    PING,
    TEXT,
    Header,
    decode_text,
    masked_close,
    parse_close,
    parse_header,
    unmask,
)
from jackfield.app.socket.shared import FRAME_COST, UNCOUNTED, Shared

AHEAD: Final = 512 * 1024  # bytes of messages received for a handler that is busy; then the socket is not read
_OVERHEAD: Final = 128  # counted for each message, so that empty ones are bounded too
MAX_EMPTY: Final = 10_000  # data frames without payload in a row; more are an attack
MAX_PONGS: Final = 16  # pings that are answered in one turn


class Receiver(asyncio.BaseProtocol):
    """What has been received of one socket and not yet taken: items, and then an end.

    `inner` is aiohttp's protocol. `heard` is the loop's time of the last byte; `received` counts bytes of
    messages, as they came; `eof` says that the peer has shut its side, so that no Close frame will come any more.
    """

    __slots__ = (
        "_ahead", "_at", "_budget", "_control", "_counted", "_deferred", "_discarding", "_empty", "_end", "_frame",
        "_inner", "_items", "_kept", "_left", "_loop", "_max_text", "_message", "_paused", "_pings", "_resting",
        "_spent", "_text", "_transport", "_turns", "_valid", "_waiter", "_writable", "congested", "eof", "heard",
        "lost", "on_backlog", "on_end", "on_pings", "received",
    )  # fmt: skip

    def __init__(self, inner: asyncio.Protocol, transport: asyncio.Transport, max_text: int, shared: Shared) -> None:
        self._inner = inner
        self._transport = transport
        self._max_text = max_text
        self._loop = asyncio.get_running_loop()
        self.on_pings: Callable[[list[bytes]], None] = _ignore
        self.on_end: Callable[[], None] = _nothing
        self.on_backlog: Callable[[], None] = _nothing
        self.heard = self._loop.time()
        self.received = 0
        self.eof = False
        self.lost = False  # there is no link any more
        self.congested = False  # the transport is above its high-water mark
        self._items: list[Any] = []  # seldom more than one: an empty deque would weigh 700 bytes on every idle socket
        self._end: Close | Disconnected | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self._writable: asyncio.Future[None] | None = None  # done when the transport is below its low-water mark
        self._discarding = False
        self._paused = False  # reading waits for the handler, or for memory
        self._ahead = 0  # bytes of whole messages among the items
        self._budget = shared.budget
        self._counted = False  # the budget counts bytes of ours
        # The turn.
        self._turns = shared.turns
        self._spent = 0  # bytes, frames counted as such, since the turn began
        self._resting = False  # the turn is over, the next one is to come
        self._kept = b""  # what was received and not parsed, from the byte at `_at`
        self._at = 0
        self._deferred = False  # whether it waits for the next turn; else it is an incomplete header
        # The frame and the message that are being received.
        self._frame: Header | None = None
        self._left = 0
        self._message = 0  # the opcode of an unfinished message, 0 between messages
        self._text = bytearray()
        self._valid = 0  # bytes of `_text` that are known to be UTF-8
        self._control = b""
        self._pings: list[bytes] | None = None  # the newest of them, not answered yet
        self._empty = 0  # data frames without payload since the last one that had some

    # -- taking, by the handler's task

    @property
    def waiting(self) -> bool:
        """Whether there is something that could be taken, or would be raised, at once."""
        return bool(self._items) or self._end is not None

    @property
    def paused(self) -> bool:
        """Whether the socket is not read now."""
        return self._paused

    @property
    def queued(self) -> bool:
        """Whether there is something that could be taken at once."""
        return bool(self._items)

    @property
    def end(self) -> Close | Disconnected | None:
        """How the peer ended the socket; raised to the handler behind all that came before."""
        return self._end

    @property
    def left(self) -> Disconnected | None:
        """The peer's Close frame, once it has come."""
        end = self._end
        return end if isinstance(end, Disconnected) and end.code != ABNORMAL else None

    @property
    def broken(self) -> bool:
        """Whether the peer broke the protocol: from there on its bytes have no meaning."""
        return isinstance(self._end, Close)

    def arrival(self) -> "asyncio.Future[bool]":
        """Done as soon as there may be something new: then look again. Only one task may wait."""
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def wake(self, *, late: bool = False) -> None:
        """End the wait of `arrival`, with the result `late`."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(late)

    def discard(self) -> None:
        """Throw away what is queued and what still comes; only a Close frame is looked for."""
        self._discarding = True
        self._items.clear()
        self._text.clear()
        self._valid = self._ahead = 0
        self._count()
        self._resume()

    def refuse(self, close: Close) -> None:
        """Take no more: the peer has broken the protocol."""
        self._finish(close)

    async def shut(self) -> None:
        """Until the peer has shut its side, or the link is lost."""
        while not self.eof:
            await self.arrival()

    # -- the link, for the loop

    def eof_received(self) -> bool:
        """Keep our side open: a peer may shut its side and still read the answer."""
        self.eof = True
        self._finish(Disconnected(ABNORMAL, clean=False))
        return not self._discarding and self._transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: Exception | None) -> None:
        """What came before is still delivered; then it is said that the link is gone."""
        self.eof = self.lost = True
        self._keep(b"", 0)
        self._finish(Disconnected(ABNORMAL, clean=False))
        self._inner.connection_lost(exc)
        self._decongest()

    def pause_writing(self) -> None:
        """The peer reads slowly; aiohttp wants to know as well."""
        self.congested = True
        self._inner.pause_writing()
        self.on_backlog()

    def resume_writing(self) -> None:
        """See `pause_writing`."""
        self._inner.resume_writing()
        self._decongest()

    def _decongest(self) -> None:
        self.congested = False
        self.on_backlog()
        if self._writable is not None:
            waiter, self._writable = self._writable, None
            waiter.set_result(None)

    async def writable(self) -> None:
        """Wait until the transport calls `resume_writing`, or the link is lost."""
        if self._writable is None:
            self._writable = self._loop.create_future()
        await asyncio.shield(self._writable)  # several may wait: cancelling one must not cancel the others

    def _finish(self, end: Close | Disconnected) -> None:
        if self._end is None:
            self._end = end
            self.on_end()
        self.wake()

    # -- turns

    def _advance(self, data: memoryview, start: int, stop: int) -> int:
        """Parse data[start:stop] as far as this turn goes, and answer the newest pings.

        Where the first byte stands that is to be kept.
        """
        self._deferred = False
        try:
            start = self._parse(data, start, stop)
        except Close as close:
            self._finish(close)
        if self._pings is not None:
            payloads, self._pings = self._pings, None
            self.on_pings(payloads)
        return start if self._end is None else stop

    def _keep(self, data: bytes, at: int, *, behind: bool = False) -> None:
        """What stands in `data` from `at` on is parsed later: `behind`, or this turn is over, in the next turn."""
        if self._end is not None:
            at = len(data)
        self._deferred = at < len(data) and (behind or self._spent >= self._turns.quantum)
        self._kept, self._at = (data, at) if self._deferred else (data[at:], 0)
        if self._counted or len(data) > UNCOUNTED:
            self._count()

    def _rest_if_spent(self) -> None:
        if self._deferred or self._spent >= self._turns.quantum:
            self._rest()

    def _rest(self) -> None:
        """Give way to all other sockets that have something to read."""
        self._spent = 0
        if not self._resting and not self._paused:
            self._resting = True
            self._transport.pause_reading()
            self._turns.rest(self._go_on)

    def _go_on(self) -> None:
        """It is our turn again."""
        self._resting = False
        try:
            self._read_on()
        except BaseException:
            self._transport.abort()  # as a loop does where a protocol fails
            raise

    def _read_on(self) -> None:
        """Parse what was kept, and then let the transport read."""
        if self._deferred and not self._held_back:
            self._parse_kept()
            self._rest_if_spent()
        if not self._held_back and not self._transport.is_closing():
            self._transport.resume_reading()

    @property
    def _held_back(self) -> bool:
        return self._paused or self._resting

    def _parse_kept(self) -> None:
        data = self._kept
        self._keep(data, self._advance(memoryview(data), self._at, len(data)))

    # -- memory

    def _count(self) -> None:
        """Tell the budget what we hold."""
        size = self._ahead + len(self._text) + len(self._kept)
        self._counted = size > UNCOUNTED
        self._budget.hold(self, size)

    def evict(self) -> None:
        """See `Holder`."""
        self.discard()
        self._finish(Failure(OVERLOADED, "Too many messages are under way."))

    # -- frames

    def _parse(self, data: memoryview, start: int, stop: int) -> int:
        """Take the frames in data[start:stop]; where the first byte stands that waits for more, or for its turn."""
        quantum = self._turns.quantum
        while self._end is None and self._spent < quantum:
            if self._frame is None:
                header = parse_header(data[start : min(stop, start + LONGEST_HEADER)])
                if header is None:
                    return start
                start += header.size
                self._begin(header)
            size = min(self._left, stop - start)
            if size:
                self._payload(data, start, size)
                start += size
                self._left -= size
            if self._left:
                return start
            self._complete()
        return start

    def _begin(self, header: Header) -> None:
        """A frame begins: is it allowed to stand here? (RFC 6455, 5.4)"""
        opcode = header.opcode
        if opcode in (TEXT, BINARY):
            if self._message:
                raise Close(PROTOCOL_ERROR, "A message begins inside another")
            self._message = opcode
        elif opcode == CONTINUATION and not self._message:
            raise Close(PROTOCOL_ERROR, "A continuation of nothing")
        self._check_frame(header)
        self._frame = header
        self._left = header.length
        self._spent += FRAME_COST
        if opcode < CLOSE:
            self._check_empty(header.length)

    def _check_empty(self, length: int) -> None:
        self._empty = 0 if length else self._empty + 1
        if self._empty > MAX_EMPTY:
            raise Close(POLICY, f"More than {MAX_EMPTY} frames without payload")

    def _check_frame(self, header: Header) -> None:
        """Refuse what the subclass does not take; raises Close."""
        if header.compressed:
            raise Close(PROTOCOL_ERROR, "Reserved bits are set")
        if header.opcode < CLOSE and self._message == TEXT:
            self._check_size(header, self._max_text)

    def _check_size(self, header: Header, limit: int) -> None:
        if len(self._text) + header.length > limit and not self._discarding:
            raise Close(MESSAGE_TOO_BIG, f"A message of this kind may have {limit} bytes")

    def _payload(self, data: memoryview, start: int, size: int) -> None:
        """Bytes of the current frame, masked."""
        frame = self._frame
        assert frame is not None
        piece = unmask(data[start : start + size], frame.mask, frame.length - self._left)
        if frame.opcode >= CLOSE:
            self._control += piece
            return
        self.received += size
        if self._discarding:
            return
        self._text += piece
        if self._message == TEXT and (size < self._left or not frame.fin):
            self._check_text()
        if self._counted or len(self._text) > UNCOUNTED:
            self._count()

    def _check_text(self) -> None:
        """Refuse the first byte with which this cannot be UTF-8 any more (RFC 6455, 8.1)."""
        with memoryview(self._text) as text:
            try:
                _, valid = codecs.utf_8_decode(text[self._valid :], "strict", False)
            except UnicodeDecodeError:
                raise Close(INVALID_TEXT, "Text must be UTF-8") from None
        self._valid += valid

    def _complete(self) -> None:
        """A frame is whole."""
        frame, self._frame = self._frame, None
        assert frame is not None
        if frame.opcode < CLOSE:
            if frame.fin:
                kind, self._message = self._message, 0
                if not self._discarding:  # its beginning may be gone: it need not be text any more
                    self._deliver(kind)
            return
        payload, self._control = self._control, b""
        if frame.opcode == CLOSE:
            code, reason = parse_close(payload)
            self._finish(Disconnected(code, reason, clean=not self._message))
            self._inner.data_received(masked_close(payload))
        elif frame.opcode == PING:
            self._remember_ping(payload)

    def _remember_ping(self, payload: bytes) -> None:
        """Of very many only the newest need an answer (RFC 6455, 5.5.3)."""
        if self._pings is None:
            self._pings = []
        self._pings.append(payload)
        if len(self._pings) > MAX_PONGS:
            del self._pings[0]

    def _deliver(self, kind: int) -> None:
        """A message is whole: of a text the bytes are in `_text`."""
        if kind == TEXT:
            text = decode_text(self._text)
            self._text.clear()
            self._valid = 0
            self._put(text)

    def _put(self, message: str | bytes) -> None:
        """A whole message for the handler; too many of them, and the socket is not read for a while."""
        self._items.append(message)
        self._ahead += len(message) + _OVERHEAD
        if self._counted or self._ahead > UNCOUNTED:
            self._count()
        self.wake()
        if self._ahead > AHEAD:
            self._pause()

    def _on_taken(self, message: str | bytes) -> None:
        self._ahead -= len(message) + _OVERHEAD
        if self._counted:
            self._count()
        if self._paused and self._ahead < AHEAD // 2:
            self._resume()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> bool:
        """Read on, where nothing is against it; whether it is read now."""
        if self._paused:
            self._paused = False
            self.heard = self._loop.time()  # the time in which we did not read does not count
            self._read_on()
        return True


def _ignore(_: list[bytes]) -> None:
    """The default until a connection sets `on_pings`."""


def _nothing() -> None:
    """The default until a connection sets the callback."""
