"""Whole messages, for handlers that take them: put together in memory, a bounded number of bytes ahead."""

import asyncio
import zlib
from typing import Final

from app.errors import INVALID_TEXT, MESSAGE_TOO_BIG, Close
from app.frames import BINARY, CLOSE, CONTINUATION, MAX_CONTROL, TEXT, Header, unmask
from app.receiver import Receiver

_TAIL: Final = b"\x00\x00\xff\xff"  # RFC 7692, 7.2.2


class Messages(Receiver, asyncio.Protocol):
    """Receives whole messages of at most `max_message` bytes; `deflate` where compression was agreed to."""

    __slots__ = ("_carry", "_compressed", "_inflater", "_max_message", "_small")

    def __init__(
        self, inner: asyncio.Protocol, transport: asyncio.Transport, max_text: int, max_message: int, *, deflate: bool
    ) -> None:
        super().__init__(inner, transport, max_text)
        self._max_message = max_message
        self._small = min(max_text, max_message, MAX_CONTROL)
        self._inflater = zlib.decompressobj(wbits=-15) if deflate else None
        self._compressed = False  # the message that is being received
        self._carry = b""  # a header that is not whole yet

    async def next(self) -> str | bytes:
        """The next message. Raises Disconnected when the peer has left, Close where it broke the protocol."""
        while not self._items:
            if self._end is not None:
                raise self._end
            await self._arrival()
        item: str | bytes = self._items.popleft()
        self._took(item)
        return item

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self.heard = self._loop.time()
        if self._end is not None:
            return
        try:
            if self._carry:
                data = self._carry + data
            elif self._take_small(data):
                return
            used = self._parse(memoryview(data), 0, len(data))
            self._carry = data[used:]
        except Close as close:
            self._finish(close)

    def _take_small(self, data: bytes) -> bool:
        """What nearly always comes is one short frame with a whole message; looked at once, it costs half."""
        if self._frame is not None or self._message or self._discarding or len(data) < 6 or data[0] not in (0x81, 0x82):
            return False
        size = data[1] - 0x80
        if not 0 <= size <= self._small or len(data) != size + 6:
            return False
        self.received += size
        self._text += unmask(memoryview(data)[6:], data[2:6], 0)
        self._deliver(data[0] & 0x0F)
        return True

    def _check_frame(self, header: Header) -> None:
        if header.opcode != CONTINUATION and header.opcode < CLOSE:
            self._compressed = header.compressed and self._inflater is not None
        if not self._compressed:
            super()._check_frame(header)
        if header.opcode < CLOSE:
            self._check_size(header, self._limit(self._message))

    def _limit(self, kind: int) -> int:
        return self._max_text if kind == TEXT else self._max_message

    def _deliver(self, kind: int) -> None:
        if self._compressed:
            self._text = self._inflate(self._limit(kind))
        if kind == BINARY:
            self._put(bytes(self._text))
            self._text.clear()
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
