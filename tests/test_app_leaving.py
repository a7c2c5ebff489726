"""A handler that waits for something else than its client is ended when the client has left, or the service ends."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import jackfield.app.socket.interruption
from jackfield.app.dispatcher import Dispatcher
from jackfield.app.errors import Disconnected
from jackfield.app.service import DISPATCHER
from jackfield.testing import JackfieldServer, RunningService
from tests.support import handlers
from tests.support.handlers import Connection, raw, sections
from tests.support.outsider import eventually
from tests.support.rawsocket import Closed, RawSocket

Serve = Callable[[Connection], Awaitable[None]]


class Ends:
    """How the handler of a socket ended."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.entered = asyncio.Event()
        self.seen: list[BaseException | None] = []

    async def __call__(self, connection: Connection) -> None:
        """Serve, and remember."""
        self.entered.set()
        end: BaseException | None = None
        try:
            await self._serve(connection)
        except BaseException as error:
            end = error
            raise
        finally:
            self.seen.append(end)

    async def one(self) -> BaseException | None:
        """The first that there is."""
        await eventually(lambda: asyncio.sleep(0, self.seen))
        return self.seen[0]


async def start(jackfield_server: JackfieldServer, serve: Serve, **server: object) -> tuple[RunningService, Ends]:
    """A service on whose path /scripted, and /pouring, this runs."""
    service = await jackfield_server(sections("scripted", "pouring"), **server)
    ends = Ends(serve)
    for handler in service.handlers.values():
        assert isinstance(handler, handlers.Scripted)
        handler.script = ends
    return service, ends


async def forever(_: Connection) -> None:
    """Wait for news that never come."""
    await asyncio.Queue[str]().get()


async def nobody(service: RunningService) -> None:
    """Until no socket is open."""
    await eventually(lambda: asyncio.sleep(0, not service.app[DISPATCHER].sessions))


@pytest.mark.parametrize("path", ["/scripted", "/pouring"])
@pytest.mark.parametrize("leave", [RawSocket.close, RawSocket.reset, RawSocket.drop, RawSocket.half_close])
async def test_it_is_ended_when_its_client_leaves(
    jackfield_server: JackfieldServer, leave: Callable[[RawSocket], Awaitable[None] | None], path: str
) -> None:
    """By a Close frame, RST or FIN: `serve` is cancelled, and the socket is counted and closed as the client left."""
    service, ends = await start(jackfield_server, forever)
    async with raw(service, path) as opened:
        await ends.entered.wait()
        if (leaving := leave(opened)) is not None:
            await leaving
        assert isinstance(await ends.one(), asyncio.CancelledError)
        await nobody(service)


@pytest.mark.parametrize("path", ["/scripted", "/pouring"])
async def test_it_is_ended_when_its_client_left_before_it_began(
    jackfield_server: JackfieldServer, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A Close frame that comes between the handshake and the beginning of `serve` is not overlooked."""
    accept = Dispatcher._accept

    async def accept_late(self: Dispatcher, *given: Any) -> Any:
        ws, connection = await accept(self, *given)
        await eventually(lambda: asyncio.sleep(0, connection.source.end is not None))
        return ws, connection

    monkeypatch.setattr(Dispatcher, "_accept", accept_late)
    service, ends = await start(jackfield_server, forever)
    async with raw(service, path) as opened:
        await opened.close()
        assert isinstance(await ends.one(), asyncio.CancelledError)
    await nobody(service)


async def test_it_is_ended_when_its_client_is_silent(jackfield_server: JackfieldServer) -> None:
    """A client that is gone without a word is found by the heartbeat, and its handler ended."""
    service, ends = await start(jackfield_server, forever, heartbeat=0.2)
    async with raw(service, "/scripted"):
        assert isinstance(await ends.one(), asyncio.CancelledError)
        await nobody(service)


async def test_it_is_ended_at_once_when_the_service_ends(jackfield_server: JackfieldServer) -> None:
    """Its socket is closed 1012, long before the limit of the shutdown."""
    service, ends = await start(jackfield_server, forever)
    async with raw(service, "/scripted") as opened:
        await ends.entered.wait()
        draining = asyncio.create_task(service.app[DISPATCHER].drain(600))
        assert await opened.closed() == Closed(1012, "The service restarts; come back.")
        await opened.close(1012)
        await draining


async def test_its_place_is_free_for_others(jackfield_server: JackfieldServer) -> None:
    """Deserted sockets do not count against `max_connections`."""
    service, _ = await start(jackfield_server, forever, max_connections=3)
    for _ in range(3):
        async with raw(service, "/scripted") as opened:
            await opened.close()
            await opened.ended()
    await nobody(service)
    async with raw(service, "/scripted"):
        pass


async def test_unread_messages_are_no_shelter(jackfield_server: JackfieldServer) -> None:
    """A handler that never looks at what its client has sent is ended two heartbeats later."""
    service, ends = await start(jackfield_server, forever, heartbeat=0.2)
    async with raw(service, "/scripted") as opened:
        await opened.text("never read")
        await opened.close()
        assert isinstance(await ends.one(), asyncio.CancelledError)


async def test_messages_that_came_are_served_first(
    jackfield_server: JackfieldServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that takes its time with each message is not ended while it gets on with those that came."""
    monkeypatch.setattr(jackfield.app.socket.interruption, "GRACE", 0.02)
    got: list[str | bytes] = []

    async def serve(connection: Connection) -> None:
        async for message in connection:
            await asyncio.sleep(0.01)
            got.append(message)

    service, ends = await start(jackfield_server, serve, heartbeat="1h")
    async with raw(service, "/scripted") as opened:
        for number in range(20):
            await opened.text(str(number))
        await opened.close()
        assert await ends.one() is None
    assert got == [str(number) for number in range(20)]


async def test_who_has_heard_of_the_end_may_clean_up(
    jackfield_server: JackfieldServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Disconnected was raised in the handler, what it does in `finally` is not cancelled."""
    monkeypatch.setattr(jackfield.app.socket.interruption, "GRACE", 0.01)
    cleaned = asyncio.Event()

    async def serve(connection: Connection) -> None:
        try:
            await connection.receive()
        finally:
            await asyncio.sleep(0.2)  # many times the grace
            cleaned.set()

    service, ends = await start(jackfield_server, serve, heartbeat="1h")
    async with raw(service, "/scripted") as opened:
        opened.drop()
        assert isinstance(await ends.one(), Disconnected)
    assert cleaned.is_set()


async def test_a_reader_beside_it_is_no_shelter(jackfield_server: JackfieldServer) -> None:
    """That a task of the handler has heard of the end does not help, where the handler itself waits for news."""

    async def serve(connection: Connection) -> None:
        reading = asyncio.create_task(connection.receive())
        try:
            await forever(connection)
        finally:
            await asyncio.wait([reading])
            assert isinstance(reading.exception(), Disconnected)

    service, ends = await start(jackfield_server, serve, heartbeat="1h")
    async with raw(service, "/scripted") as opened:
        await opened.close()
        assert isinstance(await ends.one(), asyncio.CancelledError)


@pytest.mark.parametrize("how", ["shielded", "outlives"])
async def test_work_may_outlive_its_client(
    jackfield_server: JackfieldServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """What is done inside `shielded()`, and a handler that says `outlives`, goes on to its end."""
    monkeypatch.setattr(jackfield.app.socket.interruption, "GRACE", 0.01)
    monkeypatch.setattr(handlers.Scripted, "outlives", how == "outlives")
    done: list[str] = []

    async def work(connection: Connection) -> None:
        await eventually(lambda: asyncio.sleep(0, connection.lost))
        await asyncio.sleep(0.2)  # many times the grace
        done.append("worked")

    async def serve(connection: Connection) -> None:
        if how == "outlives":
            await work(connection)
            return
        async with connection.shielded():
            await work(connection)
        await forever(connection)

    service, ends = await start(jackfield_server, serve, heartbeat=0.01)
    async with raw(service, "/scripted") as opened:
        await ends.entered.wait()
        opened.drop()
        end = await ends.one()
    assert done == ["worked"]
    assert isinstance(end, asyncio.CancelledError) == (how == "shielded")


async def test_fifty_clients_that_leave_are_gone(jackfield_server: JackfieldServer) -> None:
    """However they leave, none of their handlers stays, and the service ends as quickly as without them."""
    service, _ = await start(jackfield_server, forever)
    for number in range(50):
        opened = await (await RawSocket.connect(service.port)).upgrade("/scripted")
        if number % 2:
            await opened.close()
            await opened.dispose()
        else:
            opened.reset()
    await nobody(service)
    begun = time.monotonic()
    await service.stop()
    assert time.monotonic() - begun < 10
