"""Guards against a virtual machine's noise.

Such a machine gives free memory back to its host after about two seconds, and whoever needs it next pays
more than one CPU second for each GiB to have it again: results differ by a factor of two for no reason of the
server's. So memory is held between the runs, and let go at the moment a run needs it.
"""

import contextlib
import mmap
import os
import resource
import time
from pathlib import Path
from typing import Final

import numpy

AHEAD: Final = 2**28  # bytes kept free and warm before what is written
SPARE: Final = 2**28  # bytes besides, for the server itself
HUGE: Final = 2**21


class Reserve:
    """Memory that is touched and held, and let go little by little.

    All of it at once would be given back to the host before a long run comes to use it. It is held in
    huge pages: the cache of files takes its memory in large blocks, and next to never meets the small
    pages that others have freed (0.2 CPU seconds a GiB for a write after huge pages, 1.5 after small ones).
    """

    def __init__(self) -> None:
        self._size = self._free = 0
        self._map = mmap.mmap(-1, HUGE)

    def hold(self, size: int) -> None:
        """Have enough, touched, for a run that writes `size` bytes."""
        wanted = min(size + SPARE, self._size - self._free + available() // 2) // HUGE * HUGE
        if wanted > self._size:
            self._map.close()
            # Private: of a shared mapping the pages would stay.
            self._map = mmap.mmap(-1, wanted, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            with contextlib.suppress(OSError):  # a kernel without huge pages
                self._map.madvise(mmap.MADV_HUGEPAGE)
            self._size = self._free = wanted
        pages = numpy.frombuffer(self._map, dtype=numpy.uint8)
        pages[: self._free : mmap.PAGESIZE] = 1
        self._free = 0

    def release(self, used: int) -> None:
        """So many bytes were written by now: keep that much, and a little ahead of it, free."""
        until = min(used + AHEAD, self._size) // HUGE * HUGE
        if until > self._free:
            self._map.madvise(mmap.MADV_DONTNEED, self._free, until - self._free)
            self._free = until


def available() -> int:
    """Bytes that the machine could still give."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 2**32


def settle() -> None:
    """Let the disk finish what others began, so that no run pays for another's writes."""
    os.sync()
    time.sleep(0.05)


def raise_descriptor_limit() -> None:
    """Thousands of sockets need as many descriptors, here and in the servers, which inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
