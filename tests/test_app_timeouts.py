"""Time limits that all who wait equally long share: each is told in time, and nothing is kept of who is gone."""

import asyncio
import gc
import weakref

from jackfield.app.socket.timeouts import Timeouts


class Waiter:
    """Is told that it is late, and not before it is `due`, the loop's time."""

    def __init__(self) -> None:
        self.late = asyncio.Event()
        self.early = False
        self.due = 0.0

    def begin(self, timeouts: Timeouts, seconds: float) -> None:
        """Its time begins now."""
        self.due = asyncio.get_running_loop().time() + seconds
        timeouts.begin(self, seconds)

    def wake(self, *, late: bool = False) -> None:
        """See `timeouts.Waiter`."""
        assert late
        self.early |= asyncio.get_running_loop().time() < self.due
        self.late.set()


async def test_each_is_told_when_its_own_time_is_over() -> None:
    """However they come, with the same limit or another: nobody before its time, and nobody is forgotten."""
    timeouts, waiters = Timeouts(), []
    for number in range(60):
        waiters.append(waiter := Waiter())
        waiter.begin(timeouts, (0.05, 0.1, 0.2)[number % 3])
        await asyncio.sleep(0.002)
    for waiter in waiters:
        await waiter.late.wait()
        assert not waiter.early
    assert not timeouts._queues


async def test_who_begins_anew_is_told_later() -> None:
    """Time begins again with each message, and of one that waits with another limit the old one counts no more."""
    timeouts, waiter = Timeouts(), Waiter()
    for number in range(40):
        limit = (0.05, 0.1)[number // 10 % 2]
        waiter.begin(timeouts, limit)
        await asyncio.sleep(0.01)
        if number % 10 == 9:
            timeouts.end(waiter, limit)
    waiter.late.clear()
    waiter.begin(timeouts, 0.05)
    await waiter.late.wait()
    assert not waiter.early
    assert not timeouts._queues


async def test_nothing_is_kept_of_who_waits_no_more() -> None:
    """A limit of an hour does not hold whoever has ended, and a new one with every message leaves no timers behind."""
    timeouts = Timeouts()
    waiter = Waiter()
    for number in range(1000):
        timeouts.begin(waiter, 3600 + number)
        timeouts.end(waiter, 3600 + number)
        timeouts.end(waiter, 3600 + number)
    assert not timeouts._queues
    kept = weakref.ref(waiter)
    del waiter
    gc.collect()
    assert kept() is None
