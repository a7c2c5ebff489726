"""Time limits of those who wait: all that wait equally long share one timer of the loop."""

import asyncio
import contextvars
from collections.abc import Callable
from itertools import takewhile
from typing import Final, Protocol

_CONTEXT: Final = contextvars.Context()  # for the timers, which would keep the one of whoever came first


class Waiter(Protocol):
    """Somebody who waits."""

    def wake(self, *, late: bool = False) -> None:
        """`late`: the time is over."""


class Timeouts:
    """Time limits, in seconds. A timer for each socket would weigh 480 bytes, and cost 3 µs with every message."""

    def __init__(self) -> None:
        self._queues: dict[float, _Queue] = {}  # by their limit; those in which somebody waits

    def begin(self, waiter: Waiter, seconds: float) -> None:
        """Its time begins now, also where it waits already."""
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = _Queue(seconds, self._queues.pop)
        queue.put(waiter)

    def end(self, waiter: Waiter, seconds: float) -> None:
        """It waits no more."""
        if (queue := self._queues.get(seconds)) is not None:
            queue.remove(waiter)


class _Queue:
    """Those that wait equally long, so in the order in which their time ends; `drop` is called when there are none."""

    def __init__(self, seconds: float, drop: Callable[[float], object]) -> None:
        self._seconds = seconds
        self._drop = drop
        self._loop = asyncio.get_running_loop()
        self._deadlines: dict[Waiter, float] = {}  # the loop's times
        self._set_timer(self._loop.time() + seconds)

    def put(self, waiter: Waiter) -> None:
        """To the end of the queue. The timer stays, and looks again when it fires."""
        self._deadlines.pop(waiter, None)
        self._deadlines[waiter] = self._loop.time() + self._seconds

    def remove(self, waiter: Waiter) -> None:
        """Wherever it is, if it is there."""
        if self._deadlines.pop(waiter, None) is not None and not self._deadlines:
            self._timer.cancel()
            self._drop(self._seconds)

    def _set_timer(self, when: float) -> None:
        self._timer = self._loop.call_at(when, self._on_timer, context=_CONTEXT)

    def _on_timer(self) -> None:
        now = self._loop.time()
        late = [waiter for waiter, deadline in takewhile(lambda item: item[1] <= now, self._deadlines.items())]
        for waiter in late:
            del self._deadlines[waiter]
            waiter.wake(late=True)
        if self._deadlines:
            self._set_timer(next(iter(self._deadlines.values())))
        else:
            self._drop(self._seconds)
