"""The body of a request as a stream: in slabs, in the memory that all share, up to its last byte and no further."""

import asyncio
from typing import cast

import pytest

from jackfield.app.errors import Disconnected
from jackfield.app.socket.body import BodyStream
from jackfield.app.socket.buffers import SLAB, Buffers
from jackfield.app.socket.shared import Shared
from jackfield.app.socket.stream import Batch


class Link:
    """A transport that only notes whether it is read."""

    reading = True

    def pause_reading(self) -> None:
        """See `asyncio.Transport`."""
        self.reading = False

    def resume_reading(self) -> None:
        """See `asyncio.Transport`."""
        self.reading = True

    def is_closing(self) -> bool:
        """It never is."""
        return False


def body(size: int | None, buffers: Buffers, link: Link) -> BodyStream:
    """One of so many bytes."""
    return BodyStream(asyncio.Protocol(), cast("asyncio.Transport", link), size, buffers, Shared())


async def taken(stream: BodyStream) -> bytes:
    """All that is left of it; raises Disconnected where it is cut."""
    data = b""
    async with asyncio.timeout(10):
        while True:
            try:
                batch = await stream.next(1, 0, SLAB)
            except Disconnected as end:
                if end.clean:
                    return data
                raise
            assert isinstance(batch, Batch)
            with batch:
                data += b"".join(batch.views)


def received(stream: BodyStream, data: bytes) -> int:
    """The transport has so many bytes: how many it could bring."""
    room = stream.get_buffer(-1)
    size = min(len(room), len(data))
    room[:size] = data[:size]
    stream.buffer_updated(size)
    return size


async def test_bytes_come_from_both_sides_and_nothing_behind_the_last() -> None:
    """What had been read before is fed, the rest is received where it belongs; then reading is paused."""
    buffers, link = Buffers(4 * SLAB), Link()
    stream = body(10, buffers, link)
    stream.feed(b"abc")
    assert received(stream, b"defghijNEXT") == 7
    assert (stream.complete, link.reading) == (True, False)
    assert await taken(stream) == b"abcdefghij"
    stream.close()
    assert (buffers.used, link.reading) == (0, False)


@pytest.mark.parametrize("size", [0, 1, 70_000])
async def test_a_body_that_is_here_already(size: int) -> None:
    """It is whole at once."""
    buffers = Buffers(4 * SLAB)
    stream = body(size, buffers, Link())
    stream.feed(bytes(size))
    assert await taken(stream) == bytes(size)
    stream.close()
    assert buffers.used == 0


async def test_a_body_that_is_cut() -> None:
    """All that came is given, and then raised that it was cut."""
    stream = body(10, Buffers(4 * SLAB), Link())
    stream.feed(b"abc")
    stream.cut()
    batch = await stream.next()
    assert isinstance(batch, Batch)
    batch.release()
    with pytest.raises(Disconnected) as cut:
        await taken(stream)
    assert not cut.value.clean
    stream.close()


async def test_what_waits_for_memory_ends_the_wait_for_it() -> None:
    """Where no slab can be had what has come is taken in small pieces, the last of them because it is waited for."""
    buffers, link = Buffers(SLAB), Link()
    held, buffers.exhausted = buffers.take(), True
    stream = body(40_000, buffers, link)
    stream.feed(bytes(40_000))
    assert not link.reading
    assert await taken(stream) == bytes(40_000)
    buffers.give(held)
    stream.close()
    assert buffers.used == 0


async def test_what_nobody_wants_is_thrown_away() -> None:
    """Closed before its end, it is received into the void, as far as that is waited for."""
    buffers, link = Buffers(4 * SLAB), Link()
    stream = body(1000, buffers, link)
    stream.feed(bytes(100))
    stream.close()
    assert buffers.used == 0
    lingering = asyncio.create_task(stream.linger(2000, 10))
    await asyncio.sleep(0)
    assert received(stream, bytes(2000)) == 900
    await lingering
    assert (stream.complete, link.reading) == (True, False)
    cut = body(1000, buffers, link)
    cut.close()
    lingering = asyncio.create_task(cut.linger(500, 10))
    await asyncio.sleep(0)
    received(cut, bytes(600))
    await lingering
    assert not cut.complete
