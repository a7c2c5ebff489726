"""Whether an upload comes fast enough: so many bytes a second, over a minute in which its client is waited for."""

import time
from typing import Final

PERIOD: Final = 60.0
"""Seconds over which it is judged."""

_LONGEST: Final = 10.0  # seconds that one look may count for: while the process stood still nobody was waited for


class Pace:
    """Judges one upload, from the moment a socket takes it."""

    def __init__(self, least: int, offset: int) -> None:
        self._least = least  # bytes a second
        self._begun = offset  # where the upload was when the period began
        self._seconds = 0.0  # of the period so far
        self._looked = time.monotonic()

    def too_slow(self, offset: int, *, waiting: bool) -> bool:
        """Look at it. `waiting`: nothing but its client is waited for."""
        now = time.monotonic()
        elapsed, self._looked = min(now - self._looked, _LONGEST), now
        if waiting:
            self._seconds += elapsed
        self._begun = min(self._begun, offset)  # it may have begun anew
        if self._seconds < PERIOD:
            return False
        slow = offset - self._begun < self._least * self._seconds
        self._begun, self._seconds = offset, 0.0
        return slow
