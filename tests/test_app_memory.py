"""Memory is for those who use it: sockets that send and are not served take nothing that others need."""

import asyncio
import gc
import os
import tracemalloc
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import jackfield.app.socket.buffers
import jackfield.app.socket.slabs
from jackfield.app.errors import Failure
from jackfield.app.handler import Buffers
from jackfield.app.service import DISPATCHER
from jackfield.app.socket.buffers import SLAB
from jackfield.app.socket.shared import UNCOUNTED, Budget, Shared
from jackfield.app.socket.stream import Batch
from jackfield.testing import JackfieldServer
from tests.support import handlers
from tests.support.handlers import MIB, Connection, raw, sections
from tests.support.outsider import digest, eventually
from tests.support.rawsocket import Opcode, RawSocket, frame, header
from tests.support.wire import Wire

ROOT = Path(jackfield.app.socket.buffers.__file__).parents[3]


async def test_an_idle_socket_weighs_little(jackfield_server: JackfieldServer) -> None:
    """Of what is allocated for a socket that waits for a message, at most 3.5 KiB are made by lines of ours."""
    service = await jackfield_server({"pingpong": {"use": "pingpong", "path": "/pingpong", "timeout": "1h"}})
    count = 100

    async def opened() -> RawSocket:
        made = await stack.enter_async_context(raw(service, "/pingpong"))
        assert await made.next() == "ping"
        return made

    async with AsyncExitStack() as stack:
        await opened()  # the first one loads code
        tracemalloc.start()
        try:
            for _ in range(count):
                await opened()
            gc.collect()
            ours = [tracemalloc.Filter(True, f"{ROOT}/*/{part}/*") for part in ("app", "handlers")]
            statistics = tracemalloc.take_snapshot().filter_traces(ours).statistics("filename")
        finally:
            tracemalloc.stop()
    weight = sum(each.size for each in statistics) / count
    assert 1000 < weight < 3584


# -- slabs


async def test_a_socket_whose_handler_takes_nothing_holds_one_slab(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a handler has not asked for bytes for a while its socket is given no second slab; when it asks, it is."""
    monkeypatch.setattr(jackfield.app.socket.slabs, "_NEGLECT", -1.0)
    monkeypatch.setattr(jackfield.app.socket.buffers, "_RETRY", 0.001)
    wire = Wire()
    stream = wire.stream(buffers := Buffers(64 * SLAB))
    wire.unread += frame(Opcode.BINARY, bytes(8 * SLAB))
    async with asyncio.timeout(5):
        while not stream.paused:
            wire.feed(b"")
            await asyncio.sleep(0)
    assert buffers.used == SLAB
    monkeypatch.setattr(jackfield.app.socket.slabs, "_NEGLECT", 3600.0)
    batch = await stream.next()
    assert isinstance(batch, Batch)
    async with asyncio.timeout(5):
        while stream.paused:
            await asyncio.sleep(0.001)
    wire.feed(b"")
    assert buffers.used > SLAB
    batch.release()


async def test_a_reserve_is_for_those_whose_handlers_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much others hold and do not use, a socket that holds nothing, and whose handler waits for bytes, gets a
    slab, and the next one when that is used."""
    monkeypatch.setattr(jackfield.app.socket.buffers, "_RETRY", 0.001)
    buffers = Buffers(32 * SLAB)
    greedy = [Wire() for _ in range(40)]
    for wire in greedy:
        wire.stream(buffers)
        wire.unread += frame(Opcode.BINARY, bytes(20 * SLAB))
    waiting = Wire()
    stream = waiting.stream(buffers)
    size, got = 4 * SLAB, 0
    waiting.unread += frame(Opcode.BINARY, bytes(size))

    async def pour() -> None:
        while True:
            for wire in [*greedy, waiting]:
                wire.feed(b"")
            await asyncio.sleep(0)

    pouring = asyncio.create_task(pour())
    async with asyncio.timeout(20):
        while buffers.used < 28 * SLAB:
            await asyncio.sleep(0)
        while got < size:
            batch = await stream.next(SLAB)
            assert isinstance(batch, Batch)
            with batch:
                got += batch.size
            assert 28 * SLAB <= buffers.used <= 32 * SLAB
    pouring.cancel()


@pytest.mark.parametrize("sockets", [72, 200])
async def test_an_upload_goes_through_beside_sockets_that_are_not_served(
    jackfield_server: JackfieldServer, sockets: int
) -> None:
    """Sockets whose handler does not take what they send, more of them than there is memory, and somebody else's 8 MiB
    come through as if they were not there."""
    service = await jackfield_server(sections("pouring"))
    pouring = service.handlers["pouring"]
    assert isinstance(pouring, handlers.Scripted)
    pouring.buffers = buffers = Buffers(16 * MIB)
    data, gate = os.urandom(8 * MIB), asyncio.Event()

    async def serve(connection: Connection) -> None:
        first = await connection.take()
        if first == "mine":
            received = b""
            while len(received) < len(data):
                item = await connection.take()
                assert isinstance(item, Batch)
                with item:
                    received += b"".join(item.views)
            await connection.send(digest(received))
        else:
            await gate.wait()

    pouring.script = serve
    async with AsyncExitStack() as stack:
        bad = [await stack.enter_async_context(raw(service, "/pouring")) for _ in range(sockets)]
        for opened in bad:
            opened.write(frame(Opcode.TEXT, b"theirs") + frame(Opcode.BINARY, bytes(2 * MIB)))
        await eventually(lambda: asyncio.sleep(0, buffers.used >= 14 * MIB))
        good = await stack.enter_async_context(raw(service, "/pouring"))
        await good.text("mine")
        await good.binary(data)
        assert await good.next(60) == digest(data)
        gate.set()


# -- messages


class Hoarder:
    """Who holds messages."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.gone = False

    def evict(self) -> None:
        """See `Holder`."""
        self.gone = True
        self.budget.hold(self, 0)


def test_whoever_holds_the_most_has_to_go() -> None:
    """Beyond the limit the largest holder is ended, and the others stay; a little is free for everybody."""
    budget = Budget(10 * MIB)
    small, large, middle, newest = (Hoarder(budget) for _ in range(4))
    budget.hold(small, UNCOUNTED)
    assert budget.used == 0
    budget.hold(large, 6 * MIB)
    budget.hold(middle, 3 * MIB)
    budget.hold(newest, 2 * MIB)
    assert [one.gone for one in (small, large, middle, newest)] == [False, True, False, False]
    assert budget.used == 5 * MIB
    budget.hold(newest, 0)
    assert budget.used == 3 * MIB


@pytest.mark.parametrize("kind", ["half", "queued"])
async def test_messages_that_nobody_takes_are_bounded_in_sum(kind: str) -> None:
    """Half messages and whole ones that a busy handler has not taken count together for all sockets; where they are too
    many the greediest is ended 1013, its memory is free at once, and what it still sends is not kept."""
    shared = Shared(budget=Budget(MIB))
    wires = [Wire(shared) for _ in range(4)]
    receivers = [wire.messages() for wire in wires]
    for number, wire in enumerate(wires):
        size = 200_000 + number * 50_000
        wire.unread += (
            frame(Opcode.BINARY, bytes(size))
            if kind == "queued"
            else header(Opcode.BINARY, 2**21, key=b"abcd") + bytes(size)
        )
        wire.feed(b"")
    assert [receiver.broken for receiver in receivers] == [False, False, False, True]
    assert shared.budget.used <= MIB
    with pytest.raises(Failure) as end:
        receivers[3].ready()
    assert (end.value.kind.code, end.value.code) == ("overloaded", 1013)
    for receiver in receivers:
        receiver.discard()
    assert shared.budget.used == 0


async def test_a_batch_may_be_released_twice() -> None:
    """A second `release` does nothing: the slab may be somebody else's by then."""
    buffers, wire = Buffers(4 * SLAB), Wire()
    stream = wire.stream(buffers)
    wire.feed(frame(Opcode.BINARY, b"mine"))
    batch = await stream.next()
    assert isinstance(batch, Batch)
    with batch as same:
        assert b"".join(same.views) == b"mine"
    assert (batch.views, buffers.used) == ([], 0)
    wire.feed(frame(Opcode.BINARY, b"theirs"))
    batch.release()
    assert buffers.used == SLAB
    theirs = await stream.next()
    assert isinstance(theirs, Batch)
    assert b"".join(theirs.views) == b"theirs"


async def test_answers_that_nobody_reads_are_bounded_in_sum(jackfield_server: JackfieldServer) -> None:
    """What was sent to peers that do not read counts too: the one that holds the most is cut."""
    service = await jackfield_server(sections("scripted", "echo"))
    scripted, dispatcher = service.handlers["scripted"], service.app[DISPATCHER]
    assert isinstance(scripted, handlers.Scripted)
    dispatcher._shared.budget = budget = Budget(40 * MIB)

    async def serve(connection: Connection) -> None:
        await connection.send(bytes(15 * MIB))

    scripted.script = serve
    async with AsyncExitStack() as stack:
        deaf = []
        for _ in range(5):
            opened = await RawSocket.connect(service.port, receive_buffer=4096)
            stack.push_async_callback(opened.dispose)
            deaf.append(await opened.upgrade("/scripted"))
        await eventually(lambda: asyncio.sleep(0, budget.used > 0))
        await eventually(lambda: asyncio.sleep(0, budget.used <= 40 * MIB and len(dispatcher.sessions) < 5))
        good = await stack.enter_async_context(raw(service, "/echo"))
        await good.binary(bytes(MIB))
        assert await good.next() == bytes(MIB)
    await eventually(lambda: asyncio.sleep(0, budget.used == 0))


async def test_sent_counts_bytes(jackfield_server: JackfieldServer) -> None:
    """`Connection.sent` counts what goes over the wire as payload, not characters."""
    service = await jackfield_server(sections("scripted"))
    scripted = service.handlers["scripted"]
    assert isinstance(scripted, handlers.Scripted)
    counts: list[int] = []

    async def serve(connection: Connection) -> None:
        for text in ("ä€😀", "ä" * 20_000):
            await connection.send(text)
            counts.append(connection.sent)
        await connection.offer("€")
        counts.append(connection.sent)

    scripted.script = serve
    async with raw(service, "/scripted") as opened:
        await opened.ended()
    assert counts == [9, 40_009, 40_012]


async def test_what_a_handler_holds_for_a_peer_counts(jackfield_server: JackfieldServer) -> None:
    """Answers that a handler keeps back count with those of all sockets until it has ended."""
    service = await jackfield_server(sections("scripted"))
    scripted, budget = service.handlers["scripted"], service.app[DISPATCHER]._shared.budget
    assert isinstance(scripted, handlers.Scripted)
    held: list[int] = []

    async def serve(connection: Connection) -> None:
        connection.count_unsent(MIB)
        held.append(budget.used)
        connection.count_unsent(-MIB // 2)
        held.append(budget.used)

    scripted.script = serve
    async with raw(service, "/scripted") as opened:
        await opened.ended()
    assert held == [MIB, MIB // 2]
    assert budget.used == 0
