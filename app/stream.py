"""The receiver of sockets that carry bulk: bytes as they arrive, from any framing, in bounded memory.

aiohttp gives whole messages, so a message of 1 GiB costs it 3 GiB; here the socket's transport is given
a protocol of our own after the handshake. It parses the frames (and so checks them: RFC 6455, 5), leaves
binary payload where the kernel wrote it, and knows texts, pings and Close frames. aiohttp goes on doing
the sending, and is told of the Close frame so that it ends the handshake of closing.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from app.buffers import SLAB, Buffers, Slab
from app.errors import ABNORMAL, MESSAGE_TOO_BIG, PROTOCOL_ERROR, Close, Disconnected
from app.frames import (
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
    unmask_small,
)

__all__ = ["Batch", "Buffers", "Stream"]

_LEAST_ROOM: Final = 32 * 1024  # a slab with less room left is full: reading on in crumbs costs more
_CRUMB: Final = 1024  # bytes to read into when the budget is spent and the kernel insists
_SMALL: Final = 4096  # payloads below it are moved together, so that tiny frames make no tiny chunks


class _Chunk:
    """Binary payload that lies in a slab."""

    __slots__ = ("slab", "start", "stop")

    def __init__(self, slab: Slab, start: int, stop: int) -> None:
        self.slab = slab
        self.start = start
        self.stop = stop


class Batch:
    """Bytes in the order they came: `views` of `size` bytes in all. Give them back with `release()`."""

    __slots__ = ("_release", "size", "views")

    def __init__(self, views: list[memoryview], size: int, release: Callable[[], None]) -> None:
        self.views = views
        self.size = size
        self._release = release

    def release(self) -> None:
        """Say that the bytes are used; afterwards the views hold something else. Call it once."""
        self.views = []
        self._release()


class Stream(asyncio.BufferedProtocol):
    """One socket's incoming bytes and texts. The loop fills it, one task takes from it with `next()`.

    `inner` is aiohttp's protocol, which goes on with everything that is not receiving.
    `heard` is the loop's time of the last byte that came.
    """

    def __init__(
        self,
        inner: asyncio.Protocol,
        transport: asyncio.Transport,
        buffers: Buffers,
        max_text: int,
        on_ping: Callable[[bytes], None],
    ) -> None:
        self._inner = inner
        self._transport = transport
        self._buffers = buffers
        self._max_text = max_text
        self.on_ping = on_ping
        self._loop = asyncio.get_running_loop()
        self.heard = self._loop.time()
        self.received = 0  # bytes of binary payload, all told
        self.eof = False  # the peer has shut its side; a Close frame will not come any more
        # What was received and not yet taken; `_end` says what comes after it.
        self._items: deque[_Chunk | str] = deque()
        self._pending = 0
        self._end: Close | Disconnected | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._enough = 1
        self._discarding = False
        # Where the loop writes next.
        self._slab: Slab | None = None
        self._filled = 0
        self._parsed = 0
        self._carry = b""  # the beginning of a header whose rest comes in the next slab
        self._slabs = 0  # held by this socket, the one being filled and those not yet released
        self._paused = False
        # The frame and the message that are being received.
        self._frame: Header | None = None
        self._left = 0
        self._message = 0  # the opcode of an unfinished message, 0 between messages
        self._text = bytearray()
        self._control = bytearray()

    # -- taking, by the handler's task

    async def next(self, least: int = 1, patience: float = 0.0) -> Batch | str:
        """The next bytes, or the next text message.

        Bytes that are fewer than `least` wait up to `patience` seconds for more. Raises Disconnected
        when the peer ended the socket, Close where it broke the protocol; both after all that came before.
        """
        while not self._items and self._end is None:
            await self._wait(1)
        deadline = self._loop.time() + patience
        while self._hungry(least) and (left := deadline - self._loop.time()) > 0:
            timer = self._loop.call_later(left, self._wake)
            try:
                await self._wait(least)
            finally:
                timer.cancel()
        if not self._items:
            assert self._end is not None
            raise self._end
        item = self._items[0]
        if isinstance(item, str):
            self._items.popleft()
            return item
        return self._take_batch()

    def _hungry(self, least: int) -> bool:
        """Whether more bytes could come soon that belong to the batch being collected."""
        return (
            self._end is None
            and not self._paused
            and self._pending < least
            and all(isinstance(item, _Chunk) for item in self._items)
        )

    def _take_batch(self) -> Batch:
        views, slabs, size = [], [], 0
        while self._items and isinstance(chunk := self._items[0], _Chunk):
            self._items.popleft()
            views.append(chunk.slab.view[chunk.start : chunk.stop])
            slabs.append(chunk.slab)
            size += chunk.stop - chunk.start
        self._pending -= size

        def release() -> None:
            for slab in slabs:
                self._drop(slab)
            self._resume()

        return Batch(views, size, release)

    async def _wait(self, enough: int) -> None:
        """Until so many bytes are there, or something that is not bytes."""
        self._enough = enough
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def discard(self) -> None:
        """Throw away what is queued and what still comes; only a Close frame is looked for."""
        self._discarding = True
        self._pending = 0
        while self._items:
            item = self._items.popleft()
            if isinstance(item, _Chunk):
                self._drop(item.slab)
        self._resume()

    @property
    def broken(self) -> bool:
        """Whether the peer broke the protocol: from there on its bytes have no meaning."""
        return isinstance(self._end, Close)

    async def shut(self) -> None:
        """Until the peer has shut its side, or the link is lost."""
        while not self.eof:
            await self._wait(1)

    @property
    def waiting(self) -> bool:
        """Whether there is something that `next` would give, or raise, at once."""
        return bool(self._items) or self._end is not None

    @property
    def paused(self) -> bool:
        """Whether the socket is not read now, for want of memory."""
        return self._paused

    # -- receiving, by the event loop

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport writes what it receives; at most one slab a turn."""
        if self._slab is None:
            slab = self._buffers.take() if self._slabs < self._buffers.share else None
            if slab is None:
                self._pause()
                slab = Slab(_CRUMB)
            self._hold(slab)
            self._slab = slab
            self._filled, self._parsed = len(self._carry), 0
            slab.view[: self._filled] = self._carry
            self._carry = b""
        return self._slab.view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what came, and make room for what comes."""
        slab = self._slab
        assert slab is not None
        self.heard = self._loop.time()
        self._filled += nbytes
        if self._end is None:
            try:
                self._parse(slab)
            except Close as close:
                self._finish(close)
        else:
            self._parsed = self._filled
        self._make_room(slab)
        if self._pending >= self._enough:
            self._wake()

    def _make_room(self, slab: Slab) -> None:
        """Let go of a slab that is full, or of one that holds nothing; stop reading when there is no other."""
        rest = self._filled - self._parsed
        if slab.size - self._filled >= _LEAST_ROOM and (slab.users > 1 or rest):
            return
        self._carry = bytes(slab.view[self._parsed : self._filled])
        self._slab = None
        full = slab.users > 1
        self._drop(slab)
        if full and (self._slabs >= self._buffers.share or self._buffers.spent):
            self._pause()

    def eof_received(self) -> bool:
        """Keep the way back open: who has said its end may shut its side and still wait for the answer."""
        self.eof = True
        self._finish(Disconnected(ABNORMAL, clean=False))
        return not self._discarding and self._transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: Exception | None) -> None:
        """What came before is still delivered; then the stream says that the link is gone."""
        self.eof = True
        self._finish(Disconnected(ABNORMAL, clean=False))
        if self._slab is not None:
            slab, self._slab = self._slab, None
            self._drop(slab)
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
        self._wake()

    # -- memory

    def _hold(self, slab: Slab) -> None:
        if slab.users == 0 and slab.size == SLAB:
            self._slabs += 1
        slab.users += 1

    def _drop(self, slab: Slab) -> None:
        slab.users -= 1
        if slab.users == 0 and slab.size == SLAB:
            self._slabs -= 1
            self._buffers.give(slab)

    def _pause(self) -> None:
        if self._paused:
            return
        self._paused = True
        self._transport.pause_reading()
        if self._slabs < self._buffers.share:
            self._buffers.wait(self._resume)  # others hold the memory
        self._wake()

    def _resume(self) -> None:
        if not self._paused or self._slabs >= self._buffers.share:
            return
        if self._buffers.spent:
            self._buffers.wait(self._resume)
            return
        self._paused = False
        self.heard = self._loop.time()  # the time in which we did not read does not count
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # -- frames

    def _parse(self, slab: Slab) -> None:
        while self._end is None:
            if self._frame is None:
                header = parse_header(slab.view[self._parsed : min(self._filled, self._parsed + LONGEST_HEADER)])
                if header is None:
                    return
                self._parsed += header.size
                self._begin(header)
            size = min(self._left, self._filled - self._parsed)
            if size:
                self._payload(slab, self._parsed, size)
                self._parsed += size
                self._left -= size
            if self._left:
                return
            self._complete()

    def _begin(self, header: Header) -> None:
        """A frame begins: is it allowed to stand here? (RFC 6455, 5.4)"""
        if header.opcode in (TEXT, BINARY):
            if self._message:
                raise Close(PROTOCOL_ERROR, "A message begins inside another")
            self._message = header.opcode
        elif header.opcode == CONTINUATION and not self._message:
            raise Close(PROTOCOL_ERROR, "A continuation of nothing")
        if header.opcode < CLOSE and self._message == TEXT and len(self._text) + header.length > self._max_text:
            raise Close(MESSAGE_TOO_BIG, f"A text may have {self._max_text} bytes")
        self._frame = header
        self._left = header.length

    def _payload(self, slab: Slab, start: int, size: int) -> None:
        frame = self._frame
        assert frame is not None
        phase = frame.length - self._left
        if frame.opcode >= CLOSE or self._message == TEXT:
            kept = self._control if frame.opcode >= CLOSE else self._text
            kept += unmask_small(bytes(slab.view[start : start + size]), frame.mask, phase)
            return
        self.received += size
        if self._discarding:
            return
        slab.unmask(start, start + size, frame.mask, phase)
        self._pending += size
        last = self._items[-1] if self._items else None
        if size < _SMALL and isinstance(last, _Chunk) and last.slab is slab:
            slab.view[last.stop : last.stop + size] = slab.view[start : start + size]
            last.stop += size
        else:
            self._hold(slab)
            self._items.append(_Chunk(slab, start, start + size))

    def _complete(self) -> None:
        """A frame is whole."""
        frame, self._frame = self._frame, None
        assert frame is not None
        if frame.opcode >= CLOSE:
            payload = bytes(self._control)
            self._control.clear()
            if frame.opcode == CLOSE:
                code, reason = parse_close(payload)
                self._finish(Disconnected(code, reason, clean=not self._message))
                self._inner.data_received(masked_close(payload))
            elif frame.opcode == PING:
                self.on_ping(payload)
        elif frame.fin:
            if self._message == TEXT:
                text = decode_text(self._text)
                self._text.clear()
                if not self._discarding:
                    self._items.append(text)
                    self._wake()
            self._message = 0
