"""How long a handler waits for a message: each wait has its own limit, though one timer serves them all."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from jackfield.app.errors import Failure
from jackfield.app.handler import Connection
from jackfield.testing import JackfieldServer
from tests.support import handlers
from tests.support.handlers import raw, sections
from tests.support.rawsocket import Closed, RawSocket


async def conversation(
    jackfield_server: JackfieldServer,
    serve: Callable[[Connection], Awaitable[None]],
    client: Callable[[RawSocket], Awaitable[None]],
) -> None:
    """A socket with these two at its ends, until the client is done."""
    service = await jackfield_server(sections("scripted"))
    scripted = service.handlers["scripted"]
    assert isinstance(scripted, handlers.Scripted)
    scripted.script = serve
    async with raw(service, "/scripted") as opened:
        await client(opened)


async def test_the_limit_begins_anew_with_every_wait(jackfield_server: JackfieldServer) -> None:
    """Who answers each time within the limit is never late, however long all of it lasts; the first silence is."""
    last = 0.0

    async def serve(connection: Connection) -> None:
        nonlocal last
        while True:
            await connection.receive(0.5)
            last = time.monotonic()

    async def client(opened: RawSocket) -> None:
        for _ in range(8):
            await asyncio.sleep(0.1)  # it is time itself that is tested
            await opened.text("in time")
        assert await opened.closed() == Closed(4408, "Nothing came within 0.5 s.")
        assert time.monotonic() - last > 0.4  # a timer may fire a little early

    await conversation(jackfield_server, serve, client)


async def test_a_shorter_limit_counts_after_a_longer_one(jackfield_server: JackfieldServer) -> None:
    """The timer of the wait before does not hold it up."""

    async def serve(connection: Connection) -> None:
        await connection.receive(3600)
        await connection.receive(0.05)

    async def client(opened: RawSocket) -> None:
        await opened.text("first")
        async with asyncio.timeout(5):
            assert await opened.closed() == Closed(4408, "Nothing came within 0.05 s.")

    await conversation(jackfield_server, serve, client)


async def test_a_limit_ends_with_its_wait(jackfield_server: JackfieldServer) -> None:
    """Its timer goes off in vain when by then the handler is busy, or waits without a limit or with a longer one."""

    async def serve(connection: Connection) -> None:
        assert await connection.receive(0.3) == "first"
        await asyncio.sleep(0.4)
        for limit in (None, 60):
            with pytest.raises(Failure):
                await connection.receive(0.01)
            await connection.send("again")
            assert await connection.receive(0.3) == "in time"
            assert await connection.receive(limit) == "much later"

    async def client(opened: RawSocket) -> None:
        await opened.text("first")
        for _ in range(2):
            assert await opened.next() == "again"
            await opened.text("in time")
            await asyncio.sleep(0.5)  # longer than the limit that was
            await opened.text("much later")
        assert await opened.closed() == Closed(1000, "done")

    await conversation(jackfield_server, serve, client)


async def test_no_message_is_lost_with_a_wait_that_is_given_up(jackfield_server: JackfieldServer) -> None:
    """A wait that is cancelled, or was too short, leaves the next message to the next wait."""

    async def serve(connection: Connection) -> None:
        with pytest.raises(Failure):
            await connection.receive(0.01)
        waiting = asyncio.create_task(connection.receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await connection.send("ready")
        assert await connection.receive() == "first"
        assert await connection.receive(5) == "second"

    async def client(opened: RawSocket) -> None:
        assert await opened.next() == "ready"
        await opened.text("first")
        await opened.text("second")
        assert await opened.closed() == Closed(1000, "done")

    await conversation(jackfield_server, serve, client)
