"""A store that is closed while much is to be done in it: what runs is finished, all else is refused by a word."""

import asyncio
import errno
import threading
from pathlib import Path

import pytest

from jackfield.app.errors import DRAINING, CannotStart
from jackfield.handlers.upload.store.directory import DirectoryStore
from jackfield.handlers.upload.store.strand import Pool, Strand, Threads
from jackfield.handlers.upload.wire.messages import Promise
from jackfield.handlers.upload.wire.words import failure_of

SMALL, LARGE = 1000, 300_000  # bytes


def store(path: Path) -> DirectoryStore:
    """One on this directory."""
    return DirectoryStore(path, "rename", 3600, 3600)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_closed_in_the_middle_of_moves_and_syncs(tmp_path: Path, size: int) -> None:
    """Each of 200 syncs under way ends, by success or by ECANCELED; what succeeded is there for the next store."""
    first = store(tmp_path)
    await first.open()
    parts = {f"{number:064x}": first.create_lazily(f"{number:064x}", Promise(f"{number}.bin")) for number in range(200)}
    for part in parts.values():
        await part.attach()
        await part.write([memoryview(bytes(size))], size)
    syncs = [asyncio.create_task(part.sync()) for part in parts.values()]
    await asyncio.sleep(0)
    await first.close()
    results = await asyncio.gather(*syncs, return_exceptions=True)
    for part in parts.values():
        await part.detach()
    refused = [result for result in results if result is not None]
    assert all(isinstance(result, OSError) and result.errno == errno.ECANCELED for result in refused)
    second = store(tmp_path)
    found = {entry.key: entry.part.durable for entry in await second.open()}
    succeeded = [key for key, result in zip(parts, results, strict=True) if result is None]
    assert all(found[key] == size for key in succeeded)
    await second.close()


async def test_what_is_asked_of_a_closed_store_is_refused(tmp_path: Path) -> None:
    """Creation, receipts and parts raise ECANCELED, which clients are told as `draining`."""
    closed = store(tmp_path)
    await closed.open()
    part = await closed.create("a" * 64, Promise("a.bin"))
    await part.attach()
    await closed.close()
    for asked in (
        part.write([memoryview(b"x")], 1), closed.create("b" * 64, Promise("b.bin")),
        closed.receipt("a" * 64), closed.free(), closed.taken("a.bin"),
    ):  # fmt: skip
        with pytest.raises(OSError) as refused:
            await asked
        assert refused.value.errno == errno.ECANCELED
        assert failure_of(refused.value).kind is DRAINING
    await part.detach()


async def test_only_what_runs_goes_on() -> None:
    """What runs when the threads are closed is waited for; what is queued, in a strand or not, is refused."""
    threads = Threads(Pool(1, "store"), Pool(1, "write"), Pool(1, "digest"))
    begun, go_on = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        go_on.wait()
        return "done"

    strand = Strand(threads.writers)
    running, behind = strand.submit(work), strand.submit(work)
    other = Strand(threads.writers).submit(work)
    await asyncio.to_thread(begun.wait)
    closing = asyncio.create_task(threads.close())
    await asyncio.sleep(0)  # it has begun, and waits
    with pytest.raises(OSError) as refused:  # refused while another runs: nothing waits for what may hang
        await threads.run(work)
    assert refused.value.errno == errno.ECANCELED
    assert not closing.done()
    go_on.set()
    await closing
    assert running.result() == "done"
    for future in (behind, other, strand.submit(work)):
        refusal = future.exception(timeout=0)
        assert isinstance(refusal, OSError)
        assert refusal.errno == errno.ECANCELED


@pytest.mark.parametrize("given", [0, 1, 3, 10])
async def test_a_store_does_not_open_without_its_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: int
) -> None:
    """Where the system gives no more threads the store says so before it has locked anything; none is left behind."""
    start, started = threading.Thread.start, list[threading.Thread]()

    def limited(thread: threading.Thread) -> None:
        if len(started) == given:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", limited)
        with pytest.raises(CannotStart, match="threads"):
            await store(tmp_path).open()
    for thread in started:
        await asyncio.to_thread(thread.join)
    again = store(tmp_path)
    await again.open()
    await again.close()


async def test_an_open_store_starts_no_more_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is reached later costs no upload anything."""
    opened = store(tmp_path)
    await opened.open()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _refuse)
        parts = await asyncio.gather(
            *(opened.create(f"{number:064x}", Promise(f"{number}.bin")) for number in range(40))
        )
    for part in parts:
        await part.attach()
        await part.write([memoryview(b"x")], 1)
        assert (await part.publish([])).size == 1
        await part.detach()
    await opened.close()


def _refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
