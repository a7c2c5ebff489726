"""Bulk: bytes as they arrive, from any framing, in bounded memory.

aiohttp gives whole messages, so a message of 1 GiB costs it 3 GiB. Here binary payload stays where the
kernel wrote it, and only its mask is taken off, until the handler has used it: see `buffers`.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from app.buffers import SLAB, TURN, Buffers, Slab
from app.errors import Close
from app.frames import CLOSE, TEXT
from app.receiver import AHEAD, Receiver

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


class Stream(Receiver, asyncio.BufferedProtocol):
    """One socket's incoming bytes and texts. The loop fills it, one task takes from it with `next()`."""

    __slots__ = ("_buffers", "_carry", "_enough", "_filled", "_parsed", "_pending", "_slab", "_slabs")

    def __init__(self, inner: asyncio.Protocol, transport: asyncio.Transport, max_text: int, buffers: Buffers) -> None:
        super().__init__(inner, transport, max_text)
        self._buffers = buffers
        self._pending = 0  # bytes that could be taken
        self._enough = 1  # so many wake the one who waits
        # Where the loop writes next.
        self._slab: Slab | None = None
        self._filled = 0
        self._parsed = 0
        self._carry = b""  # the beginning of a header whose rest comes in the next slab
        self._slabs = 0  # held by this socket, the one being filled and those not yet released

    # -- taking, by the handler's task

    async def next(self, least: int = 1, patience: float = 0.0, most: int | None = None) -> Batch | str:
        """The next bytes, or the next text message.

        Bytes that are fewer than `least` wait up to `patience` seconds for more; once there are `most`,
        what follows is left for the next call. Raises Disconnected when the peer ended the socket, Close
        where it broke the protocol; both after all that came before.
        """
        while not self._items and self._end is None:
            await self._until(1)
        deadline = self._loop.time() + patience
        while self._hungry(least) and (left := deadline - self._loop.time()) > 0:
            timer = self._loop.call_later(left, self.wake)
            try:
                await self._until(least)
            finally:
                timer.cancel()
        item = self.ready(1, most)
        if item is None:
            assert self._end is not None
            raise self._end
        return item

    def ready(self, least: int = 1, most: int | None = None) -> Batch | str | None:
        """What `next` would give without waiting; None where it would wait, or raise."""
        if not self._items or self._hungry(least):
            return None
        item = self._items[0]
        if isinstance(item, str):
            self._items.pop(0)
            self._took(item)
            return item
        return self._take_batch(self._pending if most is None else most)

    def _hungry(self, least: int) -> bool:
        """Whether more bytes could come soon that belong to the batch being collected."""
        return (
            self._pending < least
            and self._end is None
            and not self._paused
            and all(isinstance(item, _Chunk) for item in self._items)
        )

    def _take_batch(self, most: int) -> Batch:
        views, slabs, size = [], [], 0
        while self._items and size < most and isinstance(chunk := self._items[0], _Chunk):
            start, chunk.start = chunk.start, min(chunk.stop, chunk.start + most - size)
            views.append(chunk.slab.view[start : chunk.start])
            slabs.append(chunk.slab)
            size += chunk.start - start
            if chunk.start < chunk.stop:
                self._hold(chunk.slab)  # for the rest of it
            else:
                self._items.pop(0)
        self._pending -= size

        def release() -> None:
            for slab in slabs:
                self._drop(slab)
            if self._slab is not None:
                self._make_room(self._slab)  # it may hold nothing now: a socket that is idle keeps no memory
            self._resume()

        return Batch(views, size, release)

    async def _until(self, enough: int) -> None:
        """Until so many bytes are there, or something that is not bytes."""
        self._enough = enough
        await self.arrival()

    def discard(self) -> None:
        """See `Receiver`; the memory is given back."""
        chunks = [item for item in self._items if isinstance(item, _Chunk)]
        super().discard()
        self._pending = 0
        for chunk in chunks:
            self._drop(chunk.slab)
        self._resume()  # now that there is memory

    # -- receiving, by the event loop

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport writes what it receives; at most one slab a turn."""
        if self._slab is None:
            slab = self._buffers.take() if self._buffers.allows(self._slabs) else None
            if slab is None:
                self._pause()
                slab = Slab(_CRUMB)
            self._hold(slab)
            self._slab = slab
            self._filled, self._parsed = len(self._carry), 0
            slab.view[: self._filled] = self._carry
            self._carry = b""
        if self._buffers.shared(self._slabs):
            return self._slab.view[self._filled : self._filled + TURN]
        return self._slab.view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what came, and make room for what comes."""
        slab = self._slab
        assert slab is not None
        self.heard = self._loop.time()
        self._filled += nbytes
        if self._end is None:
            try:
                self._parsed = self._parse(slab.view, self._parsed, self._filled)
            except Close as close:
                self._finish(close)
        if self._end is not None:  # what follows an end has no meaning, and is not kept
            self._parsed = self._filled
        self._make_room(slab)
        if self._pending >= self._enough:
            self.wake()

    def _make_room(self, slab: Slab) -> None:
        """Let go of a slab that is full, or of one that holds nothing; stop reading when there is no other."""
        rest = self._filled - self._parsed
        if slab.size - self._filled >= _LEAST_ROOM and (slab.users > 1 or rest):
            return
        self._carry = bytes(slab.view[self._parsed : self._filled])
        self._slab = None
        full = slab.users > 1
        self._drop(slab)
        if full and (self._buffers.spent or not self._buffers.allows(self._slabs)):
            self._pause()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `Receiver`; the slab that is being filled is given back."""
        if self._slab is not None:
            slab, self._slab = self._slab, None
            self._drop(slab)
        self._buffers.leave(self._resume)
        super().connection_lost(exc)

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
        super()._pause()
        if self._buffers.spent and self._buffers.allows(self._slabs):
            self._buffers.wait(self._resume)  # others hold the memory
        self.wake()

    def _resume(self) -> bool:
        if not self._paused or not self._buffers.allows(self._slabs) or self._ahead > AHEAD:
            return False
        if self._buffers.spent:
            self._buffers.wait(self._resume)
            return False
        self._buffers.leave(self._resume)
        return super()._resume()

    # -- frames

    def _payload(self, data: memoryview, start: int, size: int) -> None:
        frame, slab = self._frame, self._slab
        assert frame is not None
        assert slab is not None
        if frame.opcode >= CLOSE or self._message == TEXT:
            super()._payload(data, start, size)
            return
        self.received += size
        if self._discarding:
            return
        slab.unmask(start, start + size, frame.mask, frame.length - self._left)
        self._pending += size
        last = self._items[-1] if self._items else None
        if isinstance(last, _Chunk) and last.slab is slab and (size < _SMALL or last.stop == start):
            if last.stop != start:
                slab.view[last.stop : last.stop + size] = slab.view[start : start + size]
            last.stop += size
        else:
            self._hold(slab)
            self._items.append(_Chunk(slab, start, start + size))
