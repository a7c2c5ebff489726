"""An open upload between its session and its part: bytes stand in their place, or nowhere."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from jackfield.app.errors import Failure
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.store.contract import Part
from jackfield.handlers.upload.store.directory import DirectoryStore
from jackfield.handlers.upload.uploads import upload as open_upload
from jackfield.handlers.upload.uploads.accounts import NOBODY, Account
from jackfield.handlers.upload.uploads.space import Space
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire.messages import Promise
from jackfield.handlers.upload.wire.words import NO_SPACE
from tests.support.writer import Owner, Writer


@contextlib.asynccontextmanager
async def begun(folder: Path, *, room: int = 2**20, lazily: bool = False) -> AsyncIterator[OpenUpload]:
    """An upload of unknown size on a disk that has so many bytes of room; nobody holds it yet."""

    async def free() -> int:
        return room

    store = DirectoryStore(folder, "rename", 1.0, 1.0)
    await store.open()
    key, promise = "0" * 64, Promise("a")
    part: Part = store.create_lazily(key, promise) if lazily else await store.create(key, promise)
    options = UploadOptions(directory=folder, min_free=0)
    yield OpenUpload(key, promise, part, options, Space(free, lambda: 0), Owner(), Account(NOBODY, options))
    await part.remove()
    await store.close()


@pytest.mark.parametrize("lazily", [False, True])
async def test_bytes_behind_bytes_that_found_no_room_are_not_written(tmp_path: Path, *, lazily: bool) -> None:
    """Where of two batches under way the first one finds no room, the second one, which would, is not put there."""
    holder = Writer()
    async with begun(tmp_path, room=3000, lazily=lazily) as upload:
        await upload.hold(holder)
        results = await asyncio.gather(
            upload.write(holder, [memoryview(bytes(4000))], 4000),
            upload.write(holder, [memoryview(bytes(2000))], 2000),
            return_exceptions=True,
        )
        assert isinstance(results[0], Failure)
        assert results[0].kind is NO_SPACE
        assert isinstance(results[1], Failure)
        assert upload.part.offset == 0
        await upload.release(holder)


async def test_an_upload_that_waits_for_its_turn_is_not_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While bytes of it wait outside because others are read, it is not synced: with many uploads each turn of each of
    them would end with three syncs."""
    monkeypatch.setattr(open_upload, "SYNC_IDLE", 0.001)
    async with begun(tmp_path) as upload:
        holder = _Waiting(lambda: upload.part.durable)
        await upload.hold(holder)
        await upload.write(holder, [memoryview(b"abc")], 3)
        async with asyncio.timeout(5):
            while upload.part.durable < 3:
                await asyncio.sleep(0.001)
        assert holder.seen == [0, 0, 0, 0]
        await upload.release(holder)


class _Waiting(Writer):
    """It is held up three times that somebody asks; `seen` is what was durable each time."""

    def __init__(self, durable: Callable[[], int]) -> None:
        self._durable = durable
        self.seen: list[int] = []

    @property
    def backpressured(self) -> bool:
        """See `uploads.upload.Writer`."""
        self.seen.append(self._durable())
        return len(self.seen) <= 3


async def test_room_is_not_refused_because_of_bytes_that_are_just_being_written() -> None:
    """A reservation that would fit, but for bytes that are written and still counted as reserved, is granted."""
    left = 3000

    async def free() -> int:
        return left

    space = Space(free, lambda: 0)
    await space.reserve(2000)
    left = 1000  # they are written, and not yet released
    space.invalidate()
    reserving = asyncio.create_task(space.reserve(1000))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not reserving.done()
    space.release(2000)
    await reserving
    space.release(1000)
    left = 0
    space.invalidate()
    with pytest.raises(Failure) as refused:
        await space.reserve(1)
    assert refused.value.kind is NO_SPACE


class _Draining(Writer):
    """A session that has to wait for its writes, until `gate` is set; `ends` says how it ended."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.ended = asyncio.Event()

    def end(self, failure: Failure) -> None:
        """A newer one has the upload."""
        self.ended.set()

    async def drained(self) -> None:
        """Its writes have ended."""
        await self.gate.wait()


@pytest.mark.parametrize("second", ["waits", "has left", "has failed"])
async def test_whoever_takes_over_waits_for_who_has_written_last(tmp_path: Path, second: str) -> None:
    """Two sockets take an upload over, one behind the other, while bytes of the first are still being written. The
    newest waits for these, though the one before it never wrote: otherwise they land among its own, and what is
    stored was sent by nobody."""
    first, between, newest = _Draining(), Writer(), Writer()
    async with begun(tmp_path, room=0 if second == "has failed" else 2**20) as upload:
        await upload.hold(first)
        if second == "has failed":
            with pytest.raises(Failure):
                await upload.write(first, [memoryview(b"abc")], 3)
        holding = asyncio.create_task(upload.hold(between))
        async with asyncio.timeout(30):
            await first.ended.wait()
        if second == "has left":
            holding.cancel()
            await asyncio.wait([holding])
            await upload.release(between)
        taking = asyncio.create_task(upload.hold(newest))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not taking.done()
        first.gate.set()
        await upload.release(first)
        await taking
        with contextlib.suppress(Failure, asyncio.CancelledError):
            await holding
        await upload.release(newest)


class _SlowSync:
    """A part in memory whose syncs take as long as the test wants; `begun` counts them."""

    def __init__(self) -> None:
        self.offset = self.durable = self.begun = 0
        self.gate = asyncio.Semaphore(0)
        self.news = asyncio.Event()

    async def attach(self) -> None:
        """Nothing is known of its bytes."""

    async def detach(self) -> None:
        """It has no file."""

    async def write(self, views: Sequence[memoryview], size: int) -> None:
        """At once."""
        self.offset += size

    async def sync(self) -> None:
        """What was written when it began is durable when the test lets it end."""
        offset, self.begun = self.offset, self.begun + 1
        self.news.set()
        await self.gate.acquire()
        self.durable = offset
        self.news.set()

    async def until(self, question: Callable[[], bool]) -> None:
        """Until this has come true."""
        async with asyncio.timeout(30):
            while not question():
                self.news.clear()
                await self.news.wait()


@pytest.mark.parametrize("sync_every", [1, 2**20])
async def test_what_comes_while_a_sync_runs_is_made_durable_by_the_next(
    monkeypatch: pytest.MonkeyPatch, sync_every: int
) -> None:
    """On a slow disk the time for a sync comes, and passes, while another runs: the next one follows all the same, and
    `durable` reaches `offset` though the client sends no more."""
    monkeypatch.setattr(open_upload, "SYNC_IDLE", 0.001)
    part, asked = _SlowSync(), asyncio.Event()

    class Told(Writer):
        @property
        def backpressured(self) -> bool:
            asked.set()
            return False

    holder = Told()
    options = UploadOptions(min_free=0, sync_every=sync_every)
    promise, space, account = Promise("a", 3000), Space(_plenty, lambda: 0), Account(NOBODY, options)
    upload = OpenUpload("0" * 64, promise, cast("Part", part), options, space, Owner(), account)
    await upload.hold(holder)
    await part.until(lambda: part.begun == 1)  # the one that every session begins with
    for size in (1000, 1000, 1000):
        asked.clear()
        await upload.write(holder, [memoryview(bytes(size))], size)
        async with asyncio.timeout(30):
            while sync_every > size and not asked.is_set():  # the time for a sync has not come
                await asyncio.sleep(0.001)
    for _ in range(3):
        part.gate.release()
    await part.until(lambda: part.durable == part.offset == 3000)
    part.gate.release()
    await upload.release(holder)


async def _plenty() -> int:
    return 2**40
