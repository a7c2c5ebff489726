"""Any call to the disk may fail, once or from then on: after each the store tells the truth, and can go on.

Every operation runs with its first call failing, then with its second, and so on until none fails.
"""

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from jackfield.app.errors import Failure
from jackfield.handlers.upload.store.contract import Part
from jackfield.handlers.upload.store.directory import DirectoryStore
from jackfield.handlers.upload.store.publish import Policy
from jackfield.handlers.upload.store.small import BUDGET
from jackfield.handlers.upload.wire.messages import Promise, Receipt
from tests.support.failing_disk import ERRORS, FailingDisk
from tests.support.outsider import content

pytestmark = pytest.mark.slow

DATA = content(160_000)
FIRST = 60_000  # bytes that were there before the operation; a part made lazily has them in memory
NAME = "d/a.txt"
OLD = b"old"  # what stands under the name before, where a policy makes something of it
DAY = 86400.0

Mode = str  # "once": one call fails; "on": all from that one on
MODES = ["once", "on"]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FailingDisk:
    """The disk of all stores in the test."""
    return FailingDisk(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where the machine has a place for that: there are hundreds of directories to be made."""
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else tmp_path))
    yield place
    shutil.rmtree(place)


@dataclass
class Case:
    """A store with one upload on its way, and what its client knows."""

    directory: Path
    disk: FailingDisk
    policy: Policy
    lazily: bool
    key: str = ""
    sent: int = 0  # bytes that were given to `write`
    written: int = 0  # bytes whose write did not fail
    told: int = 0  # the highest `durable` that a sync has told of
    descriptors: int = 0
    receipt: Receipt | None = None
    old: dict[str, bytes] = field(default_factory=dict)

    async def begin(self, first: int = FIRST) -> None:
        """A store, and a part that has its first bytes."""
        self.descriptors = descriptors()
        self.directory.mkdir()
        if self.policy != "reject":
            (self.directory / "d").mkdir()
            (self.directory / NAME).write_bytes(OLD)
            self.old = {NAME: OLD}
        await self.start()
        self.key = hashlib.sha256(str(self.directory).encode()).hexdigest()
        promise = Promise(NAME)
        self.part: Part = (
            self.store.create_lazily(self.key, promise) if self.lazily else await self.store.create(self.key, promise)
        )
        await self.part.attach()
        await self.write(first)
        if not self.lazily:
            await self.sync()

    async def start(self) -> None:
        """A new store on the directory."""
        self.store = DirectoryStore(self.directory, self.policy, DAY, DAY)
        self.found = {found.key: found.part for found in await self.store.open()}

    async def write(self, size: int) -> None:
        """The next bytes."""
        begin, self.sent = self.sent, self.sent + size
        await self.part.write([memoryview(DATA[begin : begin + size])], size)
        self.written = max(self.written, begin + size)

    async def sync(self) -> None:
        """What is written is durable, and that is told."""
        await self.part.sync()
        self.told = self.part.durable

    async def publish(self) -> None:
        """All that was sent is stored."""
        self.receipt = await self.part.publish([digest(DATA[: self.sent])])

    def visible(self) -> dict[str, bytes]:
        """What stands under final names."""
        files = (path for path in self.directory.rglob("*") if path.is_file() and ".incoming" not in path.parts)
        return {str(path.relative_to(self.directory)): path.read_bytes() for path in files}

    def check_visible(self, *allowed: bytes) -> None:
        """Whole and right, or absent; what stood there before is there, unless it was replaced by such a file."""
        found = self.visible()
        assert set(found.values()) <= {*allowed, OLD}
        assert all(name in found for name in self.old)
        assert self.policy == "replace" or self.old.items() <= found.items()

    async def leave(self) -> None:
        """As a session leaves that has failed."""
        await attempt(self.part.sync())
        await attempt(self.part.detach())

    async def resume(self, *, size: int = len(DATA)) -> None:
        """Attached anew, what is said of the bytes is true; the rest is sent, and all is stored, once."""
        known = await self.part.attach()
        offset = self.part.offset
        assert self.told <= self.part.durable <= offset <= self.sent
        assert known == (digest(DATA[:offset]) if offset else None)
        self.sent, visible = offset, self.visible()
        await self.write(size - offset)
        assert self.visible().items() <= visible.items(), "bytes were written to a file that has its final name"
        await self.publish()
        await self.part.detach()
        self.store.release(self.key)
        await self.end(DATA[:size])

    async def end(self, stored: bytes | None) -> None:
        """There is one file more, with its receipt, also after a start; nothing else is left of it anywhere."""
        await self.store.close()
        await self.start()
        assert self.key not in self.found
        kept = await self.store.receipt(self.key)
        if stored is None:
            assert kept is None
            assert self.visible() == self.old
        else:
            assert kept is not None
            assert kept.receipt.sha256 == digest(stored)
            expected = {**self.old, kept.receipt.name: stored}
            assert self.visible() == expected
        await self.store.close()
        assert self.store._grouping.spare == BUDGET
        assert left_in_staging(self.directory) == set()
        assert descriptors() == self.descriptors

    async def crash_and_resume(self) -> None:
        """The process is gone, and the next one finds the part or the receipt, with what was durable at least."""
        await attempt(self.part.detach())  # so that this process has nothing open; it writes nothing
        await self.store.close()
        await self.start()
        if self.key in self.found:
            self.part = self.found[self.key]
            await self.resume()
        else:
            kept = await self.store.receipt(self.key)
            assert kept is not None or self.told == 0
            await self.end(DATA[: self.sent] if kept else None)


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


def digest(data: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(data).hexdigest()


def left_in_staging(directory: Path) -> set[str]:
    """What kinds of files of uploads lie in staging, but for receipts."""
    kinds = {path.name.partition(".")[2] for path in (directory / ".incoming").iterdir() if len(path.name) > 64}
    return kinds - {"receipt", "receipts"}


async def attempt(step: Awaitable[object]) -> Exception | None:
    """What it raises; only a disk's failure and a failure with a word may come."""
    try:
        await step
    except (OSError, Failure) as error:
        return error
    return None


# -- what is done while the disk fails


async def three_writes(case: Case) -> None:
    """At once, as a session has them under way; the second is too large for memory."""
    results = await asyncio.gather(*(attempt(case.write(size)) for size in (3_000, 30_000, 500)))
    failed = [result is not None for result in results]
    assert failed == sorted(failed), "a write was taken behind one that had failed"


async def large_write(case: Case) -> None:
    """Past the cache of the system, in part."""
    await case.write(90_000)


async def sync(case: Case) -> None:
    """The bytes before, or some more."""
    await case.write(1_000)
    await case.sync()


async def reset(case: Case) -> None:
    """Begin anew, once there is something on the disk."""
    await case.write(20_000)
    case.told = 0
    await case.part.reset()
    case.sent = case.written = 0
    await case.write(10)


async def publish(case: Case) -> None:
    """The end."""
    await case.publish()


async def detach_and_attach(case: Case) -> None:
    """A client that leaves and comes back."""
    await case.part.sync()
    await case.part.detach()
    await case.part.attach()
    await case.write(5_000)


OPERATIONS = [three_writes, large_write, sync, reset, publish, detach_and_attach]
Operation = Callable[[Case], Awaitable[None]]


async def with_each_call_failing(
    folder: Path, disk: FailingDisk, policy: Policy, lazily: bool, mode: Mode, operation: Operation, after: Operation
) -> None:
    """The operation with its Nth call failing, N = 1, 2, 3 … until none fails; `after` looks at what is left."""
    for number in count(1):
        case = Case(folder / f"{number}", disk, policy, lazily)
        await case.begin()
        disk.fail(number, on=mode == "on", error=ERRORS[number % len(ERRORS)])
        error = await attempt(operation(case))
        if mode == "on":
            await case.leave()
        struck = disk.struck
        disk.mend()
        assert struck or error is None
        case.check_visible(DATA[: case.sent], DATA)
        await after(case)
        shutil.rmtree(case.directory)
        if not struck:
            assert number > 1
            return


async def go_on(case: Case) -> None:
    """In the same process; what was stored in spite of the fault is only looked at."""
    if case.receipt is not None:
        await case.part.detach()
        case.store.release(case.key)
        await case.end(DATA[: case.sent])
    else:
        await case.resume()


async def crash(case: Case) -> None:
    """In the next one."""
    if case.receipt is not None:
        await go_on(case)
    else:
        await case.crash_and_resume()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("after", [go_on, crash])
@pytest.mark.parametrize("lazily", [False, True], ids=["part", "lazy"])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_any_call_may_fail(
    folder: Path, disk: FailingDisk, lazily: bool, mode: Mode, operation: Operation, after: Operation
) -> None:
    """No byte is stored that was not sent there, whichever call fails, and the upload goes on."""
    await with_each_call_failing(folder, disk, "rename", lazily, mode, operation, after)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("after", [go_on, crash])
@pytest.mark.parametrize("lazily", [False, True], ids=["part", "lazy"])
@pytest.mark.parametrize("policy", ["reject", "replace"])
async def test_any_call_of_publishing_may_fail(
    folder: Path, disk: FailingDisk, policy: Policy, lazily: bool, mode: Mode, after: Operation
) -> None:
    """The same under the other policies."""
    await with_each_call_failing(folder, disk, policy, lazily, mode, publish, after)
