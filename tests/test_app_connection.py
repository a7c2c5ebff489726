"""One socket as a handler sees it: waiting, iterating, being interrupted, sending to a peer that does not read."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

import jackfield.app.socket.closing
import jackfield.app.socket.sending
from jackfield.app.errors import BAD_MESSAGE, Close, Disconnected, Failure
from jackfield.app.service import DISPATCHER
from jackfield.handlers.upload.wire.words import SUPERSEDED
from jackfield.testing import JackfieldServer, RunningService
from tests.support import handlers
from tests.support.handlers import Connection, raw, sections
from tests.support.outsider import eventually
from tests.support.rawsocket import Closed, Opcode, RawSocket, close_payload, fragments, frame

Serve = Callable[[Connection], Awaitable[None]]
REASON = Failure(SUPERSEDED, "Another one came.")


@asynccontextmanager
async def served(jackfield_server: JackfieldServer, serve: Serve, path: str = "/scripted") -> AsyncIterator[RawSocket]:
    """A socket that is served by this function."""
    service = await jackfield_server(sections("scripted", "pouring"))
    for handler in service.handlers.values():
        assert isinstance(handler, handlers.Scripted)
        handler.script = serve
    async with raw(service, path) as opened:
        yield opened


# -- waiting for the peer


async def test_messages_come_whole_and_in_order(jackfield_server: JackfieldServer) -> None:
    """Text is str, binary is bytes, a message in fragments is one, and an empty one is one too."""
    got: list[str | bytes] = []

    async def serve(connection: Connection) -> None:
        async for message in connection:
            got.append(message)

    async with served(jackfield_server, serve) as opened:
        await opened.text("tea")
        for part in (*fragments(Opcode.BINARY, [b"mi", b"", b"lk"]), frame(Opcode.TEXT), frame(Opcode.BINARY)):
            await opened.send(part)
        await opened.close()
        assert (await opened.closed()).code == 1000
    assert got == ["tea", b"milk", "", b""]


@pytest.mark.parametrize(
    ("leave", "code", "clean"),
    [
        (lambda opened: opened.write(frame(Opcode.CLOSE, close_payload(3005, b"bye"))), 3005, True),
        (lambda opened: opened.write(frame(Opcode.CLOSE)), 1005, True),
        (lambda opened: opened.write(frame(Opcode.TEXT, b"ha", fin=False) + frame(Opcode.CLOSE)), 1005, False),
        (RawSocket.half_close, 1006, False),
        (RawSocket.drop, 1006, False),
        (RawSocket.reset, 1006, False),
        (lambda opened: (opened.write(b"\x81\x84ab"), opened.half_close()), 1006, False),
    ],
)
async def test_how_the_peer_left_is_known(
    jackfield_server: JackfieldServer, leave: Callable[[RawSocket], object], code: int, *, clean: bool
) -> None:
    """A Close frame between messages is clean, with its code; all else is not, whatever it looks like (fact 1)."""
    end: asyncio.Future[Disconnected] = asyncio.get_running_loop().create_future()

    async def serve(connection: Connection) -> None:
        try:
            await connection.receive()
        except Disconnected as error:
            end.set_result(error)
            raise

    async with served(jackfield_server, serve) as opened:
        leave(opened)
        async with asyncio.timeout(5):
            found = await end
    assert (found.code, found.clean) == (code, clean)


async def test_iterating_ends_for_a_close_and_raises_for_a_lost_link(jackfield_server: JackfieldServer) -> None:
    """`async for` returns when the peer closed politely, and raises Disconnected when the link was lost."""
    ends: list[str] = []

    async def serve(connection: Connection) -> None:
        try:
            async for _ in connection:
                pass
            ends.append("left")
        except Disconnected:
            ends.append("lost")

    for leave in (RawSocket.close, lambda opened: asyncio.sleep(0, opened.drop())):
        async with served(jackfield_server, serve) as opened:
            await leave(opened)
            await opened.ended()
    await eventually(lambda: asyncio.sleep(0, len(ends) == 2))
    assert ends == ["left", "lost"]


async def test_waiting_has_a_limit_when_asked(jackfield_server: JackfieldServer) -> None:
    """`receive(timeout)` and `take(timeout=…)` fail after that time in silence, with close 4408."""

    async def serve(connection: Connection) -> None:
        await connection.receive(0.05)

    async def pour(connection: Connection) -> None:
        await connection.take(timeout=0.05)

    for path, waiting in (("/scripted", serve), ("/pouring", pour)):
        async with served(jackfield_server, waiting, path) as opened:
            assert await opened.closed() == Closed(4408, "Nothing came within 0.05 s.")


async def test_what_came_before_the_end_is_delivered_first(jackfield_server: JackfieldServer) -> None:
    """Messages that a busy handler has not taken yet are not lost with the link (facts 2 and 5)."""
    service = await jackfield_server(sections("busy"))
    busy = service.handlers["busy"]
    assert isinstance(busy, handlers.Busy)
    async with raw(service, "/busy") as opened:
        for number in range(100):
            await opened.text(str(number))
        await opened.delivered()
        opened.half_close()
        busy.gate.set()
        assert [await opened.next() for _ in range(100)] == [str(number) for number in range(100)]


# -- being interrupted


async def test_an_interruption_is_raised_where_the_handler_waits(jackfield_server: JackfieldServer) -> None:
    """`interrupt` ends a wait for the peer with what it was given; the socket is closed with its code."""

    async def serve(connection: Connection) -> None:
        asyncio.get_running_loop().call_later(0.01, connection.interrupt, REASON)
        asyncio.get_running_loop().call_later(0.01, connection.interrupt, Close(1000, "too late"))
        await connection.receive()

    async with served(jackfield_server, serve) as opened:
        assert await opened.closed() == Closed(4409, "Another one came.")


async def test_an_interruption_waits_for_the_handler_to_wait(jackfield_server: JackfieldServer) -> None:
    """A handler that is busy elsewhere goes on, and is told where it waits next, or sends next; then it may still
    say a last word."""
    steps: list[str] = []

    async def serve(connection: Connection) -> None:
        connection.interrupt(REASON)
        await asyncio.sleep(0)
        steps.append("undisturbed")
        for attempt in (connection.send("never"), connection.receive(), connection.receive(5)):
            with pytest.raises(Failure) as caught:
                await attempt
            assert caught.value is REASON
        await connection.send("last word")
        steps.append("said")
        assert connection.interruption is not None
        raise connection.interruption

    async with served(jackfield_server, serve) as opened:
        assert await opened.next() == "last word"
        assert await opened.closed() == Closed(4409, "Another one came.")
    assert steps == ["undisturbed", "said"]


async def test_an_interruption_is_no_cancellation(jackfield_server: JackfieldServer) -> None:
    """After it the task can wait again, in a `timeout` of its own too; a real cancellation goes through."""
    outcomes: list[str] = []

    async def serve(connection: Connection) -> None:
        asyncio.get_running_loop().call_soon(connection.interrupt, REASON)
        try:
            async with asyncio.timeout(5):
                await connection.interruptible(asyncio.sleep(60))
        except Failure:
            task = asyncio.current_task()
            assert task is not None
            assert not task.cancelling()
            outcomes.append("interrupted")
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            outcomes.append("timed out")
        raise Failure(BAD_MESSAGE, "enough")

    async with served(jackfield_server, serve) as opened:
        assert (await opened.closed()).code == 4400
    assert outcomes == ["interrupted", "timed out"]


# -- sending


async def test_a_peer_that_does_not_read_is_cut_after_the_limit(
    jackfield_server: JackfieldServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A send that a peer does not take is ended by us, with the whole link (fact 8); until then nothing is lost."""
    monkeypatch.setattr(jackfield.app.socket.sending, "SEND_LIMIT", 0.2)
    service = await jackfield_server(sections("flood"))
    flood = service.handlers["flood"]
    assert isinstance(flood, handlers.Flood)
    opened = await RawSocket.connect(service.port, receive_buffer=4096)
    begun = time.monotonic()
    await opened.upgrade("/flood")
    async with asyncio.timeout(10):
        end = await flood.ended
    assert time.monotonic() - begun > 0.15  # a timer may fire a little early
    assert isinstance(end, Disconnected)
    assert (end.code, end.clean) == (1006, False)
    assert not service.app[DISPATCHER].sessions or await eventually(lambda: nobody(service))
    await opened.dispose()


async def nobody(service: RunningService) -> bool:
    """Whether no socket is open."""
    return not service.app[DISPATCHER].sessions


async def test_a_peer_that_reads_slowly_gets_everything(
    jackfield_server: JackfieldServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is for one send: who takes each in time is not cut, however long all of them last."""
    monkeypatch.setattr(jackfield.app.socket.sending, "SEND_LIMIT", 0.5)
    service = await jackfield_server(sections("flood"))
    opened = await RawSocket.connect(service.port, receive_buffer=4096)
    await opened.upgrade("/flood")
    ends = time.monotonic() + 1
    while time.monotonic() < ends:
        assert len(await opened.reader.readexactly(50_000)) == 50_000
        await asyncio.sleep(0.001)
    await opened.dispose()


async def test_an_offer_never_waits(jackfield_server: JackfieldServer) -> None:
    """`offer` sends to a peer that reads, and says no, at once, to one that is behind or gone."""
    offers: list[bool] = []

    async def serve(connection: Connection) -> None:
        offers.append(await connection.offer("first"))
        filling = asyncio.create_task(connection.send(bytes(50 * 2**20)))
        await eventually(lambda: asyncio.sleep(0, connection.backlog > 0))
        offers.append(await connection.offer("second"))
        filling.cancel()
        connection.transport.abort()
        await asyncio.wait([filling])
        with pytest.raises(Disconnected):
            await connection.receive()
        offers.append(await connection.offer("third"))

    async with served(jackfield_server, serve) as opened:
        assert await opened.next() == "first"
        await eventually(lambda: asyncio.sleep(0, len(offers) == 3))
    assert offers == [True, False, False]


async def test_closing_does_not_wait_for_a_peer_that_does_not_answer(
    jackfield_server: JackfieldServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After our Close frame the peer has so long for its own; then the link is cut."""
    monkeypatch.setattr(jackfield.app.socket.closing, "CLOSE_LIMIT", 0.2)

    async def serve(connection: Connection) -> None:
        raise Close(1000, "done")

    async with served(jackfield_server, serve) as opened:
        assert await opened.closed() == Closed(1000, "done")
        await opened.ended(5)


async def test_a_peer_that_still_sends_is_closed_in_order(jackfield_server: JackfieldServer) -> None:
    """What comes after our Close frame is thrown away until the peer's own comes: no reset, whatever is under way."""

    async def serve(connection: Connection) -> None:
        await connection.receive()
        raise Failure(BAD_MESSAGE, "enough")

    async with served(jackfield_server, serve) as opened:
        await opened.text("go")
        half = "ä".encode() * 1000
        halves = frame(Opcode.TEXT, half[:1999], fin=False), frame(Opcode.CONTINUATION, half[1999:])
        pieces = [*halves, frame(Opcode.PING)]
        for piece in pieces * 50:
            await opened.send(piece)
        assert await opened.closed() == Closed(4400, "enough")
        for piece in pieces:
            await opened.send(piece)
        begun = time.monotonic()
        await opened.close(4400)
        await opened.ended()
        assert time.monotonic() - begun < 4.5  # the limit is 5 s: our answer was seen
