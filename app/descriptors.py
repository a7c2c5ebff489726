"""File descriptors: as many as the system gives, some kept for what is no socket, and a word when they run out."""

import contextlib
import errno
import os
import resource
from typing import Final

import structlog

log = structlog.get_logger()

_RESERVE: Final = 32  # for what the process itself has open, and for requests of plain HTTP


def raise_limit() -> int:
    """Raise the soft limit to the hard one; how many descriptors there may be now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft


def sockets_within(limit: int, wanted: int) -> int:
    """How many of the wanted sockets fit below the limit; it is said where these are not all.

    A quarter is kept for files and for plain HTTP, so that `/healthz` is answered when no more sockets are let in.
    """
    room = max(1, limit - limit // 4 - _RESERVE) if limit != resource.RLIM_INFINITY else wanted
    if room < wanted:
        log.warning("descriptors.low", limit=limit, max_connections=room, wanted=wanted)
    return min(room, wanted)


class Exhaustion:
    """Notices that there are no descriptors left: the loop drops new connections then, and says nothing."""

    def __init__(self) -> None:
        self._told = False  # since it began

    async def look(self) -> None:
        """Ask for one; where there is none, it is said once until there are some again."""
        problem = _problem()
        if problem is not None and not self._told:
            log.error("descriptors.exhausted", problem=problem)
        self._told = problem is not None


def _problem() -> str | None:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        return os.strerror(error.errno)
    return None
