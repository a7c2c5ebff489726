"""Broadcast: bounded for each member, in one order for all, and a slow reader holds up nobody that need not wait."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from jackfield import Connection, Disconnected, Failure, Member, Topic
from jackfield.app.socket.outbox import Full
from jackfield.testing import JackfieldServer, RunningService
from tests.support import handlers
from tests.support.handlers import sections
from tests.support.outsider import eventually
from tests.support.rawsocket import RawSocket

COUNT, SIZE, LIMIT = 1500, 8000, 64 * 1024


def message(number: int) -> str:
    """One of them."""
    return f"{number:06}".ljust(SIZE, ".")


class Listeners:
    """A service whose sockets join a topic, with the policy in their query."""

    def __init__(self, service: RunningService, stack: AsyncExitStack) -> None:
        self.topic = Topic("news", limit=LIMIT)
        self._service = service
        self._stack = stack
        scripted = service.handlers["scripted"]
        assert isinstance(scripted, handlers.Scripted)
        scripted.script = self._serve

    async def _serve(self, connection: Connection) -> None:
        full: Any = connection.request.query["full"]
        async with self.topic.join(connection, full=full) as member:
            async for said in connection:
                await self.topic.publish(said, but=member)

    async def join(self, full: Full = "disconnect") -> RawSocket:
        """A client that takes little unless it reads."""
        opened = await RawSocket.connect(self._service.port, receive_buffer=4096)
        self._stack.push_async_callback(opened.dispose)
        before = len(self.topic)
        await opened.upgrade(f"/scripted?full={full}")
        await eventually(lambda: asyncio.sleep(0, len(self.topic) > before))
        return opened


@pytest.fixture
async def listeners(jackfield_server: JackfieldServer) -> AsyncIterator[Listeners]:
    """The service, and its clients."""
    service = await jackfield_server(sections("scripted"))
    async with AsyncExitStack() as stack:
        yield Listeners(service, stack)


async def heard(opened: RawSocket, count: int) -> list[int]:
    """The numbers of so many messages that a client hears, or of those up to the end of its socket."""
    numbers: list[int] = []
    while len(numbers) < count and isinstance(found := await opened.next(), str):
        numbers.append(int(found[:6]))
    return numbers


async def test_all_hear_but_one(listeners: Listeners) -> None:
    """Whoever speaks is left out where it says so; the report counts the others."""
    one, two, three = [await listeners.join() for _ in range(3)]
    await one.text("hello")
    assert [await two.next(), await three.next()] == ["hello", "hello"]
    delivery = await listeners.topic.publish("to all")
    assert (delivery.queued, delivery.dropped) == (3, {})
    assert [await each.next() for each in (one, two, three)] == ["to all"] * 3


@pytest.mark.parametrize("end", ["close", "drop", "reset"])
async def test_members_leave_with_their_sockets(listeners: Listeners, end: str) -> None:
    """However a socket ends, its member is gone, and nobody has to say so."""
    stays, leaves = await listeners.join(), await listeners.join()
    if end == "close":
        await leaves.close()
    else:
        getattr(leaves, end)()
    await eventually(lambda: asyncio.sleep(0, len(listeners.topic) == 1))
    assert (await listeners.topic.publish("still here")).queued == 1
    assert await stays.next() == "still here"


@pytest.mark.parametrize("full", ["drop_oldest", "drop_newest", "disconnect"])
async def test_a_slow_reader_holds_up_nobody(listeners: Listeners, full: Full) -> None:
    """Beside one that does not read another one, for which the speaker waits, hears everything; the reports say who
    lost how many, and with those that it hears at last that is all there were."""
    slow, quick = await listeners.join(full), await listeners.join("wait")
    (member, _) = listeners.topic
    lost = 0
    reading = asyncio.create_task(heard(quick, COUNT))
    for number in range(COUNT):
        delivery = await listeners.topic.publish(message(number))
        assert delivery.dropped.keys() <= {member}
        lost += delivery.dropped.get(member, 0)
    assert await reading == list(range(COUNT))
    numbers = await heard(slow, COUNT if full == "disconnect" else COUNT - lost)
    assert 0 < len(numbers) < COUNT
    if full == "disconnect":
        assert numbers == list(range(len(numbers)))
        assert lost > 0
        assert len(listeners.topic) == 1
    else:
        assert lost == member.dropped
        assert numbers == sorted(set(numbers))
        assert (numbers[-1] == COUNT - 1) == (full == "drop_oldest")


async def test_a_speaker_waits_for_whom_it_must(listeners: Listeners) -> None:
    """Under "wait" all is heard by whoever reads late; a speaker that is cancelled while it waits has told nobody."""
    slow, quick = await listeners.join("wait"), await listeners.join()
    reading = asyncio.create_task(heard(quick, COUNT))
    said = 0

    async def speak() -> None:
        nonlocal said
        while said < COUNT:
            await listeners.topic.publish(message(said))
            said += 1

    speaking = asyncio.create_task(speak())
    (member, _) = listeners.topic
    await eventually(lambda: asyncio.sleep(0, member.awaited(SIZE)))
    speaking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await speaking
    speaking = asyncio.create_task(speak())
    assert await heard(slow, COUNT) == await reading == list(range(COUNT))
    await speaking


async def test_all_hear_one_order(listeners: Listeners) -> None:
    """Of several who speak at once everybody hears the same."""
    members = [await listeners.join("wait") for _ in range(4)]
    hearing = [asyncio.create_task(heard(each, 900)) for each in members]

    async def speak(first: int) -> None:
        for number in range(first, first + 300):
            await listeners.topic.publish(message(number))

    await asyncio.gather(speak(0), speak(1000), speak(2000))
    orders = [await each for each in hearing]
    assert all(order == orders[0] for order in orders)
    assert len(set(orders[0])) == 900


class Recipient:
    """A connection that is always ready, and tells in which turn of the loop it was sent to."""

    lost = False
    dropped = 0
    turn = 0  # of the loop

    def __init__(self) -> None:
        self.heard: list[tuple[str | bytes, int]] = []

    async def send(self, message: str | bytes) -> None:
        """Take it."""
        self.heard.append((message, Recipient.turn))

    def interrupt(self, reason: Failure | Disconnected) -> None:
        """Nobody is too slow here."""

    def count_unsent(self, size: int) -> None:
        """Nobody counts."""


@pytest.fixture
async def turns() -> AsyncIterator[None]:
    """Counts the turns of the loop."""
    loop = asyncio.get_running_loop()

    def count() -> None:
        Recipient.turn += 1
        turning[0] = loop.call_soon(count)

    turning = [loop.call_soon(count)]
    yield
    turning[0].cancel()


def most_in_a_turn(connections: list[Any]) -> int:
    """How many messages were sent to all of them in one turn, at the most."""
    return max(Counter(turn for each in connections for _, turn in each.heard).values())


@pytest.mark.usefixtures("turns")
async def test_whoever_catches_up_holds_up_nobody() -> None:
    """Many messages that have waited for one client are sent in several turns of the loop as well."""
    connection: Any = Recipient()
    async with Topic().join(connection) as member:
        for number in range(500):
            member.put_nowait(str(number))
    assert [said for said, _ in connection.heard] == [str(number) for number in range(500)]
    assert most_in_a_turn([connection]) <= 20


@pytest.mark.usefixtures("turns")
async def test_many_members_are_sent_to_in_turns() -> None:
    """A message to a thousand takes several turns of the loop, so that others are served between; the next message
    does not overtake it."""
    topic = Topic()
    async with AsyncExitStack() as stack:
        connections: list[Any] = [Recipient() for _ in range(1000)]
        members: list[Member] = [await stack.enter_async_context(topic.join(each)) for each in connections]
        assert list(topic) == members
        await asyncio.sleep(0)  # in which their tasks begin
        assert (await topic.publish("one")).queued == 1000
        assert (await topic.publish("two")).queued == 1000
        await eventually(lambda: asyncio.sleep(0, all(len(each.heard) == 2 for each in connections)))
    assert all([said for said, _ in each.heard] == ["one", "two"] for each in connections)
    assert most_in_a_turn(connections) <= 200
