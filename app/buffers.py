"""Memory for bytes that were received and not yet used: a budget that all sockets of a handler share.

What the kernel gives goes through one buffer that all sockets use in turn and that stays in the
core's cache. The payload alone is moved on into slabs, so that it lies there without the headers of
frames, on pages, as a disk can take it without another copy. Slabs are used again and again, because fresh
memory costs more than the copy into it: half of what a naive server spends on receiving goes into page faults.
"""

import asyncio
import mmap
from collections.abc import Callable
from typing import Final

from app.frames import unmask_in_place

PAGE: Final = mmap.PAGESIZE
"""Bytes to which memory and place in a file must agree for a disk to take them as they lie."""

SLAB: Final = 1024 * 1024
"""Bytes of one slab."""

INCOMING: Final = 512 * 1024
"""Bytes that one socket may take in one turn of the loop while it is alone: half of a core's second cache. Fewer make
more turns, each as dear as 100 KiB; of more a part is lost from the cache before it is moved on."""

TURN: Final = 128 * 1024
"""Bytes that it may take while others are at it too: a ping that waits behind eight uploads waits for eight turns."""

PLENTY: Final = 24 * 1024 * 1024
"""Bytes under way from where on nobody is given a second slab: more of them make nothing faster."""

_KEEP: Final = 24
"""Free slabs that are kept for the next burst, however late it comes."""

_LINGER: Final = 5.0
"""Seconds in which nobody may have needed the others, for them to be given back to the system. With 200 uploads at once
slabs come free and are needed again all the time: to have them from the system each time cost a tenth more."""

_AGAIN: Final = 0.02
"""Seconds after which the next one goes on, where the one before has found nothing to receive."""


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
    """The budget: `limit` bytes for all sockets together, at most `share` of them for one."""

    def __init__(self, limit: int, share: int = 10 * 1024 * 1024) -> None:
        self._share = max(min(limit, share) // SLAB, 1)  # slabs
        self._limit = max(limit // SLAB, 1)
        self._used = 0
        self._free: list[Slab] = []
        self._waiting: dict[Callable[[], bool], None] = {}  # in the order they came
        self._timer: asyncio.TimerHandle | None = None
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
        return held < (self._share if self._used * SLAB < PLENTY else 1)

    def shared(self, held: int) -> bool:
        """Whether others than the one who holds so many slabs have bytes under way."""
        return self._used > held

    @property
    def spent(self) -> bool:
        """Whether the whole budget is out."""
        return self._used >= self._limit

    def take(self) -> Slab | None:
        """A slab to receive into, or None when the budget is spent."""
        if self.spent:
            return None
        self._used += 1
        slab = self._free.pop() if self._free else Slab(SLAB)
        self._unneeded = min(self._unneeded, len(self._free))
        return slab

    def give(self, slab: Slab) -> None:
        """Take a slab back, and let the socket that has waited longest go on."""
        self._used -= 1
        self._free.append(slab)
        if self._trimming is None:
            self._trim_later()
        if self._waiting:
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

    def wait(self, resume: Callable[[], bool]) -> None:
        """Call `resume` once when there is room again; it says whether its socket goes on."""
        self._waiting[resume] = None

    def leave(self, resume: Callable[[], bool]) -> None:
        """It need not be called any more."""
        self._waiting.pop(resume, None)

    def _next(self) -> None:
        """Whose turn it is may have nothing to receive: as long as there is room, others are let on as well."""
        while self._waiting and not self.spent:
            resume = next(iter(self._waiting))
            del self._waiting[resume]
            if resume():
                break
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_AGAIN, self._again)

    def _again(self) -> None:
        self._timer = None
        self._next()
