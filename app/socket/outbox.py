"""A bounded queue of messages to one socket, with a policy for readers that are slow."""

import asyncio
from collections import deque
from typing import Final, Literal, Protocol, Self

from jackfield.app.errors import SLOW_READER, Close, Disconnected, Failure

Full = Literal["wait", "drop_oldest", "drop_newest", "disconnect"]
"""The policy for a message that does not fit."""


_BURST: Final = 8  # messages that are sent in a row before others have their turn


class Recipient(Protocol):
    """The connection, as an outbox needs it."""

    dropped: int

    async def send(self, message: str | bytes) -> None:
        """Send one message."""

    def interrupt(self, reason: Close | Disconnected) -> None:
        """End the socket."""

    def count_unsent(self, size: int) -> None:
        """Count queued bytes; negative: fewer."""


class Outbox:
    """Messages for one socket, sent in the order they were put there. Make it with `connection.outbox()`.

    It holds at most `limit` bytes. `full` says what happens to a message that does not fit: "wait" makes `put` wait
    until it does; "drop_oldest" and "drop_newest" throw away and count; "disconnect" ends the socket 1013
    `slow_reader`. `dropped` counts the messages that were put here and not sent.

    They are sent inside `async with outbox:`. At the end of a block that raises nothing the rest is sent first.
    """

    def __init__(self, connection: Recipient, limit: int, full: Full) -> None:
        self._connection = connection
        self._limit = limit
        self._full = full
        self._waiting: deque[tuple[str | bytes, int]] = deque()
        self._size = 0  # bytes of those, and of the one that is being sent
        self._queued = asyncio.Event()
        self._space = asyncio.Event()
        self._in_flight = False  # whether one is being sent
        self._sending: asyncio.Task[None] | None = None
        self._closed = False  # nothing is sent any more
        self._failure: Failure | None = None  # why the socket is ended, where this ends it
        self.dropped = 0

    async def put(self, message: str | bytes) -> bool:
        """Queue a message; False where it was dropped, or the socket is over. Waits with "wait" alone."""
        while self.awaited(size_of(message)):
            await self.room()
        return self.put_nowait(message)

    def put_nowait(self, message: str | bytes) -> bool:
        """The same without waiting: with "wait" what does not fit is dropped."""
        queued = self.queue(message, size_of(message))
        self.wake()
        return queued

    def awaited(self, size: int) -> bool:
        """Whether `put` would wait until there is room for so many bytes."""
        return self._full == "wait" and not self._closed and not self._fits(size)

    async def room(self) -> None:
        """Wait until there is more room than now, or nothing is sent any more."""
        self._space.clear()
        await self._space.wait()

    def queue(self, message: str | bytes, size: int) -> bool:
        """Queue a message of so many bytes, to be sent after `wake`; False where it was dropped."""
        if self._full == "drop_oldest":
            while self._waiting and not self._fits(size):
                self._drop(self._waiting.popleft()[1])
        if self._closed or not self._fits(size):
            self._refuse()
            return False
        self._waiting.append((message, size))
        self._hold(size)
        return True

    def wake(self) -> None:
        """Send what is queued."""
        self._queued.set()

    def _fits(self, size: int) -> bool:
        """A message that is larger than all of the queue goes through alone."""
        return self._size + size <= self._limit or not self._waiting

    def _drop(self, size: int) -> None:
        self._hold(-size)
        self._count(1)

    def _refuse(self) -> None:
        self._count(1)
        if self._full == "disconnect" and not self._closed:
            self.close()
            self._failure = Failure(SLOW_READER, "It reads more slowly than others write to it.")
            self._connection.interrupt(self._failure)

    def _count(self, messages: int) -> None:
        self.dropped += messages
        self._connection.dropped += messages

    def _hold(self, size: int) -> None:
        self._size += size
        self._connection.count_unsent(size)

    # -- sending

    async def __aenter__(self) -> Self:
        self._sending = asyncio.create_task(self._send_all())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._sending is not None
        try:
            if kind is None:
                await self._sent()
        finally:
            self._sending.cancel()
            await asyncio.wait([self._sending])
            self.close()
        if kind is None and self._failure is not None:
            raise self._failure

    async def _sent(self) -> None:
        """Until all that was put here is sent, or cannot be."""
        while (self._waiting or self._in_flight) and not self._closed:
            await self.room()

    async def _send_all(self) -> None:
        try:
            while not self._closed:
                sent = 0
                while self._waiting:
                    await self._send(*self._waiting.popleft())
                    sent += 1
                    if sent % _BURST == 0:  # to a client that takes them all sending never waits
                        await asyncio.sleep(0)
                self._queued.clear()
                await self._queued.wait()
        except (Close, Disconnected):
            self.close()  # the handler hears of the end where it waits itself

    async def _send(self, message: str | bytes, size: int) -> None:
        self._in_flight = True
        try:
            await self._connection.send(message)
        except (Close, Disconnected):  # one that is cancelled is written already, and waits to be read
            self._count(1)
            raise
        finally:
            self._in_flight = False
            self._hold(-size)
            self._space.set()

    def close(self) -> None:
        """Drop the queue, and send nothing more."""
        self._closed = True
        while self._waiting:
            self._drop(self._waiting.popleft()[1])
        self._space.set()
        self._queued.set()


def size_of(message: str | bytes) -> int:
    """Its bytes on the wire."""
    return len(message.encode()) if isinstance(message, str) else len(message)
