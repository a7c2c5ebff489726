"""The outbox by itself: how often it tries, what it tries next, and what a hundred thousand events cost."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from jackfield.handlers.upload.hooks import outbox as module
from jackfield.handlers.upload.hooks.arrival import Arrival
from jackfield.handlers.upload.hooks.metrics import EventMetrics
from jackfield.handlers.upload.hooks.outbox import Limits, Outbox, pause
from jackfield.handlers.upload.hooks.receivers import NotDelivered
from jackfield.handlers.upload.store.directory import DirectoryStore
from jackfield.handlers.upload.store.events import Event
from jackfield.handlers.upload.wire.messages import Promise
from tests.support.outsider import eventually

DAY = 86400.0


class Receiver:
    """Takes what `takes` says; keeps all names that it was told, and how many at the same time."""

    def __init__(self, takes: Callable[[str], bool]) -> None:
        self.takes = takes
        self.told: list[str] = []
        self.now = self.most = 0

    async def tell(self, arrival: Arrival) -> None:
        """See `Receiver`."""
        self.told.append(arrival.name)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        if not self.takes(arrival.name):
            raise NotDelivered("no")


@asynccontextmanager
async def telling(folder: Path, receiver: Receiver, names: list[str]) -> AsyncIterator[Outbox]:
    """An outbox that has these to tell of."""
    store = DirectoryStore(folder, "rename", DAY, DAY, announces=True)
    await store.open()
    outbox = Outbox(store, [receiver], Limits(DAY, 4), EventMetrics("upload", CollectorRegistry()))
    try:
        parts = [store.create_lazily(f"{number:064x}", Promise(name)) for number, name in enumerate(names)]
        for part in parts:
            await part.attach()
            await part.write([memoryview(b"data")], 4)
        await asyncio.gather(*(part.publish([]) for part in parts))
        running = asyncio.create_task(outbox.run())
        try:
            yield outbox
        finally:
            await outbox.stop(0)
            running.cancel()
            await asyncio.wait([running])
    finally:
        await store.close()


async def none_left(outbox: Outbox) -> None:
    """Wait until all is told."""

    async def empty() -> bool:
        return not len(outbox)

    await eventually(empty, 60)


def test_pauses_grow_up_to_a_limit() -> None:
    """Each is up to twice the one before; a part of it is chance, so that not all come back at once."""
    for failures, most in ((1, 1.0), (2, 2.0), (5, 16.0), (9, 60.0), (10**6, 60.0)):
        drawn = [pause(failures, 60.0) for _ in range(50)]
        assert most / 2 <= min(drawn) < max(drawn) <= most


async def test_a_receiver_that_is_down_is_tried_with_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 200 that wait a few are tried; the first that is taken lets all others go, four at a time."""
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.05)
    up = asyncio.Event()
    receiver = Receiver(lambda _: up.is_set())
    names = [f"{number}.bin" for number in range(200)]
    async with telling(tmp_path, receiver, names) as outbox:

        async def tried() -> bool:
            return len(receiver.told) >= 7

        await eventually(tried, 60)
        assert len(receiver.told) < 30
        up.set()
        await none_left(outbox)
        assert set(receiver.told) == set(names)
        assert receiver.most == 4


async def test_one_that_always_fails_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten that are never taken wait longer and longer, while all others are told."""
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(module, "_LONGEST_DOWN", 0.1)
    receiver = Receiver(lambda name: not name.startswith("bad"))
    names = [f"{'bad' if number < 10 else 'good'}-{number}" for number in range(120)]
    async with telling(tmp_path, receiver, names) as outbox:

        async def all_others() -> bool:
            return len(outbox) == 10

        await eventually(all_others, 60)
        assert {name for name in receiver.told if name.startswith("good")} == set(names[10:])


async def test_a_fault_of_ours_is_told_and_the_event_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody foresaw ends one attempt, and not the outbox."""
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.05)
    faults = iter([True, False])

    class Broken(Receiver):
        async def tell(self, arrival: Arrival) -> None:
            if next(faults, False):
                raise RuntimeError("a fault of ours")
            await super().tell(arrival)

    receiver = Broken(lambda _: True)
    async with telling(tmp_path, receiver, ["a"]) as outbox:
        await none_left(outbox)
        assert receiver.told == ["a"]


async def test_a_hundred_thousand_events_cost_little_memory(tmp_path: Path) -> None:
    """Each is a key and a few numbers: less than 400 bytes, whether it waits for its first attempt or for another."""
    store: Any = DirectoryStore(tmp_path, "rename", DAY, DAY, announces=True)
    await store.open()
    try:
        tracemalloc.start()
        outbox = Outbox(store, [], Limits(DAY, 4), EventMetrics("upload", CollectorRegistry()))
        store.events.arrived.extend(Event(f"{number:064x}") for number in range(100_000))
        outbox._take_arrived()
        for event in list(outbox._fresh)[:50_000]:
            outbox._put_off(event)
        assert tracemalloc.get_traced_memory()[0] < 400 * 100_000
    finally:
        tracemalloc.stop()
        await store.close()
