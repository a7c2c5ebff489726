"""File descriptors: raises the soft limit, keeps some for files and plain HTTP, and logs when none are left."""

import contextlib
import errno
import os
import resource
import sys
from typing import Final

from jackfield.app.logger import get_logger

log = get_logger()

_RESERVE: Final = 32  # descriptors for the process itself and for plain HTTP requests


def limit() -> int:
    """How many descriptors there may be."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def raise_limit() -> int:
    """Raise the soft limit to the hard one; how many descriptors there may be now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft


def sockets_within(limit: int, wanted: int) -> int:
    """How many of the wanted sockets fit below the limit; logs a warning if not all do.

    A quarter is kept for files and for plain HTTP, so that `/healthz` is answered when no more sockets are let in.
    """
    room = max(1, limit - limit // 4 - _RESERVE) if limit != resource.RLIM_INFINITY else wanted
    if room < wanted:
        log.warning("descriptors.low", limit=limit, max_connections=room, wanted=wanted)
    return min(room, wanted)


def connections_within(limit: int) -> int:
    """How many TCP connections, sockets among them, may be open below the limit: more than sockets, so that whoever is
    refused one is told so, and fewer than descriptors, so that there are some for files."""
    return max(1, limit - limit // 8 - _RESERVE) if limit != resource.RLIM_INFINITY else sys.maxsize


class Exhaustion:
    """Notices that no descriptors are left: the event loop then drops new connections without a log line."""

    def __init__(self) -> None:
        self._logged = False  # whether the present shortage is logged

    async def look(self) -> None:
        """Open one. If there is none, log it once, until there are some again."""
        problem = _problem()
        if problem is not None and not self._logged:
            log.error("descriptors.exhausted", problem=problem)
        self._logged = problem is not None


def _problem() -> str | None:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        return os.strerror(error.errno)
    return None
