"""Broadcast: what is published to a topic is heard by all its members, each with a bounded queue of its own."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

from jackfield.app.socket.connection import Connection
from jackfield.app.socket.outbox import Full, Outbox, size_of

_AT_ONCE: Final = 64
"""Members that are woken in one turn of the loop: others are served between."""


class Member(Outbox):
    """The place of one connection in a topic, for the length of `async with topic.join(connection) as member`."""

    def __init__(self, topic: "Topic", connection: Connection[Any], limit: int, full: Full) -> None:
        super().__init__(connection, limit, full)
        self.connection = connection
        self._topic = topic

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._topic._members[self] = None
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._topic._members.pop(self, None)
        await super().__aexit__(kind, *rest)

    def close(self) -> None:
        """See `Outbox`. Nothing more is published to it."""
        self._topic._members.pop(self, None)
        super().close()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one message: it was queued for so many members, and `dropped` says who lost how many by it.

    What they lost is this message or, under "drop_oldest", older ones.
    """

    queued: int
    dropped: dict[Member, int]


class Topic:
    """A name under which connections hear what is published. Members hear all messages in the same order.

    Each member holds at most `limit` bytes that its client has not read, and `full` says what becomes of a message
    beyond that, as of an `Outbox`: "wait" makes whoever publishes wait, so use it for members that may slow everybody;
    under the other policies a slow reader holds up nobody.
    """

    def __init__(self, name: str = "", *, limit: int = 1024 * 1024, full: Full = "disconnect") -> None:
        self.name = name
        self._limit = limit
        self._full: Full = full
        self._members: dict[Member, None] = {}  # in the order in which they joined
        self._to_wake: dict[Member, None] = {}  # those that have something to send, and were not told yet
        self._waking = False  # whether they will be, in the next turn of the loop

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        """The members, as they are now."""
        return iter(list(self._members))

    def join(self, connection: Connection[Any], *, limit: int | None = None, full: Full | None = None) -> Member:
        """A member, for `async with`: what is published inside the block is sent to the connection.

        It leaves at the end of the block, and before that when its link is lost or it was too slow. At the end of a
        block that raises nothing what waits is sent first.
        """
        return Member(self, connection, self._limit if limit is None else limit, full or self._full)

    async def publish(self, message: str | bytes, *, but: Member | None = None) -> Delivery:
        """Send a message to all members, `but` one, in a moment when each that is waited for has room for it.

        Cancelled while it waits, it has sent it to nobody. Others have had a turn when it returns.
        """
        size = size_of(message)
        while slow := next((member for member in self._members if member is not but and member.awaited(size)), None):
            await slow.room()
        delivery = self.publish_nowait(message, but=but)
        await asyncio.sleep(0)
        return delivery

    def publish_nowait(self, message: str | bytes, *, but: Member | None = None) -> Delivery:
        """The same without waiting, for code that is not async; under "wait" what does not fit is dropped."""
        size, queued = size_of(message), 0
        dropped: dict[Member, int] = {}
        for member in list(self._members):
            if member is but:
                continue
            before = member.dropped
            queued += member.queue(message, size)
            if member.dropped != before:
                dropped[member] = member.dropped - before
            self._to_wake[member] = None
        if not self._waking:
            self._wake_some()
        return Delivery(queued, dropped)

    def _wake_some(self) -> None:
        """Let some of those that have something to send do so, and the next ones in the next turn of the loop."""
        for _ in range(min(_AT_ONCE, len(self._to_wake))):
            member = next(iter(self._to_wake))
            del self._to_wake[member]
            member.wake()
        self._waking = bool(self._to_wake)
        if self._waking:
            asyncio.get_running_loop().call_soon(self._wake_some)
