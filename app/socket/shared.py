"""Shared by all sockets of the process: turns in which they are read, a budget for messages, time limits."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from jackfield.app.socket.timeouts import Timeouts

READ_QUANTUM: Final = 512 * 1024
"""What a socket may cost, in bytes, before it rests until all others that have something have had a turn. A ping beside
eight uploads waits for one or two turns, a median of 1 ms; to take 128 KiB of each of them in each turn of the loop
cost an eighth more of the processor, and a ping waited twice as long."""

READ_QUANTUM_ALONE: Final = 4 * READ_QUANTUM
"""The same where no other one rests: to rest costs two calls of the system."""

FRAME_COST: Final = 2 * 1024
"""Bytes that a frame counts besides its payload: to parse one takes as long as to receive so many."""

MESSAGE_MEMORY: Final = 256 * 1024 * 1024
"""Bytes of messages that all sockets together may hold: received and not taken, or sent and not read."""

UNCOUNTED: Final = 16 * 1024
"""Bytes of them that each socket may hold beside that, so that small messages cost no accounting."""


class Turns:
    """Round-robin: a socket that has used up its quantum waits in a queue; each turn of the loop serves one of them."""

    def __init__(self) -> None:
        self._resting: deque[Callable[[], None]] = deque()

    @property
    def quantum(self) -> int:
        """What a socket may cost until it must rest."""
        return READ_QUANTUM if self._resting else READ_QUANTUM_ALONE

    def rest(self, go_on: Callable[[], None]) -> None:
        """Call `go_on` when it is its turn."""
        if not self._resting:
            asyncio.get_running_loop().call_soon(self._wake_one)
        self._resting.append(go_on)

    def _wake_one(self) -> None:
        go_on = self._resting.popleft()
        if self._resting:  # before anything can go wrong: the others must not rest for ever
            asyncio.get_running_loop().call_soon(self._wake_one)
        go_on()


class Holder(Protocol):
    """Something that holds messages."""

    def evict(self) -> None:
        """The budget is exceeded, and this one holds the most: drop it all, and end the socket."""


class Budget:
    """At most `limit` bytes of messages in memory. If that is exceeded, the largest holder is evicted."""

    def __init__(self, limit: int = MESSAGE_MEMORY) -> None:
        self._limit = limit
        self._held: dict[Holder, int] = {}
        self.used = 0

    def hold(self, holder: Holder, size: int) -> None:
        """The holder has so many bytes now, of which `UNCOUNTED` are free."""
        counted, held = size if size > UNCOUNTED else 0, self._held.get(holder, 0)
        if counted == held:
            return
        self.used += counted - held
        if counted:
            self._held[holder] = counted
        else:
            del self._held[holder]
        while self.used > self._limit:
            largest = max(self._held, key=self._held.__getitem__)
            self.used -= self._held.pop(largest)
            largest.evict()


@dataclass(slots=True)
class Shared:
    """The turns, the budget and the time limits of one process."""

    turns: Turns = field(default_factory=Turns)
    budget: Budget = field(default_factory=Budget)
    timeouts: Timeouts = field(default_factory=Timeouts)
