"""What a socket has received and its handler has not taken: read in turns, in bounded memory.

A socket is read in turns. When what has come has cost a quantum, in bytes and in frames, parsing stops and
the rest is kept until it is this socket's turn again (see `Turns`).
"""

import asyncio
from typing import Any, Final

from jackfield.app.errors import OVERLOADED, Close, Failure
from jackfield.app.socket.link import Link
from jackfield.app.socket.shared import UNCOUNTED, Shared

AHEAD: Final = 512 * 1024  # bytes of messages received for a handler that is busy; then the socket is not read
_OVERHEAD: Final = 128  # counted for each message, so that empty ones are bounded too


class Inbound(Link):
    """Items in the order they came, and then an end. A subclass parses the bytes (`_parse`).

    `heard` is the loop's time of the last byte.
    """

    __slots__ = (
        "_ahead", "_at", "_counted", "_deferred", "_items", "_kept", "_paused", "_pings", "_resting", "_shared",
        "_spent", "_text", "heard",
    )  # fmt: skip

    def __init__(self, inner: asyncio.Protocol, transport: asyncio.Transport, shared: Shared) -> None:
        super().__init__(inner, transport)
        self.heard = self._loop.time()
        self._items: list[Any] = []  # seldom more than one: an empty deque would weigh 700 bytes on every idle socket
        self._text: bytes | bytearray = b""  # what has come of an unfinished message
        self._pings: list[bytes] | None = None  # the newest of them, not answered yet
        self._paused = False  # reading waits for the handler, or for memory
        self._ahead = 0  # bytes of whole messages among the items
        self._counted = False  # the budget counts bytes of ours
        self._shared = shared
        self._spent = 0  # bytes, frames counted as such, since the turn began
        self._resting = False  # the turn is over, the next one is to come
        self._kept = b""  # what was received and not parsed, from the byte at `_at`
        self._at = 0
        self._deferred = False  # whether it waits for the next turn; else it is an incomplete header

    def _parse(self, data: memoryview, start: int, stop: int) -> int:
        """Take the frames in data[start:stop]; where the first byte stands that waits for more, or for its turn."""
        raise NotImplementedError

    # -- taking, by the handler's task

    @property
    def waiting(self) -> bool:
        """Whether there is something that could be taken, or would be raised, at once."""
        return bool(self._items) or self._end is not None

    @property
    def paused(self) -> bool:
        """Whether the socket is not read now."""
        return self._paused

    @property
    def queued(self) -> bool:
        """Whether there is something that could be taken at once."""
        return bool(self._items)

    def _on_taken(self, message: str | bytes) -> None:
        self._ahead -= len(message) + _OVERHEAD
        if self._counted:
            self._count()
        if self._paused and self._ahead < AHEAD // 2:
            self._resume()

    def discard(self) -> None:
        """Throw away what is queued and what still comes; only a Close frame is looked for."""
        self._discarding = True
        self._items.clear()
        self._text = b""
        self._ahead = 0
        self._count()
        self._resume()

    # -- turns

    def _advance(self, data: memoryview, start: int, stop: int) -> int:
        """Parse data[start:stop] as far as this turn goes, and answer the newest pings.

        Where the first byte stands that is to be kept.
        """
        self._deferred = False
        try:
            start = self._parse(data, start, stop)
        except Close as close:
            self._finish(close)
        if self._pings is not None:
            payloads, self._pings = self._pings, None
            self.owner.on_pings(payloads)
        return start if self._end is None else stop

    def _keep(self, data: bytes, at: int, *, behind: bool = False) -> None:
        """What stands in `data` from `at` on is parsed later: `behind`, or this turn is over, in the next turn."""
        if self._end is not None:
            at = len(data)
        self._deferred = at < len(data) and (behind or self._spent >= self._shared.turns.quantum)
        self._kept, self._at = (data, at) if self._deferred else (data[at:], 0)
        if self._counted or len(data) > UNCOUNTED:
            self._count()

    def _rest_if_spent(self) -> None:
        if self._deferred or self._spent >= self._shared.turns.quantum:
            self._rest()

    def _rest(self) -> None:
        """Give way to all other sockets that have something to read."""
        self._spent = 0
        if not self._resting and not self._paused:
            self._resting = True
            self._transport.pause_reading()
            self._shared.turns.rest(self._go_on)

    def _go_on(self) -> None:
        """It is our turn again."""
        self._resting = False
        try:
            self._read_on()
        except BaseException:
            self._transport.abort()  # as a loop does where a protocol fails
            raise

    def _read_on(self) -> None:
        """Parse what was kept, and then let the transport read."""
        if self._deferred and not self._held_back:
            self._parse_kept()
            self._rest_if_spent()
        if not self._held_back and not self._transport.is_closing():
            self._transport.resume_reading()

    @property
    def _held_back(self) -> bool:
        return self._paused or self._resting

    def _parse_kept(self) -> None:
        data = self._kept
        self._keep(data, self._advance(memoryview(data), self._at, len(data)))

    # -- memory

    def _put(self, message: str | bytes) -> None:
        """A whole message for the handler; too many of them, and the socket is not read for a while."""
        self._items.append(message)
        self._ahead += len(message) + _OVERHEAD
        if self._counted or self._ahead > UNCOUNTED:
            self._count()
        self.wake()
        if self._ahead > AHEAD:
            self._pause()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> bool:
        """Read on, where nothing is against it; whether it is read now."""
        if self._paused:
            self._paused = False
            self.heard = self._loop.time()  # the time in which we did not read does not count
            self._read_on()
        return True

    def _count(self) -> None:
        """Tell the budget what we hold."""
        size = self._ahead + len(self._text) + len(self._kept)
        self._counted = size > UNCOUNTED
        self._shared.budget.hold(self, size)

    def evict(self) -> None:
        """See `Holder`."""
        self.discard()
        self._finish(Failure(OVERLOADED, "Too many messages are under way."))

    def connection_lost(self, exc: Exception | None) -> None:
        """What came before is still delivered; then it is said that the link is gone."""
        self._keep(b"", 0)
        super().connection_lost(exc)
