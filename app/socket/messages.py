"""Whole messages, assembled in memory, with a bounded number of bytes queued for the handler."""

import asyncio
import zlib
from typing import Final

from jackfield.app.errors import INVALID_TEXT, MESSAGE_TOO_BIG, Close
from jackfield.app.socket.frames import BINARY, CLOSE, CONTINUATION, MAX_CONTROL, TEXT, Header, decode_text, unmask
from jackfield.app.socket.receiver import Receiver
from jackfield.app.socket.shared import FRAME_COST, Shared

_TAIL: Final = b"\x00\x00\xff\xff"  # RFC 7692, 7.2.2


class Messages(Receiver, asyncio.Protocol):
    """Receives whole messages of at most `max_message` bytes; `deflate` where compression was agreed to."""

    __slots__ = ("_compressed", "_inflater", "_max_message", "_small", "_timeout")

    def __init__(
        self,
        inner: asyncio.Protocol,
        transport: asyncio.Transport,
        max_text: int,
        max_message: int,
        shared: Shared,
        *,
        deflate: bool,
    ) -> None:
        super().__init__(inner, transport, max_text, shared)
        self._max_message = max_message
        self._small = min(max_text, max_message, MAX_CONTROL)
        self._inflater = zlib.decompressobj(wbits=-15) if deflate else None
        self._compressed = False  # the message that is being received
        self._timeout: float | None = None  # seconds, set while the one who waits may be told that it is late

    def ready(self) -> str | bytes | None:
        """The next message; None where there is none yet, and then `arrival` says when to look again.

        Raises Disconnected when the peer has left, Close where it broke the protocol.
        """
        if self._items:
            item: str | bytes = self._items.pop(0)
            self._on_taken(item)
            return item
        if self._end is not None:
            raise self._end
        return None

    def arrival(self, timeout: float | None = None) -> "asyncio.Future[bool]":
        """See `Link`. True after `timeout` seconds in which nothing came."""
        if timeout != self._timeout:
            self._end_timeout()
        if timeout is not None:
            self._shared.timeouts.begin(self, timeout)
            self._timeout = timeout
        return super().arrival()

    def _end_timeout(self) -> None:
        if self._timeout is not None:
            self._shared.timeouts.end(self, self._timeout)
            self._timeout = None

    def discard(self) -> None:
        """See `Inbound`."""
        super().discard()
        self._end_timeout()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self.heard = self._loop.time()
        if self._end is not None:
            return
        size = len(data)
        if self._kept:
            data = self._kept[self._at :] + data
        if self._kept or not self._take_small(data):
            self._keep(data, self._advance(memoryview(data), 0, len(data)))
        self._spent += size
        self._rest_if_spent()

    def _take_small(self, data: bytes) -> bool:
        """The fast path: one short frame with a whole message. It costs a third of the general one."""
        size = len(data) - 6
        if not 0 <= size <= self._small or data[1] != size + 0x80 or data[0] not in (0x81, 0x82):
            return False
        if self._frame is not None or self._message or self._discarding:
            return False
        self.received += size
        self._spent += FRAME_COST
        payload = unmask(data[6:], data[2:6], 0)
        try:
            self._check_empty(size)
            self._put(decode_text(payload) if data[0] == 0x81 else payload)
        except Close as close:
            self._finish(close)
        return True

    def _check_frame(self, header: Header) -> None:
        if header.opcode != CONTINUATION and header.opcode < CLOSE:
            self._compressed = header.compressed and self._inflater is not None
        if not self._compressed:
            super()._check_frame(header)
        if header.opcode < CLOSE:
            self._check_size(header, self._limit(self._message))

    def _check_text(self) -> None:
        if not self._compressed:
            super()._check_text()

    def _limit(self, kind: int) -> int:
        return self._max_text if kind == TEXT else self._max_message

    def _deliver(self, kind: int) -> None:
        if self._compressed:
            self._text = self._inflate(self._limit(kind))
        if kind == BINARY:
            message = bytes(self._text)
            self._text = b""
            self._put(message)
        else:
            super()._deliver(kind)

    def _inflate(self, limit: int) -> bytearray:
        assert self._inflater is not None
        self._compressed = False
        packed, data = bytes(self._text) + _TAIL, bytearray()
        try:
            while packed and len(data) <= limit:
                data += self._inflater.decompress(packed, limit + 1 - len(data))
                packed = self._inflater.unused_data
                if self._inflater.eof:  # a client may end its stream and begin another (RFC 7692, 7.2.3.4)
                    self._inflater = zlib.decompressobj(wbits=-15)
        except zlib.error:
            raise Close(INVALID_TEXT, "This is not compressed as was agreed") from None
        if len(data) > limit:
            raise Close(MESSAGE_TOO_BIG, f"A message of this kind may have {limit} bytes")
        return data
