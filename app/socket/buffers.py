"""Memory for bytes that were received and not yet used: a budget that all sockets of a handler share.

What the kernel gives goes through one buffer that all sockets use in turn and that stays in the
core's cache. The payload alone is moved on into slabs, so that it lies there without the headers of
frames, on pages, as a disk can take it without another copy. Slabs are used again and again, because fresh
memory costs more than the copy into it: half of what a naive server spends on receiving goes into page faults.
"""

import asyncio
import mmap
from collections import deque
from collections.abc import Callable
from typing import Final

from jackfield.app.socket.frames import unmask_in_place

PAGE: Final = mmap.PAGESIZE
"""Bytes to which memory and place in a file must agree for a disk to take them as they lie."""

SLAB: Final = 1024 * 1024
"""Bytes of one slab."""

INCOMING: Final = 512 * 1024
"""Bytes that are received at once: half of a core's second cache. Fewer make more calls, each as dear as 100 KiB; of
more a part is lost from the cache before it is moved on."""

TURN: Final = INCOMING
"""Bytes that a socket takes before it rests until all others that have something have had a turn. A ping beside eight
uploads waits for one or two turns, a median of 1 ms; to take 128 KiB of each of them in each turn of the loop cost
an eighth more of the processor, and a ping waited twice as long."""

ALONE: Final = 4 * TURN
"""The same where no other one rests: to rest costs two calls of the system."""

FAIR: Final = 4
"""Slabs that a socket may fill in one go though others wait for memory. 200 uploads that fill one each, all at the same
time, need half as much again of the processor: each slab is a visit to the disk of its own."""

PLENTY: Final = 24 * 1024 * 1024
"""Bytes under way from where on sockets wait for their turn: more of them make nothing faster, unless whoever uses them
is slow."""

_KEEP: Final = 24
"""Free slabs that are kept for the next burst, however late it comes."""

_LINGER: Final = 5.0
"""Seconds in which nobody may have needed the others, for them to be given back to the system. With 200 uploads at once
slabs come free and are needed again all the time: to have them from the system each time cost a tenth more."""

_AGAIN: Final = 0.02
"""Seconds after which the next one goes on, where the one before has found nothing to receive, or nobody has given
anything back."""


class Slab:
    """A piece of memory that one socket receives into and that several chunks may lie in."""

    __slots__ = ("size", "users", "view")

    def __init__(self, size: int) -> None:
        self.size = size
        self.view = memoryview(mmap.mmap(-1, size))  # begins with a page
        self.users = 0  # the socket that fills it, and each chunk that lies in it

    def unmask(self, start: int, stop: int, mask: bytes, phase: int) -> None:
        """Take the mask off the bytes [start, stop), in place; they begin `phase` bytes into the payload."""
        if mask != b"\0\0\0\0":
            unmask_in_place(self.view[start:stop], mask, phase)


class Buffers:
    """The budget: `limit` bytes for all sockets together, at most `share` of them for one; and their turns."""

    def __init__(self, limit: int, share: int = 13 * 1024 * 1024) -> None:
        self._share = max(min(limit, share) // SLAB, 1)  # slabs
        self._limit = max(limit // SLAB, 1)
        self._plenty = min(PLENTY // SLAB, self._limit)
        self._room = max(self._plenty - FAIR, self._plenty // 2)  # for one more that waits, where no more are used
        self._stretch = 0  # slabs beyond plenty: those who use them are slow
        self._used = 0
        self._free: list[Slab] = []
        self._waiting: dict[Callable[[], bool], None] = {}  # in the order they came
        self._timer: asyncio.TimerHandle | None = None
        self._given = 0  # slabs since the timer was set
        self._resting: deque[Callable[[], None]] = deque()
        self._trimming: asyncio.TimerHandle | None = None
        self._unneeded = 0  # so many of the free slabs were never needed since the last look
        self.incoming = memoryview(mmap.mmap(-1, INCOMING))
        """Where each socket receives in its turn, and has taken what it wants before the next one does."""

    @property
    def used(self) -> int:
        """Bytes of the slabs that are out."""
        return self._used * SLAB

    def allows(self, held: int) -> bool:
        """Whether a socket that holds so many slabs may have another."""
        if self._used >= self._limit or held >= self._share:
            return False
        if 0 < held < FAIR:
            return True
        return self._used < self._plenty + self._stretch and (not held or not self._waiting)

    def take(self, held: int) -> Slab | None:
        """A slab for a socket that holds so many, or None where it may not have another."""
        if not self.allows(held):
            return None
        self._used += 1
        slab = self._free.pop() if self._free else Slab(SLAB)
        self._unneeded = min(self._unneeded, len(self._free))
        return slab

    def give(self, slab: Slab) -> None:
        """Take a slab back, and let the socket that has waited longest go on."""
        self._used -= 1
        self._given += 1
        self._stretch = max(self._stretch - 1, 0)
        self._free.append(slab)
        if self._trimming is None:
            self._trim_later()
        if self._waiting and self._used <= self._room:
            self._next()

    def _trim_later(self) -> None:
        self._unneeded = len(self._free)
        if self._unneeded > _KEEP:
            self._trimming = asyncio.get_running_loop().call_later(_LINGER, self._trim)

    def _trim(self) -> None:
        """Give back those that lay there all the time, and look again later."""
        self._trimming = None
        del self._free[: max(self._unneeded - _KEEP, 0)]
        self._trim_later()

    # -- who goes on when there is memory

    def wait(self, resume: Callable[[], bool]) -> None:
        """Call `resume` when there is room again, until it says that its socket goes on."""
        self._waiting[resume] = None
        self._look_later()

    def leave(self, resume: Callable[[], bool]) -> None:
        """It need not be called any more."""
        self._waiting.pop(resume, None)

    def _next(self) -> None:
        for resume in list(self._waiting):
            self.leave(resume)
            if resume():
                break

    def _look_later(self) -> None:
        if self._waiting and self._timer is None:
            self._given = 0
            self._timer = asyncio.get_running_loop().call_later(_AGAIN, self._again)

    def _again(self) -> None:
        """Whose turn it is may have nothing to receive; or the disk is slow, and then more under way may help."""
        self._timer = None
        if not self._given:
            self._stretch = min(self._stretch + FAIR, self._limit - self._plenty)
        if self._used <= self._room + self._stretch:
            self._next()
        self._look_later()

    # -- who goes on when the others have had their turn

    @property
    def crowded(self) -> bool:
        """Whether a socket rests: who takes more than its turn lets it wait."""
        return bool(self._resting)

    def rest(self, go_on: Callable[[], None]) -> None:
        """Call `go_on` in a later turn of the loop, one of those who rest in each."""
        if not self._resting:
            asyncio.get_running_loop().call_soon(self._wake_one)
        self._resting.append(go_on)

    def _wake_one(self) -> None:
        self._resting.popleft()()
        if self._resting:
            asyncio.get_running_loop().call_soon(self._wake_one)
