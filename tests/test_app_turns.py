"""Work is counted in what it costs: whoever sends many small frames takes turns with all others."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from jackfield.app.errors import Close
from jackfield.app.handler import Buffers
from jackfield.app.runner import READ_AHEAD
from jackfield.app.service import DISPATCHER
from jackfield.app.socket.messages import Messages
from jackfield.app.socket.receiver import MAX_EMPTY, MAX_PONGS, Receiver
from jackfield.app.socket.shared import FRAME_COST, READ_QUANTUM, READ_QUANTUM_ALONE, Shared, Turns
from jackfield.app.socket.stream import Batch, Stream
from jackfield.testing import JackfieldServer, RunningService
from tests.support.handlers import raw, sections
from tests.support.rawsocket import Opcode, RawSocket, close_payload, frame
from tests.support.wire import Wire

MOST = READ_QUANTUM_ALONE // FRAME_COST
"""Frames of which a socket is allowed in one turn of the loop."""

MESSAGE = frame(Opcode.BINARY, b"x")
PING = frame(Opcode.PING, b"x")
FRAGMENT = frame(Opcode.CONTINUATION, fin=False)

RECEIVERS: list[Callable[[Wire], Receiver]] = [Wire.messages, lambda wire: wire.stream(Buffers(2**24))]


@pytest.fixture(params=RECEIVERS, ids=["messages", "stream"])
def make(request: pytest.FixtureRequest) -> Callable[[Wire], Receiver]:
    """Both ways of receiving."""
    found: Callable[[Wire], Receiver] = request.param
    return found


def take_all(receiver: Receiver) -> None:
    """As a handler would that is quick."""
    while receiver._items and isinstance(receiver, Messages | Stream):
        item = receiver.ready()
        if isinstance(item, Batch):
            item.release()


async def test_a_turn_is_over_after_so_many_frames(make: Callable[[Wire], Receiver]) -> None:
    """Of half a MiB of frames of one byte that come at once, one turn takes as many as it may cost; the rest stays, and
    is taken in later turns, in order and without loss."""
    wire = Wire()
    receiver = make(wire)
    count = 2**19 // len(MESSAGE)
    wire.feed(MESSAGE * count)
    assert receiver.received <= MOST
    taken = receiver.received
    async with asyncio.timeout(30):
        while receiver.received < count:
            take_all(receiver)
            wire.feed(b"")
            await asyncio.sleep(0)
            assert receiver.received - taken <= MOST
            taken = receiver.received


async def test_others_go_first(make: Callable[[Wire], Receiver]) -> None:
    """Where others rest as well a turn is shorter, and in each turn of the loop one of them goes on."""
    shared = Shared()
    wires = [Wire(shared) for _ in range(3)]
    receivers = [make(wire) for wire in wires]
    for wire in wires:
        wire.feed(MESSAGE * 5000)
    assert [receiver.received <= READ_QUANTUM // FRAME_COST for receiver in receivers] == [False, True, True]
    for _ in range(6):
        before = [receiver.received for receiver in receivers]
        await asyncio.sleep(0)
        gained = [receiver.received - old for receiver, old in zip(receivers, before, strict=True)]
        assert sum(gained) <= READ_QUANTUM // FRAME_COST
        assert sum(map(bool, gained)) == 1


async def test_of_many_pings_the_newest_are_answered(make: Callable[[Wire], Receiver]) -> None:
    """RFC 6455, 5.5.3: a peer that sends pings without end gets an answer to the newest of each turn, the very last
    included; and its turns are no longer than others'."""
    wire = Wire()
    receiver = make(wire)
    pings = [frame(Opcode.PING, number.to_bytes(2, "big")) for number in range(5000)]
    wire.feed(b"".join(pings))
    assert len(wire.pings) == MAX_PONGS
    while receiver._deferred or wire.unread:
        wire.feed(b"")
        await asyncio.sleep(0)
    assert len(wire.pings) <= MAX_PONGS * (len(pings) // (READ_QUANTUM // FRAME_COST) + 1)
    assert wire.pings == sorted(wire.pings)
    assert wire.pings[-1] == (4999).to_bytes(2, "big")


@pytest.mark.parametrize(
    "empty",
    [frame(Opcode.BINARY), frame(Opcode.TEXT), FRAGMENT, FRAGMENT + PING],
    ids=["binary", "text", "fragments", "pings between"],
)
async def test_frames_without_payload_end_after_a_while(make: Callable[[Wire], Receiver], empty: bytes) -> None:
    """Empty messages or fragments, also with pings in between, close 1008 once there are more than anybody needs."""
    wire = Wire()
    receiver = make(wire)
    if FRAGMENT in empty:
        wire.feed(frame(Opcode.BINARY, fin=False))
    wire.unread += empty * (MAX_EMPTY + 1)
    async with asyncio.timeout(30):
        while not receiver.broken:
            wire.feed(b"")
            take_all(receiver)
            await asyncio.sleep(0)
    assert isinstance(receiver._end, Close)
    assert receiver._end.code == 1008


async def test_empty_messages_among_others_are_no_fault(make: Callable[[Wire], Receiver]) -> None:
    """Who says something now and then may send any number of empty frames."""
    wire = Wire()
    receiver = make(wire)
    wire.unread += (frame(Opcode.BINARY) * (MAX_EMPTY - 1) + MESSAGE) * 3
    async with asyncio.timeout(30):
        while wire.unread or receiver._deferred:
            wire.feed(b"")
            take_all(receiver)
            await asyncio.sleep(0)
    assert not receiver.broken
    assert receiver.received == 3


async def test_what_was_kept_is_not_lost_behind_a_close(make: Callable[[Wire], Receiver]) -> None:
    """A Close frame behind more frames than one turn takes is found in its turn."""
    wire = Wire()
    receiver = make(wire)
    wire.feed(MESSAGE * (3 * MOST) + frame(Opcode.CLOSE, close_payload(1000)))
    async with asyncio.timeout(30):
        while receiver._end is None:
            take_all(receiver)
            await asyncio.sleep(0)
    assert receiver.received == 3 * MOST


async def test_a_fault_in_one_turn_does_not_stop_the_turns() -> None:
    """An exception out of one socket's turn is the loop's to report; those who rest behind it go on."""
    turns, reported, went = Turns(), [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def broken() -> None:
        raise RuntimeError("a fault")

    turns.rest(broken)
    for number in range(3):
        turns.rest(lambda number=number: went.append(number))  # type: ignore[misc]
    for _ in range(4):
        await asyncio.sleep(0)
    assert went == [0, 1, 2]
    assert [str(error) for error in reported] == ["a fault"]


# -- as a stranger sees it


@asynccontextmanager
async def neighbour(opened: RawSocket, data: bytes) -> AsyncIterator[None]:
    """A socket that sends this, again and again, as fast as it is taken, and reads what comes."""

    async def send() -> None:
        while True:
            await opened.send(data)

    async def read() -> None:
        while await opened.reader.read(2**16):
            pass

    tasks = [asyncio.create_task(send()), asyncio.create_task(read())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def bytes_in_a_turn(service: RunningService, turns: int) -> int:
    """The most payload that all sockets together brought in one turn of the loop, which is the service's too."""
    most = 0
    for _ in range(turns):
        begun = received(service)
        await asyncio.sleep(0)
        most = max(most, received(service) - begun)
    return most


def received(service: RunningService) -> int:
    """How many bytes of payload all sockets have brought."""
    return sum(connection.source.received for connection in service.app[DISPATCHER].sessions)


@pytest.mark.parametrize("path", ["/echo", "/bulk", "/busy"])
@pytest.mark.parametrize("opcode", [Opcode.BINARY, Opcode.TEXT])
async def test_a_bad_neighbour_has_its_turn_and_no_more(
    jackfield_server: JackfieldServer, path: str, opcode: Opcode
) -> None:
    """However small the messages of one socket are, in one turn of the loop it brings no more than its share; so a ping
    of somebody else waits for milliseconds."""
    # Nobody answers the service's pings while the turns are counted, and on a busy machine that takes a while.
    service = await jackfield_server(sections("echo", "bulk", "busy"), heartbeat="1h")
    message = frame(opcode, b"x")
    async with raw(service, path) as bad, raw(service, "/echo") as other, neighbour(bad, message * 5000):
        assert await bytes_in_a_turn(service, 1000) <= 2 * MOST
        await other.text("and I?")
        assert await other.next() == "and I?"


async def body_in_a_turn(service: RunningService, turns: int) -> int:
    """The most bytes of a body that were parsed in one turn of the loop, which is the service's too."""
    most, before = 0, 0
    for _ in range(turns):
        await asyncio.sleep(0)
        now = body_received(service)
        most, before = max(most, now - before), now
    return most


def body_received(service: RunningService) -> int:
    """How many bytes of bodies the requests that are being answered have brought."""
    server = service._runner.server
    assert server is not None
    requests = [connection._current_request for connection in server.connections]
    return sum(request.content.total_bytes for request in requests if request is not None)


async def test_a_body_in_tiny_chunks_has_its_turn_and_no_more(jackfield_server: JackfieldServer) -> None:
    """Of a body in chunks of one byte one turn of the loop takes no more than is read ahead."""
    service = await jackfield_server(sections("echo"))
    async with asyncio.timeout(30), connection(service) as writer:
        writer.write(b"GET /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"1\r\nx\r\n" * 300_000)
        assert 0 < await body_in_a_turn(service, 2000) <= 2 * READ_AHEAD // 16


@asynccontextmanager
async def connection(service: RunningService) -> AsyncIterator[asyncio.StreamWriter]:
    """To the service, for bytes of any kind."""
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        yield writer
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
