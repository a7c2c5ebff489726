"""Receiving: the frames of one socket are parsed here, whatever it carries.

After the handshake the socket's transport is given one of these protocols in the place of aiohttp's. It
checks the frames (RFC 6455, 5), answers pings at once, however busy the handler is, and knows when
bytes came: any inbound byte is life. aiohttp still sends what is long, and is told of the Close frame
so that it ends the handshake of closing. What is done with the payload is the subclasses': `Messages`
puts messages together, `Stream` lays bulk out for whoever writes it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from jackfield.app.errors import ABNORMAL, MESSAGE_TOO_BIG, PROTOCOL_ERROR, Close, Disconnected
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

AHEAD: Final = 512 * 1024  # bytes of messages received for a handler that is busy; then the socket is not read
_OVERHEAD: Final = 128  # counted for each message, so that empty ones are bounded too


class Receiver(asyncio.BaseProtocol):
    """What has been received of one socket and not yet taken: items, and then an end.

    `inner` is aiohttp's protocol. `heard` is the loop's time of the last byte; `received` counts bytes of
    messages, as they came; `eof` says that the peer has shut its side, so that no Close frame will come any more.
    """

    __slots__ = (
        "_ahead", "_control", "_discarding", "_end", "_frame", "_inner", "_items", "_left", "_loop", "_max_text",
        "_message", "_paused", "_text", "_transport", "_waiter", "eof", "heard", "lost", "on_ping", "received",
    )  # fmt: skip

    def __init__(self, inner: asyncio.Protocol, transport: asyncio.Transport, max_text: int) -> None:
        self._inner = inner
        self._transport = transport
        self._max_text = max_text
        self._loop = asyncio.get_running_loop()
        self.on_ping: Callable[[bytes], None] = _ignore
        self.heard = self._loop.time()
        self.received = 0
        self.eof = False
        self.lost = False  # there is no link any more
        self._items: list[Any] = []  # seldom more than one: an empty deque would weigh 700 bytes on every idle socket
        self._end: Close | Disconnected | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self._discarding = False
        self._paused = False
        self._ahead = 0  # bytes of whole messages among the items
        # The frame and the message that are being received.
        self._frame: Header | None = None
        self._left = 0
        self._message = 0  # the opcode of an unfinished message, 0 between messages
        self._text = bytearray()
        self._control = b""

    # -- what has come, for the handler's task

    @property
    def waiting(self) -> bool:
        """Whether there is something that could be taken, or would be raised, at once."""
        return bool(self._items) or self._end is not None

    @property
    def paused(self) -> bool:
        """Whether the socket is not read now."""
        return self._paused

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
        """Let the one who waits look again; `late` is what it is told."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(late)

    def discard(self) -> None:
        """Throw away what is queued and what still comes; only a Close frame is looked for."""
        self._discarding = True
        self._items.clear()
        self._text.clear()
        self._ahead = 0
        self._resume()

    async def shut(self) -> None:
        """Until the peer has shut its side, or the link is lost."""
        while not self.eof:
            await self.arrival()

    # -- the link, for the loop

    def eof_received(self) -> bool:
        """Keep the way back open: who has said its end may shut its side and still wait for the answer."""
        self.eof = True
        self._finish(Disconnected(ABNORMAL, clean=False))
        return not self._discarding and self._transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: Exception | None) -> None:
        """What came before is still delivered; then it is said that the link is gone."""
        self.eof = self.lost = True
        self._finish(Disconnected(ABNORMAL, clean=False))
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Writing is aiohttp's."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Writing is aiohttp's."""
        self._inner.resume_writing()

    def _finish(self, end: Close | Disconnected) -> None:
        if self._end is None:
            self._end = end
        self.wake()

    # -- frames

    def _parse(self, data: memoryview, start: int, stop: int) -> int:
        """Take the frames in data[start:stop]; where the first byte stands that waits for more."""
        while self._end is None:
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
        return stop

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
        if not self._discarding:
            self._text += piece

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
            self.on_ping(payload)

    def _deliver(self, kind: int) -> None:
        """A message is whole: of a text the bytes are in `_text`."""
        if kind == TEXT:
            text = decode_text(self._text)
            self._text.clear()
            self._put(text)

    def _put(self, message: str | bytes) -> None:
        """A whole message for the handler; too many of them, and the socket is not read for a while."""
        self._items.append(message)
        self._ahead += len(message) + _OVERHEAD
        self.wake()
        if self._ahead > AHEAD:
            self._pause()

    def _took(self, message: str | bytes) -> None:
        self._ahead -= len(message) + _OVERHEAD
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
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return True


def _ignore(_: bytes) -> None:
    """Nobody answers yet."""
