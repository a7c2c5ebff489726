"""Parses the frames of one socket.

After the handshake the socket's transport is given one of these protocols in the place of aiohttp's. It
checks the frames (RFC 6455, 5), answers pings at once, however busy the handler is, and notes when
bytes came: any inbound byte is a sign of life. aiohttp still sends long messages, and gets the Close frame
so that it completes the closing handshake. The subclasses use the payload: `Messages` assembles messages,
`Stream` puts bulk into slabs. It is all one object, `Link`, `Inbound` and this, because an idle socket is
to weigh little, and a frame to cost few calls.
"""

import asyncio
import codecs
from typing import Final

from jackfield.app.errors import INVALID_TEXT, MESSAGE_TOO_BIG, POLICY, PROTOCOL_ERROR, Close, Disconnected
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
from jackfield.app.socket.inbound import Inbound
from jackfield.app.socket.shared import FRAME_COST, UNCOUNTED, Shared

MAX_EMPTY: Final = 10_000  # data frames without payload in a row; more are an attack
MAX_PONGS: Final = 16  # pings that are answered in one turn


class Receiver(Inbound):
    """`received` counts bytes of messages, as they came."""

    __slots__ = ("_control", "_empty", "_frame", "_left", "_max_text", "_message", "_valid", "received")

    def __init__(self, inner: asyncio.Protocol, transport: asyncio.Transport, max_text: int, shared: Shared) -> None:
        super().__init__(inner, transport, shared)
        self._max_text = max_text
        self.received = 0
        self._frame: Header | None = None  # that is being received
        self._left = 0  # bytes of it that are still to come
        self._message = 0  # the opcode of an unfinished message, 0 between messages
        self._valid = 0  # bytes of `_text` that are known to be UTF-8
        self._control = b""  # the payload of an unfinished control frame
        self._empty = 0  # data frames without payload since the last one that had some

    def discard(self) -> None:
        """See `Inbound`."""
        self._valid = 0
        super().discard()

    def _parse(self, data: memoryview, start: int, stop: int) -> int:
        """Take the frames in data[start:stop]; where the first byte stands that waits for more, or for its turn."""
        quantum = self._shared.turns.quantum
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
        if not self._text:
            self._text = bytearray()  # an idle socket has none
        self._text += piece
        if self._message == TEXT and (size < self._left or not frame.fin):
            self._check_text()
        if len(self._text) > UNCOUNTED:
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
            self._text = b""
            self._valid = 0
            self._put(text)
