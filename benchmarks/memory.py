"""Guards against a virtual machine's noise.

Such a machine gives free memory back to its host after about two seconds, and whoever needs it next pays
more than one CPU second for each GiB to have it again: results differ by a factor of two for no reason of the
server's. So before each run memory is touched, and given free at the moment it is needed.
"""

import contextlib
import mmap
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy

AHEAD: Final = 2**30  # bytes kept free and warm before what is written
SPARE: Final = 2**28  # bytes besides, for the server itself
PAGE: Final = mmap.PAGESIZE


class Reserve:
    """Touched memory for a run that writes `size` bytes, let go as the run needs it.

    All of it at once would be given back to the host before a long run comes to use it.
    """

    def __init__(self, size: int) -> None:
        self._size = (min(size + SPARE, available() // 2) // PAGE) * PAGE
        self._free = 0
        # Private: of a shared mapping the pages would stay.
        self._map = mmap.mmap(-1, self._size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        pages = numpy.frombuffer(self._map, dtype=numpy.uint8)
        pages[::PAGE] = 1
        del pages

    def __enter__(self) -> Self:
        self.release(0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._map.close()

    def release(self, used: int) -> None:
        """So many bytes were written: keep that much, and a little ahead of it, free."""
        until = min(used + AHEAD, self._size) // PAGE * PAGE
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
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
