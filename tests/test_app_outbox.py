"""A queue for one listener: nothing is lost in silence, and what is to become of the rest is declared."""

import asyncio

import pytest

from jackfield.app.errors import Disconnected
from jackfield.app.handler import Connection
from jackfield.app.socket.outbox import Full, Outbox
from jackfield.testing import JackfieldServer
from tests.support import handlers
from tests.support.handlers import sections
from tests.support.outsider import eventually
from tests.support.rawsocket import Closed, RawSocket

COUNT, SIZE = 20_000, 1000


def message(number: int) -> str:
    """One of them."""
    return f"{number:06}".ljust(SIZE, ".")


class Speech:
    """Says all of them to one listener, and keeps the outbox."""

    def __init__(self, full: Full, limit: int = 256 * 1024) -> None:
        self.full = full
        self.limit = limit
        self.begin = asyncio.Event()
        self.outbox: asyncio.Future[Outbox] = asyncio.get_running_loop().create_future()
        self.accepted = 0

    async def serve(self, connection: Connection) -> None:
        """Until all is said."""
        async with connection.outbox(self.limit, self.full) as outbox:
            self.outbox.set_result(outbox)
            await self.begin.wait()
            for number in range(COUNT):
                self.accepted += await outbox.put(message(number))
                if number % 100 == 0:
                    await asyncio.sleep(0)


async def listen(jackfield_server: JackfieldServer, speech: Speech) -> tuple[list[int], Closed]:
    """What a reader hears that pauses first and reads late, and how the socket is closed."""
    service = await jackfield_server(sections("scripted"))
    scripted = service.handlers["scripted"]
    assert isinstance(scripted, handlers.Scripted)
    scripted.script = speech.serve
    opened = await RawSocket.connect(service.port, receive_buffer=4096)
    await opened.upgrade("/scripted")
    outbox = await speech.outbox
    speech.begin.set()
    heard: list[int] = []
    if speech.full == "wait":
        await eventually(lambda: asyncio.sleep(0, outbox._size > speech.limit - SIZE))
    else:
        await eventually(lambda: asyncio.sleep(0, outbox.dropped or outbox._closed))
    while isinstance(found := await opened.next(), str):
        heard.append(int(found[:6]))
        if len(heard) % 100 == 0:
            await asyncio.sleep(0)
    assert isinstance(found, Closed)
    await opened.dispose()
    return heard, found


async def test_a_listener_that_is_waited_for_hears_everything(jackfield_server: JackfieldServer) -> None:
    """Policy "wait": the speaker waits, nothing is dropped."""
    speech = Speech("wait")
    heard, closed = await listen(jackfield_server, speech)
    assert heard == list(range(COUNT))
    assert closed.code == 1000
    assert (speech.accepted, (await speech.outbox).dropped) == (COUNT, 0)


@pytest.mark.parametrize("full", ["drop_oldest", "drop_newest"])
async def test_what_is_dropped_is_counted(jackfield_server: JackfieldServer, full: Full) -> None:
    """Policies "drop_…": heard and dropped are all there were, in order; the newest or the oldest are among those
    heard."""
    speech = Speech(full)
    heard, closed = await listen(jackfield_server, speech)
    dropped = (await speech.outbox).dropped
    assert dropped > 0
    assert len(heard) + dropped == COUNT
    assert heard == sorted(set(heard))
    assert closed.code == 1000
    if full == "drop_oldest":
        assert heard[-1] == COUNT - 1
        assert speech.accepted == COUNT
    else:
        assert heard[: 256 * 1024 // SIZE] == list(range(256 * 1024 // SIZE))
        assert speech.accepted == len(heard)


async def test_a_listener_that_is_too_slow_may_be_ended(jackfield_server: JackfieldServer) -> None:
    """Policy "disconnect": what is heard has no gap, and then the socket says why there is no more."""
    speech = Speech("disconnect")
    heard, closed = await listen(jackfield_server, speech)
    assert heard == list(range(len(heard)))
    assert len(heard) < COUNT
    assert closed.code == 1013
    assert len(heard) + (await speech.outbox).dropped == COUNT


async def test_the_end_of_a_listener_frees_whoever_waits_for_it(jackfield_server: JackfieldServer) -> None:
    """A speaker that waits for room goes on when the listener's link is lost; what was left is counted."""
    service = await jackfield_server(sections("scripted"))
    scripted = service.handlers["scripted"]
    assert isinstance(scripted, handlers.Scripted)
    outboxes: list[Outbox] = []

    async def serve(connection: Connection) -> None:
        async with connection.outbox(10_000, "wait") as outbox:
            outboxes.append(outbox)
            with pytest.raises(Disconnected):
                await connection.receive()

    scripted.script = serve
    opened = await RawSocket.connect(service.port, receive_buffer=4096)
    await opened.upgrade("/scripted")
    await eventually(lambda: asyncio.sleep(0, outboxes))

    async def speak() -> int:
        said = 0
        while await outboxes[0].put(message(said)):
            said += 1
        return said

    speaking = asyncio.create_task(speak())
    await eventually(lambda: asyncio.sleep(0, outboxes[0]._size > 9000))
    opened.drop()
    said = await asyncio.wait_for(speaking, 10)
    assert outboxes[0].dropped > 1
    assert said > 0
    assert not await outboxes[0].put("too late")


async def test_an_offer_of_any_length_never_waits(jackfield_server: JackfieldServer) -> None:
    """What cannot be written at once is refused, however long it is, and also where messages are compressed."""
    service = await jackfield_server(sections("scripted"))
    scripted = service.handlers["scripted"]
    assert isinstance(scripted, handlers.Scripted)
    offers: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()

    async def serve(connection: Connection) -> None:
        turns: list[bool] = []
        loop, done = asyncio.get_running_loop(), []
        for _ in range(200):
            loop.call_soon(done.append, True)
            turns.append(await connection.offer("x" * 200_000))
            assert not done, "it let the loop turn"
            await asyncio.sleep(0)
            done.clear()
        offers.set_result(turns)

    scripted.script = serve
    opened = await RawSocket.connect(service.port, receive_buffer=4096)
    await opened.upgrade("/scripted")
    async with asyncio.timeout(10):
        found = await offers
    assert found[0]
    assert not found[-1]
    await opened.dispose()
