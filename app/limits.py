"""Rate and connection limits for each caller. Pure: the clock is handed in."""

import math
from collections import Counter
from collections.abc import Callable

BURST = 10.0
"""Seconds' worth of requests that may come at once."""

_ROUNDING = 1e-9


class Rate:
    """A token bucket for each caller: `per_second` requests, with a burst of `BURST` seconds' worth.

    A caller is remembered until its bucket is full again, so that memory is bounded by those who came in the last
    `BURST` seconds.
    """

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._size = max(per_second * BURST, 1.0)
        self._clock = clock
        self._empty_at: dict[str, float] = {}  # the moment from which on the bucket has been filling
        self._swept = clock()

    def __len__(self) -> int:
        return len(self._empty_at)

    def take(self, who: str) -> float:
        """Take one request out of the caller's bucket: 0, or the seconds after which there is one again."""
        now = self._clock()
        if now - self._swept > BURST:
            self._sweep(now)
        filling_since = max(self._empty_at.get(who, -math.inf), now - self._size / self._per_second)
        there = (now - filling_since) * self._per_second
        if there < 1.0 - _ROUNDING:
            return (1.0 - there) / self._per_second
        self._empty_at[who] = filling_since + 1.0 / self._per_second
        return 0.0

    def _sweep(self, now: float) -> None:
        self._swept = now
        full = now - self._size / self._per_second
        self._empty_at = {who: since for who, since in self._empty_at.items() if since > full}


class Count:
    """How many of something each caller has, at most `limit`; None is no limit."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._held: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._held)

    def take(self, who: str) -> bool:
        """Count one more, where the limit allows it."""
        if self.limit is not None and self._held.get(who, 0) >= self.limit:
            return False
        self._held[who] += 1
        return True

    def give(self, who: str) -> None:
        """One fewer: each that was taken is given back once."""
        self._held[who] -= 1
        if self._held[who] <= 0:
            del self._held[who]
