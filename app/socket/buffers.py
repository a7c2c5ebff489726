"""Memory for bytes that were received and not yet used: a budget that all sockets of a handler share.

All sockets receive into one buffer in turn, so that it stays in the core's cache. The payload alone is copied into
slabs: there it lies without frame headers, aligned to pages, so that a disk can take it without another copy. Slabs are
reused, because fresh memory costs more than the copy into it: half of what a naive server spends on receiving is page
faults.

**Allocation.** The budget has a soft and a hard limit. Below the soft limit every socket may fill a burst of slabs. At
the soft limit sockets take turns: one that holds no slab waits in a queue until enough slabs are released. If none are
released the disk is slow, and more slabs in flight may help: step by step the soft limit is overcommitted, up to the
hard limit. The last slabs below the hard limit are reserved for sockets that hold none and whose handler waits for
bytes. A socket whose handler has not asked for bytes for a while gets one slab at most. If the reserve is exhausted
too, a socket whose handler waits gets a few KiB beside the budget at a time: slow, but never standing still.

```mermaid
flowchart LR
    free[free slabs] -->|take| filling
    filling -->|full, or the handler asks| chunks[chunks that the handler takes]
    chunks -->|release| free
    filling -. no slab: the socket is not read .-> queue
    queue -. enough slabs were released .-> filling
```
"""

import asyncio
import mmap
from collections.abc import Callable
from typing import Final

from jackfield.app.socket.frames import unmask_in_place

PAGE: Final = mmap.PAGESIZE
"""Bytes of a page: O_DIRECT needs memory and file offset aligned to it."""

SLAB: Final = 1024 * 1024
"""Bytes of one slab."""

INCOMING: Final = 512 * 1024
"""Bytes that are received at once: half of a core's second cache. Fewer make more calls, each as dear as 100 KiB; of
more a part is lost from the cache before it is moved on."""

BURST: Final = 4
"""Slabs that a socket may fill in one go though others wait for memory. 200 uploads that fill one each, all at the same
time, need half as much again of the processor: each slab is a visit to the disk of its own."""

SOFT_LIMIT: Final = 24 * 1024 * 1024
"""Bytes in flight above which sockets take turns: more make nothing faster, unless the disk is slow."""

_RESERVE: Final = 8
"""One in so many slabs is reserved for sockets that hold none and whose handler waits for bytes."""

_POOLED: Final = 24
"""Free slabs that are kept for the next burst, however late it comes."""

_TRIM_DELAY: Final = 5.0
"""Seconds that other free slabs must be unused before their memory is returned to the system. With 200 uploads at once
slabs are released and needed again all the time: allocating them anew each time cost a tenth more."""

_RETRY: Final = 0.02
"""Seconds after which the next waiter is woken although no slab was released."""


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
        self._overcommitted = 0  # slabs allowed beyond the soft limit, because the disk is slow
        self._used = 0
        self._free: list[Slab] = []
        self._waiting: dict[Callable[[], bool], None] = {}  # in the order they came
        self._timer: asyncio.TimerHandle | None = None
        self._given = 0  # slabs since the timer was set
        self.exhausted = False
        """Whether all slabs but the reserve are in use, and none was released for `_RETRY` seconds."""
        self._trimming: asyncio.TimerHandle | None = None
        self._unused = 0  # free slabs that were not needed since the last trim
        self.incoming = memoryview(mmap.mmap(-1, INCOMING))
        """The receive buffer: each socket empties it before the next one receives."""

    @property
    def used(self) -> int:
        """Bytes of the slabs in use."""
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
        self._unused = min(self._unused, len(self._free))
        return slab

    def give(self, slab: Slab) -> None:
        """Take a slab back, and let the socket that has waited longest go on."""
        self._used -= 1
        self._given += 1
        self.exhausted = False
        self._overcommitted = max(self._overcommitted - 1, 0)
        self._free.append(slab)
        if self._trimming is None:
            self._trim_later()
        if self._waiting and (self._used <= self._resume_below or self._used >= self._unreserved):
            self._wake_next()

    def _trim_later(self) -> None:
        self._unused = len(self._free)
        if self._unused > _POOLED:
            self._trimming = asyncio.get_running_loop().call_later(_TRIM_DELAY, self._trim)

    def _trim(self) -> None:
        """Free the slabs that were never needed since the last trim."""
        self._trimming = None
        del self._free[: max(self._unused - _POOLED, 0)]
        self._trim_later()

    # -- the queue of sockets that wait for memory

    def wait(self, resume: Callable[[], bool]) -> None:
        """Call `resume` when there is memory again, until it returns True: its socket is read again."""
        self._waiting[resume] = None
        self._set_timer()

    def leave(self, resume: Callable[[], bool]) -> None:
        """Remove it from the queue."""
        self._waiting.pop(resume, None)

    def _wake_next(self) -> None:
        for resume in list(self._waiting):
            self.leave(resume)
            if resume() and not self.exhausted:
                break

    def _set_timer(self) -> None:
        if self._waiting and self._timer is None:
            self._given = 0
            self._timer = asyncio.get_running_loop().call_later(_RETRY, self._on_timer)

    def _on_timer(self) -> None:
        """Wake the next waiter if the one before made no progress; allow more slabs where the disk is slow."""
        self._timer = None
        if not self._given:
            self._overcommitted = min(self._overcommitted + BURST, self._limit - self._soft_limit)
            self.exhausted = self._used >= self._unreserved
        self._wake_next()
        self._set_timer()
