"""The outbox: each event of a store is told to the receivers until they have taken it, or it is given up."""

import asyncio
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, Protocol, TypeVar

from jackfield.app.handler import get_logger, supervised
from jackfield.handlers.upload.hooks.arrival import arrival
from jackfield.handlers.upload.hooks.metrics import EventMetrics
from jackfield.handlers.upload.hooks.receivers import NotDelivered, Receiver
from jackfield.handlers.upload.store.events import Event, Events
from jackfield.handlers.upload.store.records import Stored

_FIRST_PAUSE: Final = 1.0  # seconds, after an attempt that failed; each is twice as long as the one before
_LONGEST: Final = 300.0  # seconds between two attempts for one event
_LONGEST_DOWN: Final = 5.0  # seconds between two attempts while the receiver takes nothing
AGAIN: Final = 1.0  # seconds after which it goes on, should a fault of ours have ended it
_LEAVE: Final = 5.0  # seconds for what is cancelled to end
LOOK: Final = 2.0  # seconds between two looks whether an operator wants some to be told again

log = get_logger()

_P = ParamSpec("_P")
_T = TypeVar("_T")


class EventStore(Protocol):
    """A store, as its outbox sees it."""

    directory: Path
    events: Events

    async def run(self, function: Callable[_P, _T], /, *arguments: _P.args, **options: _P.kwargs) -> _T:
        """Call it in a thread of the store."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`give_up` is the age in seconds at which the attempt that fails is the last one."""

    give_up: float
    parallel: int


class Outbox:
    """Tells of the events of one store, `parallel` of them at once.

    An event that failed waits for longer and longer. Where nothing but failures has come for as many times as may be
    told at once, the receiver is taken to be down: then one event at a time is tried, every few seconds, so that
    100,000 that wait cost no more than one. The first that is taken lets all others go.
    """

    def __init__(self, store: EventStore, receivers: Sequence[Receiver], limits: Limits, metrics: EventMetrics) -> None:
        self._store = store
        self._receivers = receivers
        self._limits = limits
        self._metrics = metrics
        self._fresh: deque[Event] = deque()  # in the order they came
        self._again: list[tuple[float, int, Event]] = []  # a heap, by the time of the loop at which each is due
        self._numbers = itertools.count()  # so that events are never compared
        self._running: dict[asyncio.Task[None], Event] = {}
        self._failures = 0  # since the receiver took something
        self._down_until = 0.0  # by the time of the loop
        self._retry_turn = False  # those that failed and those that are new take turns
        self._changed = asyncio.Event()
        self._stopping = False
        metrics.waiting.set_function(self.__len__)

    def __len__(self) -> int:
        return len(self._store.events.arrived) + len(self._fresh) + len(self._again) + len(self._running)

    def poke(self) -> None:
        """There may be new events."""
        self._changed.set()

    async def run(self) -> None:
        """Tell, until it is stopped."""
        while not self._stopping:
            self._changed.clear()
            self._take_arrived()
            while (event := self._next()) is not None:
                self._begin(event)
            await self._wait()

    async def look(self) -> None:
        """Look whether an operator wants some to be told again."""
        events = self._store.events
        if await self._store.run(lambda: events.retried):
            self._take_arrived()
            known = [event.key for event in self._all() if event.group is None]
            await self._store.run(events.add_retried, known)
            self.poke()

    async def stop(self, limit: float) -> None:
        """Begin no more; what is being told has `limit` seconds to end, and is told again after the next start."""
        self._stopping = True
        self.poke()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=limit)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_LEAVE)

    def _all(self) -> list[Event]:
        return [*self._fresh, *(event for *_, event in self._again), *self._running.values()]

    # -- which is next

    def _take_arrived(self) -> None:
        arrived = self._store.events.arrived
        while arrived:
            self._fresh.append(arrived.popleft())

    def _next(self) -> Event | None:
        """An event that may be told now."""
        now = asyncio.get_running_loop().time()
        if self._stopping or len(self._running) >= self._at_once or now < self._down_until:
            return None
        due = bool(self._again) and self._again[0][0] <= now
        if due and (self._retry_turn or not self._fresh):
            self._retry_turn = False
            return heapq.heappop(self._again)[2]
        self._retry_turn = True
        return self._fresh.popleft() if self._fresh else None

    @property
    def _at_once(self) -> int:
        return 1 if self._failures >= self._limits.parallel else self._limits.parallel

    async def _wait(self) -> None:
        """Until something has changed, or an event is due."""
        now, until = asyncio.get_running_loop().time(), None
        if len(self._running) < self._at_once:
            if self._fresh:
                until = self._down_until
            elif self._again:
                until = max(self._down_until, self._again[0][0])
        try:
            async with asyncio.timeout(None if until is None else max(until - now, 0)):
                await self._changed.wait()
        except TimeoutError:
            pass

    # -- telling

    def _begin(self, event: Event) -> None:
        task = asyncio.create_task(self._supervised(event))
        self._running[task] = event
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self.poke()

    async def _supervised(self, event: Event) -> None:
        """A fault of ours is told, and the event waits for its next attempt."""
        if not await supervised("events", partial(self._attempt, event)):
            self._put_off(event)

    async def _attempt(self, event: Event) -> None:
        try:
            found = await self._store.run(self._store.events.read, event)
        except (OSError, ValueError) as error:
            event.attempts += 1
            log.warning("event.unreadable", upload=event.key[:12], problem=str(error))
            self._put_off(event)
            return
        if found is None:
            return  # an operator has taken it away
        stored, age = found
        try:
            if not event.delivered:
                await self._tell(event, stored)
        except NotDelivered as refusal:
            await self._not_delivered(event, stored, refusal, over=refusal.final or age >= self._limits.give_up)
        else:
            await self._delivered(event)

    async def _tell(self, event: Event, stored: Stored) -> None:
        event.attempts += 1
        told = arrival(event.key, stored, str(self._store.directory))
        for receiver in self._receivers:
            await receiver.tell(told)

    async def _delivered(self, event: Event) -> None:
        if not event.delivered:
            event.delivered = True
            self._failures, self._down_until = 0, 0.0
            self._metrics.delivered.inc()
        if await self._write_down(event, partial(self._store.events.told, event)):
            log.info("event.delivered", upload=event.key[:12], attempts=event.attempts)

    async def _not_delivered(self, event: Event, stored: Stored, refusal: NotDelivered, *, over: bool) -> None:
        if not over:
            self._failed(event, refusal.problem)
            return
        if refusal.final:
            self._failures, self._down_until = 0, 0.0
        give_up = partial(self._store.events.give_up, event, stored, refusal.problem)
        if await self._write_down(event, give_up):
            self._metrics.failed.inc()
            log.warning(
                "event.given_up", upload=event.key[:12], name=stored.receipt.name, problem=refusal.problem,
                attempts=event.attempts,
            )  # fmt: skip

    async def _write_down(self, event: Event, change: Callable[[], None]) -> bool:
        """Where the disk does not take it, it waits for another attempt, of writing alone if it was delivered."""
        try:
            await self._store.run(change)
        except OSError as error:
            log.warning("event.not_written", upload=event.key[:12], problem=str(error))
            event.attempts += 1
            self._put_off(event)
            return False
        return True

    def _failed(self, event: Event, problem: str) -> None:
        self._failures += 1
        down = self._failures - self._limits.parallel + 1
        if down > 0:
            self._down_until = asyncio.get_running_loop().time() + pause(down, _LONGEST_DOWN)
        log.warning("event.not_delivered", upload=event.key[:12], problem=problem, attempts=event.attempts)
        self._put_off(event)

    def _put_off(self, event: Event) -> None:
        due = asyncio.get_running_loop().time() + pause(max(event.attempts, 1), _LONGEST)
        heapq.heappush(self._again, (due, next(self._numbers), event))


def pause(failures: int, longest: float) -> float:
    """Seconds to wait after so many failures in a row, at least one; a part of it is chance."""
    return min(_FIRST_PAUSE * 2.0 ** min(failures - 1, 30), longest) * random.uniform(0.5, 1.0)  # noqa: S311
