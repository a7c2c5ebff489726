"""Memory for bytes that were received and not yet used: a budget that all sockets of a handler share.

What the kernel gives goes through one buffer that all sockets use in turn and that stays in the
core's cache. The payload alone is moved on into slabs, so that it lies there without the headers of
frames, on pages, as a disk can take it without another copy. Slabs are used again and again, because fresh
memory costs more than the copy into it: half of what a naive server spends on receiving goes into page faults.

**Who is given a slab.** The budget has a soft and a hard limit. Below the soft limit everybody may fill a burst of
slabs; at the soft limit sockets take turns: who holds none waits in a queue, and goes on when enough was given
back. Where nobody gives anything back the disk is slow, and then more under way may help: step by step the soft
limit is overcommitted, up to the hard limit. Below the hard limit lies a reserve for sockets that hold nothing and
whose handler waits for bytes: it will use them at once. A socket whose handler has not asked for bytes for a while
is given one slab at the most. Where even the reserve is held by those who do not give anything back, whoever waits
for bytes is given a few KiB beside the budget, again and again: slower, but nobody stands still.

```mermaid
flowchart LR
    free[free slabs] -->|take| filling
    filling -->|full, or the handler asks| chunks[chunks that the handler takes]
    chunks -->|release| free
    filling -. no slab: the socket is not read .-> queue
    queue -. enough was given back .-> filling
```
"""

import asyncio
import mmap
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

BURST: Final = 4
"""Slabs that a socket may fill in one go though others wait for memory. 200 uploads that fill one each, all at the same
time, need half as much again of the processor: each slab is a visit to the disk of its own."""

SOFT_LIMIT: Final = 24 * 1024 * 1024
"""Bytes under way from where on sockets take turns: more of them make nothing faster, unless whoever uses them is
slow."""

_RESERVE: Final = 8
"""Of so many slabs one is for sockets that hold none and whose handler waits for bytes."""

_KEEP: Final = 24
"""Free slabs that are kept for the next burst, however late it comes."""

_LINGER: Final = 5.0
"""Seconds in which nobody may have needed the others, for them to be given back to the system. With 200 uploads at once
slabs come free and are needed again all the time: to have them from the system each time cost a tenth more."""

_AGAIN: Final = 0.02
"""Seconds after which the next waiter goes on, where the one before made no progress, or nobody gave anything back."""


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

    def __init__(self, limit: int, share: int = 13 * 1024 * 1024) -> None:
        self._limit = max(limit // SLAB, 1)  # slabs, as in all that follows
        self._unreserved = max(self._limit - max(self._limit // _RESERVE, 1), 1)
        self._share = max(min(share // SLAB, self._unreserved), 1)
        self._soft_limit = min(SOFT_LIMIT // SLAB, self._limit)
        self._resume_below = max(self._soft_limit - BURST, self._soft_limit // 2)
        self._overcommitted = 0  # beyond the soft limit, because those who use them are slow
        self._used = 0
        self._free: list[Slab] = []
        self._waiting: dict[Callable[[], bool], None] = {}  # in the order they came
        self._timer: asyncio.TimerHandle | None = None
        self._given = 0  # slabs since the timer was set
        self.stuck = False
        """Whether all is out, and nobody has given anything back for a while."""
        self._trimming: asyncio.TimerHandle | None = None
        self._unneeded = 0  # so many of the free slabs were never needed since the last look
        self.incoming = memoryview(mmap.mmap(-1, INCOMING))
        """Where each socket receives in its turn, and has taken what it wants before the next one does."""

    @property
    def used(self) -> int:
        """Bytes of the slabs that are out."""
        return self._used * SLAB

    def allows(self, held: int, *, wanted: bool = False, neglected: bool = False) -> bool:
        """Whether a socket that holds so many slabs may have another.

        `wanted`: its handler waits for bytes. `neglected`: its handler has not asked for any for a while.
        """
        limit = self._limit if wanted and not held else self._unreserved
        if self._used >= limit or held >= (1 if neglected else self._share):
            return False
        if 0 < held < BURST:
            return True
        return self._used < self._soft_limit + self._overcommitted and (not held or not self._waiting)

    def take(self) -> Slab:
        """A slab, for a socket that was allowed one."""
        self._used += 1
        slab = self._free.pop() if self._free else Slab(SLAB)
        self._unneeded = min(self._unneeded, len(self._free))
        return slab

    def give(self, slab: Slab) -> None:
        """Take a slab back, and let the socket that has waited longest go on."""
        self._used -= 1
        self._given += 1
        self.stuck = False
        self._overcommitted = max(self._overcommitted - 1, 0)
        self._free.append(slab)
        if self._trimming is None:
            self._trim_later()
        if self._waiting and (self._used <= self._resume_below or self._used >= self._unreserved):
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
            if resume() and not self.stuck:
                break

    def _look_later(self) -> None:
        if self._waiting and self._timer is None:
            self._given = 0
            self._timer = asyncio.get_running_loop().call_later(_AGAIN, self._again)

    def _again(self) -> None:
        """Wake the next waiter if the one before made no progress; allow more slabs where the disk is slow."""
        self._timer = None
        if not self._given:
            self._overcommitted = min(self._overcommitted + BURST, self._limit - self._soft_limit)
            self.stuck = self._used >= self._unreserved
        self._next()
        self._look_later()
