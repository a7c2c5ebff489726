"""Bulk: bytes as they arrive, from any framing, in bounded memory.

aiohttp gives whole messages, so a message of 1 GiB costs it 3 GiB. Here binary payload goes into slabs,
without its mask and without gaps, as it arrives; there it lies until the handler has used it: see `buffers`.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Self

from jackfield.app.socket.buffers import PAGE, Buffers, Slab
from jackfield.app.socket.frames import CLOSE, TEXT
from jackfield.app.socket.inbound import AHEAD
from jackfield.app.socket.receiver import Receiver
from jackfield.app.socket.shared import Shared
from jackfield.app.socket.slabs import Slabs

_LARGE: Final = 128 * 1024
"""Bytes of a frame from which on the kernel puts them where they belong: moving them there costs 0.1 CPU s/GiB, and
to receive less at once costs as much for a smaller one."""


class _Chunk:
    """Binary payload that lies in a slab."""

    __slots__ = ("slab", "start", "stop")

    def __init__(self, slab: Slab, start: int, stop: int) -> None:
        self.slab = slab
        self.start = start
        self.stop = stop


class Batch:
    """Bytes in the order they came: `views` of `size` bytes in all.

    Give them back when they are used: by `with batch:`, or by `release()`, which may be called again.
    """

    __slots__ = ("_release", "size", "views")

    def __init__(self, views: list[memoryview], size: int, release: Callable[[], None]) -> None:
        self.views = views
        self.size = size
        self._release = release

    def release(self) -> None:
        """Say that the bytes are used: their memory is given to others, so the views are taken away."""
        release, self._release, self.views = self._release, _nothing, []
        release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _nothing() -> None:
    """It is released already."""


class Stream(Receiver, asyncio.BufferedProtocol):
    """One socket's incoming bytes and texts. The loop fills it, one task takes from it with `next()`.

    A run of bytes (see `Slabs`) begins behind each text, at 0, or where `align` says.
    """

    __slots__ = ("_buffers", "_large", "_pending", "_slabs", "_stop", "_stopped", "_wake_at", "_zero_copy")

    def __init__(
        self,
        inner: asyncio.Protocol,
        transport: asyncio.Transport,
        max_text: int,
        buffers: Buffers,
        shared: Shared,
    ) -> None:
        super().__init__(inner, transport, max_text, shared)
        self._buffers = buffers
        self._slabs = Slabs(buffers)
        self._pending = 0  # bytes that could be taken
        self._wake_at = 1  # pending bytes that end the wait for them
        self._stopped = False  # by the handler: see `pause`
        self._stop = 0  # end of the bytes that are being parsed
        self._zero_copy = False  # the next bytes are received straight into a slab
        self._large = False  # the newest frame of bulk was a large one, so the next one may be as well

    def align(self, offset: int) -> None:
        """The next byte to come is the one at `offset` of the file it will be written to."""
        self._slabs.align(offset)

    def pause(self) -> None:
        """Receive nothing more until `resume`: the handler has no use for it now. What has come can still be taken."""
        self._stopped = True
        self._pause()

    def resume(self) -> None:
        """Receive again."""
        self._stopped = False
        self._resume()

    # -- taking, by the handler's task

    async def next(self, least: int = 1, patience: float = 0.0, most: int | None = None) -> Batch | str:
        """The next bytes, or the next text message.

        Bytes that are fewer than `least` wait up to `patience` seconds for more; of more than `most`
        whole slabs are left for the next call. Raises Disconnected when the peer ended the socket, Close
        where it broke the protocol; both after all that came before.
        """
        while not self._items and self._end is None:
            self._slabs.release_unused()  # a loop may ask for memory and then find that nothing has come
            await self._until(1)
        deadline = self._loop.time() + patience
        while self._below_minimum(least) and (left := deadline - self._loop.time()) > 0:
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
        self._slabs.asked = self._loop.time()
        if not self._items or self._below_minimum(least):
            return None
        item = self._items[0]
        if isinstance(item, str):
            self._items.pop(0)
            self._on_taken(item)
            return item
        return self._take_batch(self._pending if most is None else most)

    def _below_minimum(self, least: int) -> bool:
        """Whether more bytes could come soon that belong to the batch being collected."""
        return (
            self._pending < least
            and self._end is None
            and not self._paused
            and all(isinstance(item, _Chunk) for item in self._items)
        )

    def _take_batch(self, most: int) -> Batch:
        views: list[memoryview] = []
        slabs, size = [], 0
        while self._items and isinstance(chunk := self._items[0], _Chunk):
            length = chunk.stop - chunk.start
            if views and (size + length > most or self._still_filling(chunk)):
                break
            self._items.pop(0)
            views.append(chunk.slab.view[chunk.start : chunk.stop])
            slabs.append(chunk.slab)
            size += length
        self._pending -= size

        def release() -> None:
            for slab in slabs:
                self._slabs.drop(slab)
            self._slabs.release_unused()

        return Batch(views, size, release)

    def _still_filling(self, chunk: _Chunk) -> bool:
        """Whether more will soon stand behind this one: then it is better taken when its slab is full."""
        return chunk.slab is self._slabs.filling and chunk is self._items[-1] and self._end is None

    async def _until(self, enough: int) -> None:
        """Until so many bytes are there, or something that is not bytes."""
        self._wake_at = enough
        self._slabs.wanted = True
        arrival = self.arrival()  # before reading goes on: what was kept may be parsed then, and end this wait
        if self._starved:
            self._resume()
        try:
            await arrival
        finally:
            self._slabs.wanted = False
            self._slabs.asked = self._loop.time()

    def discard(self) -> None:
        """See `Inbound`; the memory is released."""
        self._stopped = False
        chunks = [item for item in self._items if isinstance(item, _Chunk)]
        super().discard()
        self._pending = 0
        for chunk in chunks:
            self._slabs.drop(chunk.slab)
        self._slabs.release_unused()

    # -- receiving, by the event loop

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport writes what it receives, no more than there is room for in slabs."""
        incoming, kept = self._buffers.incoming, len(self._kept)
        most = len(incoming) - kept
        if not self._discarding:
            most = min(most, self._slabs.reserve() or self._slabs.reserve_fallback())
        self._zero_copy = self._left >= _LARGE and self._carries_bulk
        if self._zero_copy:
            return self._slabs.next(min(most, self._left))
        if self._large and self._frame is None:
            most = min(most, PAGE)  # the header of another large frame: what is behind it need not be moved
        incoming[:kept] = self._kept
        return incoming[kept : kept + most]

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what came, and let go of memory that nothing came for."""
        self.heard = self._loop.time()
        if self._zero_copy:
            self._received_in_place(nbytes)
        else:
            self._parse_incoming(len(self._kept) + nbytes)
        self._spent += nbytes
        self._after_receiving()
        self._rest_if_spent()

    def _parse_incoming(self, size: int) -> None:
        """So many bytes of frames stand in the incoming buffer."""
        data = self._buffers.incoming[:size]
        at = self._advance(data, 0, size)
        self._keep(bytes(data[at:]), 0)

    def _received_in_place(self, size: int) -> None:
        """So many bytes of a large frame stand where they belong."""
        frame = self._frame
        assert frame is not None
        self.received += size
        self._pending += size
        self._add(*self._slabs.unmask(size, frame.mask, frame.length - self._left))
        self._left -= size
        if not self._left:
            self._complete()

    def _after_receiving(self) -> None:
        """Pause if there is no more memory; wake the handler if there are enough bytes."""
        if self._slabs.release_unused() and not self._slabs.may_grow:
            self._pause()
        if self._pending >= self._wake_at:
            self.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `Link`; the slab that is being filled is released."""
        self._slabs.close()
        self._buffers.leave(self._resume)
        super().connection_lost(exc)

    # -- reading on

    def _parse_kept(self) -> None:
        """See `Inbound`; no more than fits into slabs."""
        data, start = self._kept, self._at
        stop = len(data)
        if not self._discarding:
            stop = min(stop, start + (self._slabs.reserve() or self._slabs.reserve_fallback()))
        at = self._advance(memoryview(data), start, stop) if stop > start else start
        self._keep(data, at, behind=stop < len(data))
        self._after_receiving()
        if self._deferred and at == start:  # there is no memory for as much as the rest of a header
            self._pause()

    def _pause(self) -> None:
        if self._paused:
            return
        super()._pause()
        self._buffers.wait(self._resume)
        self.wake()

    def _resume(self) -> bool:
        if not self._paused or self._ahead > AHEAD or (self._stopped and not self._discarding):
            return False
        if not (self._discarding or self._slabs.may_grow or self._starved):
            self._buffers.wait(self._resume)
            return False
        self._buffers.leave(self._resume)
        return super()._resume()

    @property
    def _starved(self) -> bool:
        """Whether the handler waits for bytes, and no slab can be had because others release none."""
        return self._buffers.exhausted and self._slabs.wanted and not self._pending

    # -- frames

    def _parse(self, data: memoryview, start: int, stop: int) -> int:
        self._stop = stop
        return super()._parse(data, start, stop)

    @property
    def _carries_bulk(self) -> bool:
        """Whether the rest of the frame that is being received is wanted, and goes into slabs."""
        frame = self._frame
        if frame is None or self._discarding or self._end is not None:
            return False
        return frame.opcode < CLOSE and self._message != TEXT

    def _deliver(self, kind: int) -> None:
        super()._deliver(kind)
        if kind == TEXT:
            self._slabs.align(0)

    def _payload(self, data: memoryview, start: int, size: int) -> None:
        frame = self._frame
        assert frame is not None
        if frame.opcode >= CLOSE or self._message == TEXT:
            super()._payload(data, start, size)
            return
        self.received += size
        if self._discarding:
            return
        self._large = frame.length >= _LARGE
        if frame.length >= PAGE and self._slabs.misaligned:
            self._slabs.realign(self._stop - start)
        payload = data[start : start + size]
        for slab, first, last in self._slabs.fill(payload, frame.mask, frame.length - self._left):
            self._add(slab, first, last)
        self._pending += size

    def _add(self, slab: Slab, start: int, stop: int) -> None:
        chunk = self._items[-1] if self._items else None
        if isinstance(chunk, _Chunk) and chunk.slab is slab and chunk.stop == start:
            chunk.stop = stop
        else:
            self._slabs.hold(slab)
            self._items.append(_Chunk(slab, start, stop))
