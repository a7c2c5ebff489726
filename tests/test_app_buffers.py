"""Memory for received bytes: bounded for all sockets together, and nobody waits for memory that there is."""

import asyncio
import mmap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jackfield.app.socket.buffers
import jackfield.app.socket.slabs
from jackfield.app.socket.buffers import BURST, INCOMING, SOFT_LIMIT, Buffers
from jackfield.app.socket.buffers import SLAB as SLAB_SIZE
from jackfield.app.socket.shared import READ_QUANTUM, READ_QUANTUM_ALONE, Shared
from jackfield.app.socket.stream import Batch
from tests.support.rawsocket import Opcode, frame, header, mask
from tests.support.wire import SLAB, Wire, small_slabs


class Peer:
    """A peer that has sent this, the socket's stream, and a handler that takes from it when it is told to."""

    def __init__(self, buffers: Buffers, data: bytes, shared: Shared | None = None) -> None:
        self.wire = Wire(shared)
        self.stream = self.wire.stream(buffers)
        self.data = data
        self.got = b""
        self.held: list[Batch] = []
        self.wire.unread += frame(Opcode.BINARY, data)

    async def act(self, what: str) -> None:
        """One step."""
        if what == "receive":
            self.wire.give(2**30)
        elif what == "drip":
            self.wire.give(50)
        elif what == "take" and self.stream._items:
            batch = await self.stream.next()
            assert isinstance(batch, Batch)
            self.got += b"".join(batch.views)
            self.held.append(batch)
        elif what == "release" and self.held:
            self.held.pop(0).release()
        elif what == "lose":
            self.stream.connection_lost(None)
            self.stream.discard()
            self.wire.unread.clear()
            self.data = self.got
            while self.held:
                self.held.pop().release()


@settings(max_examples=300)
@given(data=st.data())
async def test_sockets_that_share_the_memory_all_go_on(data: st.DataObject) -> None:
    """Whatever sockets do, together they hold no more than the budget, each no more than its share; and none waits
    for memory that there is."""
    with small_slabs(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(jackfield.app.socket.buffers, "_RETRY", 0.001)
        buffers = Buffers(3 * SLAB, 2 * SLAB)
        sizes = data.draw(st.lists(st.integers(1, 6 * SLAB), min_size=1, max_size=5))
        peers = [Peer(buffers, bytes(number % 251 for number in range(size))) for size in sizes]
        acts = st.tuples(
            st.integers(0, len(peers) - 1), st.sampled_from(["receive", "drip", "take", "release", "lose"])
        )
        for number, act in data.draw(st.lists(acts, max_size=60)):
            await peers[number].act(act)
            assert buffers.used <= 3 * SLAB
            assert all(peer.stream._slabs.held <= 2 for peer in peers)
        async with asyncio.timeout(1):
            while any(peer.got != peer.data for peer in peers):
                for peer in peers:
                    for act in ("receive", "take", "release"):
                        await peer.act(act)
                await asyncio.sleep(0)
        for peer in peers:
            await peer.act("lose")
        assert buffers.used == 0


@pytest.mark.parametrize("left", ["lost", "idle"])
async def test_a_socket_does_not_starve_behind_one_that_needs_no_memory(
    left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When memory comes free, and the socket that has waited longest is gone or has nothing to receive, the next
    one goes on."""
    monkeypatch.setattr(jackfield.app.socket.buffers, "_RETRY", 0.001)
    buffers = Buffers(SLAB_SIZE)
    greedy, first, second = (Peer(buffers, bytes(4 * SLAB_SIZE)) for _ in range(3))
    for peer in (greedy, first, second):
        peer.wire.feed(b"")
    assert not buffers.allows(0)
    assert first.stream.paused
    assert second.stream.paused
    for peer in (greedy, first):
        peer.wire.unread.clear()
    if left == "lost":
        await first.act("lose")
    await greedy.act("take")
    await greedy.act("release")
    async with asyncio.timeout(5):
        while second.stream.paused:
            await asyncio.sleep(0.001)


async def test_an_idle_socket_holds_no_memory() -> None:
    """A slab is taken for bytes that come, and given back when they are used, also in the middle of a frame."""
    buffers, wire = Buffers(2**20), Wire()
    stream = wire.stream(buffers)
    key = b"abcd"
    wire.feed(header(Opcode.BINARY, 2000, key=key) + mask(bytes(1000), key))
    batch = await stream.next()
    assert isinstance(batch, Batch)
    assert batch.size == 1000
    wire.feed(mask(bytes(1000), key))  # into the same slab, behind it
    batch.release()
    rest = await stream.next()
    assert isinstance(rest, Batch)
    rest.release()
    assert buffers.used == 0
    wire.feed(frame(Opcode.PING, b"x"))
    assert buffers.used == 0
    assert wire.pings == [b"x"]


async def test_memory_that_nothing_came_for_is_given_back() -> None:
    """A loop that asks where to receive, and finds that nothing has come, leaves an idle socket without memory."""
    buffers, wire = Buffers(2**20), Wire()
    stream = wire.stream(buffers)
    stream.get_buffer(-1)
    assert buffers.used
    waiting = asyncio.create_task(stream.next())
    await asyncio.sleep(0)
    assert buffers.used == 0
    wire.feed(frame(Opcode.BINARY, b"x"))
    batch = await waiting
    assert isinstance(batch, Batch)
    assert bytes(batch.views[0]) == b"x"


async def test_many_uploads_take_turns_instead_of_all_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hundred sockets whose peers send without end, no more fill slabs at a time than the soft limit
    allows, each of them a batch; and all get on."""
    monkeypatch.setattr(jackfield.app.socket.buffers, "_RETRY", 3600.0)
    monkeypatch.setattr(jackfield.app.socket.slabs, "_NEGLECT", 3600.0)
    buffers = Buffers(1024 * SLAB_SIZE)
    peers = [Peer(buffers, bytes(6 * SLAB_SIZE)) for _ in range(100)]
    batches: list[int] = []
    most = 0
    async with asyncio.timeout(60):
        while any(len(peer.got) < len(peer.data) for peer in peers):
            for peer in peers:
                await peer.act("receive")
            most = max(most, buffers.used)
            for peer in peers:
                if peer.stream.paused or not peer.wire.unread:
                    await peer.act("take")
                    batches += [batch.size for batch in peer.held]
                    await peer.act("release")
            await asyncio.sleep(0)
    assert most <= SOFT_LIMIT * BURST
    full = [size for size in batches if size > (BURST - 1) * SLAB_SIZE]
    assert len(full) > len(peers) * 3 // 4


async def test_where_memory_comes_back_slowly_more_is_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The soft limit is none where those who use the bytes are slow: the sockets that wait go on within the budget,
    but for what is reserved for those whose handlers wait."""
    monkeypatch.setattr(jackfield.app.socket.buffers, "_RETRY", 0.001)
    monkeypatch.setattr(jackfield.app.socket.slabs, "_NEGLECT", 3600.0)
    buffers = Buffers(64 * SLAB_SIZE)
    peers = [Peer(buffers, bytes(4 * SLAB_SIZE)) for _ in range(16)]
    async with asyncio.timeout(60):
        while buffers.used < 56 * SLAB_SIZE:
            for peer in peers:
                await peer.act("receive")
            await asyncio.sleep(0.001)


async def test_a_socket_that_had_its_turn_lets_the_others_have_theirs() -> None:
    """In one turn of the loop a socket is given so much and no more, and of those that rest one goes on in each."""
    buffers, shared = Buffers(64 * SLAB_SIZE), Shared()
    peers = [Peer(buffers, bytes(4 * SLAB_SIZE), shared) for _ in range(3)]
    for peer in peers:
        peer.wire.feed(b"")
    sent = [4 * SLAB_SIZE - len(peer.wire.unread) for peer in peers]
    assert sent[0] < READ_QUANTUM_ALONE + INCOMING
    assert max(sent[1:]) < READ_QUANTUM + INCOMING
    assert [peer.wire.paused for peer in peers] == [True, True, True]
    for still in ([False, True, True], [False, False, True], [False, False, False]):
        await asyncio.sleep(0)
        assert [peer.wire.paused for peer in peers] == still


async def test_the_memory_of_a_burst_goes_back_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred slabs that were used at once, and are free, do not stay with the process."""
    monkeypatch.setattr(jackfield.app.socket.buffers, "_TRIM_DELAY", 0.01)
    buffers = Buffers(200 * SLAB_SIZE)
    slabs = [buffers.take() for _ in range(100)]
    for slab in slabs:
        slab.view[:] = bytes(slab.size)
    used = resident()
    for slab in slabs:
        buffers.give(slab)
    del slab, slabs
    async with asyncio.timeout(5):
        while resident() > used - 70 * SLAB_SIZE:
            await asyncio.sleep(0.001)


def resident() -> int:
    """Bytes of memory that the process has."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * mmap.PAGESIZE
