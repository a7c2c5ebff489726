"""The contract of a store: whatever passes this file can keep uploads. Run against the local directory, and against
one in memory, to keep it free of what only a directory has."""
# long: the contract is one file, so that a new kind of store has one to pass

import asyncio
import contextlib
import errno
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from jackfield.app.errors import CannotStart, Failure, Kind
from jackfield.handlers.upload.store.contract import Kept, Part, Store
from jackfield.handlers.upload.store.publish import Policy
from jackfield.handlers.upload.wire.messages import Origin, Promise, Receipt
from jackfield.handlers.upload.wire.words import DIGEST_MISMATCH, NAME_TAKEN
from tests.support.dial import Killed
from tests.support.outsider import content, digest, eventually
from tests.support.places import DAY, DirectoryPlace, MemoryPlace, Place

SMALL, LARGE = 1000, 300_000  # bytes; a store may treat the small ones otherwise
PROMISE = Promise("a.txt", 12, digest(b"x"), plain=True)
FREE = Promise("a.txt")

Make = Callable[[Store, str, Promise], Awaitable[Part]]


@pytest.fixture(params=["directory", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Where stores live. Another kind is put to the test by another line here."""
    found = MemoryPlace() if request.param == "memory" else DirectoryPlace(tmp_path / "uploads", monkeypatch)
    yield found
    found.leave()


@pytest.fixture
async def store(place: Place) -> AsyncIterator[Store]:
    """A store that is open."""
    opened = place.store()
    await opened.open()
    yield opened
    await opened.close()


async def create(store: Store, key: str, promise: Promise) -> Part:
    """A part that is durable from the beginning."""
    return await store.create(key, promise)


async def create_lazily(store: Store, key: str, promise: Promise) -> Part:
    """A part that may stay in memory for a while."""
    return store.create_lazily(key, promise)


@pytest.fixture(params=[create, create_lazily])
def make(request: pytest.FixtureRequest) -> Make:
    """Both ways to create a part: most duties are the same."""
    made: Make = request.param
    return made


def new_key() -> str:
    """The hash of a token, as it could be."""
    return secrets.token_hex(32)


async def write(part: Part, data: bytes) -> None:
    """In pieces, as they come from a socket; one is empty."""
    middle = len(data) // 3
    await part.write([memoryview(piece) for piece in (data[:middle], b"", data[middle:])], len(data))


async def whole(store: Store, make: Make, name: str, data: bytes) -> Part:
    """A part that only waits to be published."""
    part = await make(store, new_key(), Promise(name))
    await part.attach()
    await write(part, data)
    return part


async def publish(store: Store, make: Make, name: str, data: bytes) -> Receipt:
    """From creation to receipt."""
    part = await whole(store, make, name, data)
    receipt = await part.publish([])
    await part.detach()
    return receipt


async def reopened(place: Place, store: Store) -> tuple[Store, dict[str, Part]]:
    """After a crash of the process: a new store, and the parts it has."""
    await place.kill(store)
    again = place.store()
    return again, {found.key: found.part for found in await again.open()}


async def refusal(publishing: Awaitable[Receipt]) -> Kind:
    """The kind of failure with which a part is not published."""
    with pytest.raises(Failure) as refused:
        await publishing
    return refused.value.kind


# -- holding the place


async def test_only_one_store_has_the_place(place: Place) -> None:
    """A second one cannot start while the first is there; after its end, or its death, it can."""
    first, second, third = place.store(), place.store(), place.store()
    await first.open()
    with pytest.raises(CannotStart):
        await second.open()
    await first.close()
    await second.open()
    await place.kill(second)
    await third.open()
    await third.close()


async def test_there_is_room(store: Store) -> None:
    """`free` says how many bytes may be written."""
    assert await store.free() > 0


# -- a part and its bytes


async def test_a_created_part_is_durable(place: Place, store: Store) -> None:
    """After a crash it is there with all of its promise, empty, and touched no earlier than it was made."""
    key = new_key()
    await store.create(key, PROMISE)
    await place.kill(store)
    again = place.store()
    (found,) = await again.open()
    assert (found.key, found.promise, found.part.offset, found.part.durable) == (key, PROMISE, 0, 0)
    assert found.touched > 1_700_000_000
    await again.close()


async def test_a_part_created_lazily_is_durable_once_it_is_synced(place: Place, store: Store) -> None:
    """It does not wait for a disk; from its first sync on it is a part like any other."""
    unsynced, key = new_key(), new_key()
    for each in (unsynced, key):
        part = store.create_lazily(each, PROMISE)
        await part.attach()
        await write(part, b"tea")
    await part.sync()
    assert part.durable == 3
    again, parts = await reopened(place, store)
    assert set(parts) == {key}
    assert parts[key].durable == 3
    await again.close()


async def test_a_part_that_cannot_be_created_leaves_nothing(place: Place, store: Store) -> None:
    """OSError, and after it nothing is found or staged."""
    place.dial.fail("sync", errno.ENOSPC)
    with pytest.raises(OSError, match="space"):
        await store.create(new_key(), PROMISE)
    assert place.staged() == 0
    again, parts = await reopened(place, store)
    assert not parts
    await again.close()


@pytest.mark.parametrize("size", [0, 1, SMALL, LARGE])
async def test_bytes_are_appended_and_made_durable(store: Store, make: Make, size: int) -> None:
    """`offset` counts what is written, `durable` follows with a sync; `attach` knows the digest, None of nothing."""
    part = await make(store, new_key(), FREE)
    assert await part.attach() is None
    data = content(2 * size)
    for number in (1, 2):
        await write(part, data[(number - 1) * size : number * size])
        assert part.offset == number * size
        assert part.durable <= part.offset
        await part.sync()
        assert part.durable == part.offset
        await part.detach()
        assert await part.attach() == (digest(data[: number * size]) if size else None)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_after_a_crash_nothing_durable_is_missing(place: Place, store: Store, make: Make, size: int) -> None:
    """Between what was durable and what was written something is there, and it is what was written."""
    key, data = new_key(), content(2 * size)
    part = await make(store, key, FREE)
    await part.attach()
    await write(part, data[:size])
    await part.sync()
    await write(part, data[size:])
    again, parts = await reopened(place, store)
    part = parts[key]
    assert size <= part.offset <= 2 * size
    assert part.durable <= part.offset
    assert await part.attach() == digest(data[: part.offset])
    await write(part, data[part.offset :])
    await part.publish([digest(data)])
    assert place.files() == {"a.txt": data}
    await again.close()


async def test_a_sync_may_run_beside_writes(store: Store, make: Make) -> None:
    """`durable` never passes what was written when the sync began, and never falls."""
    part = await make(store, new_key(), FREE)
    await part.attach()
    last = 0
    for number in range(20):
        await write(part, content(20_000))
        before = part.offset
        syncing = asyncio.create_task(part.sync())
        await write(part, content(10_000))
        await syncing
        assert before <= part.durable <= part.offset
        assert part.durable >= last
        last = part.durable
        assert part.offset == (number + 1) * 30_000


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
async def test_a_write_that_fails_writes_nothing(place: Place, store: Store, make: Make, number: int) -> None:
    """All bytes or none: `offset` stays, and the same bytes may be written again."""
    data = content(LARGE)
    part = await whole(store, make, "a", data[:100_000])
    place.dial.fail("write", number)
    with pytest.raises(OSError) as failed:
        await write(part, data[100_000:])
    assert failed.value.errno == number
    assert part.offset == 100_000
    await part.detach()
    assert await part.attach() == digest(data[:100_000])
    await write(part, data[100_000:])
    await part.publish([digest(data)])
    assert place.files() == {"a": data}


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_writes_that_overlap_are_done_in_their_order(store: Store, make: Make, size: int) -> None:
    """Twenty are begun before the first is done: the bytes stand in the order of the calls."""
    pieces = [content(size + number) for number in range(20)]
    part = await make(store, new_key(), FREE)
    await part.attach()
    await asyncio.gather(*(write(part, piece) for piece in pieces))
    data = b"".join(pieces)
    assert part.offset == len(data)
    assert await part.attach() == digest(data)
    assert (await part.publish([digest(data)])).size == len(data)


async def test_what_follows_a_write_that_failed_is_not_written(place: Place, store: Store, make: Make) -> None:
    """Of writes that overlap none after the one that failed is done: there would be a hole before it."""
    data = content(LARGE)
    part = await whole(store, make, "a", data[:100_000])
    place.dial.fail("write", errno.ENOSPC)
    cuts = ((100_000, 200_000), (200_000, 200_001), (200_001, LARGE))
    results = await asyncio.gather(*(write(part, data[a:b]) for a, b in cuts), return_exceptions=True)
    assert all(isinstance(result, OSError) for result in results)
    assert part.offset == 100_000
    with pytest.raises(OSError):
        await write(part, data[100_000:])
    assert await part.attach() == digest(data[:100_000])
    await write(part, data[100_000:])
    await part.publish([digest(data)])
    assert place.files() == {"a": data}


async def test_a_part_is_removed_behind_the_writes_under_way(place: Place, store: Store, make: Make) -> None:
    """Its file is not closed under a thread that writes to it: the next file would get what was meant for this one."""
    part = await whole(store, make, "a", content(LARGE))
    writing = [asyncio.create_task(write(part, content(LARGE))) for _ in range(5)]
    await asyncio.sleep(0)  # they have begun
    await part.remove()
    assert not any(isinstance(result, OSError) for result in await asyncio.gather(*writing, return_exceptions=True))
    assert place.files() == {}


async def test_after_a_sync_that_failed_only_what_was_durable_is_trusted(
    place: Place, store: Store, make: Make
) -> None:
    """Neither a second sync nor a publication believes the bytes: `attach` cuts them off, and they are sent again."""
    data = content(LARGE)
    part = await whole(store, make, "a", data[:100_000])
    await part.sync()
    await write(part, data[100_000:200_000])
    place.dial.fail("sync", errno.EIO)
    with pytest.raises(OSError):
        await part.sync()
    for attempt in (part.sync, lambda: part.publish([]), lambda: write(part, b"more")):
        with pytest.raises(OSError):
            await attempt()
    assert part.durable == 100_000
    assert not place.files()
    await part.detach()
    assert await part.attach() == digest(data[:100_000])
    assert part.offset == 100_000
    await write(part, data[100_000:])
    await part.publish([digest(data)])
    assert place.files() == {"a": data}


async def test_what_is_forgotten_does_not_come_back(place: Place, store: Store, make: Make) -> None:
    """Not with new bytes and not after a crash."""
    key, data = new_key(), content(LARGE)
    part = await make(store, key, Promise("a"))
    await part.attach()
    await write(part, data)
    await part.sync()
    await part.reset()
    assert (part.offset, part.durable) == (0, 0)
    await write(part, b"new")
    await part.sync()
    await part.reset()
    again, parts = await reopened(place, store)
    part = parts[key]
    assert (part.offset, part.durable) == (0, 0)
    assert await part.attach() is None
    await write(part, b"newer")
    await part.publish([digest(b"newer")])
    assert place.files() == {"a": b"newer"}
    await again.close()


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_what_came_since_the_mark_can_be_thrown_away(place: Place, store: Store, make: Make, size: int) -> None:
    """The bytes before it stay, durable or not, with their digest; others can be written behind them."""
    data = content(size)
    part = await whole(store, make, "a", data)
    for attempt in range(2):
        await part.mark()
        await write(part, content(size + 1 + attempt))
        await part.rollback()
        assert part.offset == size
    await part.detach()
    assert await part.attach() == digest(data)
    await part.mark()
    await part.rollback()
    await write(part, b"behind")
    assert (await part.publish([digest(data + b"behind")])).size == size + 6
    assert place.files() == {"a": data + b"behind"}


async def test_what_came_since_the_mark_does_not_outlive_a_crash(place: Place, store: Store, make: Make) -> None:
    """Nobody has called it durable."""
    key, data = new_key(), content(LARGE)
    part = await make(store, key, FREE)
    await part.attach()
    await write(part, data)
    await part.sync()
    await part.mark()
    await write(part, data)
    again, parts = await reopened(place, store)
    assert parts[key].offset == LARGE
    assert await parts[key].attach() == digest(data)
    await again.close()


async def test_a_rollback_that_fails_is_done_when_it_is_attached(place: Place, store: Store) -> None:
    """No byte behind the mark is trusted again."""
    part = await whole(store, create, "a", content(LARGE))
    await part.mark()
    await write(part, content(LARGE))
    place.dial.fail("write", errno.EIO)
    with contextlib.suppress(OSError):
        await part.rollback()
    assert await part.attach() == digest(content(LARGE))
    assert part.offset == LARGE


async def test_a_promise_may_be_amended(place: Place, store: Store, make: Make) -> None:
    """The new one is there after a crash, and goes into the receipt."""
    key, told = new_key(), Promise("a.txt", metadata="name YQ==", length=5)
    part = await make(store, key, Promise("a.txt", metadata="name YQ=="))
    await part.attach()
    await part.amend(told)
    await place.kill(store)
    again = place.store()
    (found,) = await again.open()
    assert found.promise == told
    await found.part.attach()
    await write(found.part, b"12345")
    await found.part.publish([])
    kept = await again.receipt(key)
    assert kept is not None
    assert kept.promise == told
    await again.close()


async def test_a_receipt_can_be_forgotten(place: Place, store: Store, make: Make) -> None:
    """Its file stays, and so do the receipts of the others, also after a crash; asking twice is safe."""
    keys = [new_key() for _ in range(8)]
    parts = [await make(store, key, Promise(f"{at}.txt")) for at, key in enumerate(keys)]
    for part in parts:
        await part.attach()
        await write(part, content(SMALL))
    await asyncio.gather(*(part.publish([]) for part in parts))
    kept = await store.receipt(keys[1])
    await asyncio.gather(*(store.forget(key) for key in (keys[0], keys[2], keys[2])))
    again, _ = await reopened(place, store)
    found = [await again.receipt(key) for key in keys]
    assert [at for at, receipt in enumerate(found) if receipt is None] == [0, 2]
    assert found[1] is not None
    assert kept is not None
    assert found[1].until == pytest.approx(kept.until, abs=1)
    assert len(place.files()) == 8
    for key in keys:
        await again.forget(key)
    assert not any([await again.receipt(key) for key in keys])
    await again.close()


async def test_what_is_removed_is_gone(place: Place, store: Store, make: Make) -> None:
    """Bytes and promise, attached or not, also after a crash; it never had a receipt."""
    for attached in (True, False):
        key = new_key()
        part = await make(store, key, FREE)
        await part.attach()
        await write(part, content(LARGE))
        await part.sync()
        if not attached:
            await part.detach()
        await part.remove()
        store.release(key)
        assert place.staged() == 0
        assert await store.receipt(key) is None
    again, parts = await reopened(place, store)
    assert not parts
    await again.close()


# -- publishing


@pytest.mark.parametrize("size", [0, 1, SMALL, LARGE])
@pytest.mark.parametrize("name", ["a", "ä/b/c.txt"])
async def test_a_receipt_says_what_is_there(place: Place, store: Store, make: Make, name: str, size: int) -> None:
    """The file is whole under its name, the receipt is its, and both outlive a crash; the part is gone."""
    key, data = new_key(), content(size)
    part = await make(store, key, Promise(name))
    await part.attach()
    await write(part, data)
    receipt = await part.publish([])
    assert receipt == Receipt(name, size, hashlib.sha256(data).hexdigest())
    again, parts = await reopened(place, store)
    assert not parts
    kept = await again.receipt(key)
    assert isinstance(kept, Kept)
    assert kept.receipt == receipt
    assert place.files() == {name: data}
    assert place.staged() == 0
    await again.close()


@pytest.mark.parametrize("right", [[], [True], [True, True]])
async def test_a_digest_that_differs_publishes_nothing(
    place: Place, store: Store, make: Make, right: list[bool]
) -> None:
    """Each of those expected must be that of the bytes; afterwards the part can be filled anew."""
    data = content(SMALL)
    part = await whole(store, make, "a", data)
    assert await refusal(part.publish([*(digest(data) for _ in right), digest(b"other")])) is DIGEST_MISMATCH
    assert not place.files()
    await part.reset()
    await write(part, b"right")
    await part.publish([digest(b"right") for _ in right])
    assert place.files() == {"a": b"right"}


async def test_under_rename_a_taken_name_gets_a_number(place: Place, store: Store, make: Make) -> None:
    """The first number that is free, beside files of others as of our own; a folder counts as a name too."""
    place.put("d/a.txt", b"theirs")
    place.make_folder("d/a.1.txt")
    names = [(await publish(store, make, "d/a.txt", bytes([number]))).name for number in range(3)]
    assert names == ["d/a.2.txt", "d/a.3.txt", "d/a.4.txt"]
    ours = {name: bytes([number]) for number, name in enumerate(names)}
    assert place.files() == {"d/a.txt": b"theirs", **ours}


@pytest.mark.parametrize("policy", ["reject", "replace"])
async def test_under_other_policies_a_taken_name_is_refused_or_replaced(
    place: Place, make: Make, policy: Policy
) -> None:
    """`reject`: `name_taken`, the part stays; `replace`: the new file is there, and the old one is not."""
    store = place.store(policy)
    await store.open()
    place.put("a", b"theirs")
    assert await store.taken("a") is (policy == "reject")
    part = await whole(store, make, "a", b"ours")
    if policy == "reject":
        assert await refusal(part.publish([])) is NAME_TAKEN
        assert place.files() == {"a": b"theirs"}
        assert part.offset == 4
    else:
        assert (await part.publish([])).name == "a"
        assert place.files() == {"a": b"ours"}
    await part.detach()
    await store.close()


@pytest.mark.parametrize("policy", ["rename", "reject", "replace"])
async def test_a_folder_where_a_file_is_needed_is_in_the_way(place: Place, make: Make, policy: Policy) -> None:
    """And the reverse: `name_taken` under every policy, known beforehand, and nothing is touched."""
    store = place.store(policy)
    await store.open()
    place.put("file", b"theirs")
    place.make_folder("folder")
    for name in ("folder", "file/a", "file/a/b"):
        assert await store.taken(name)
        part = await whole(store, make, name, b"ours")
        assert await refusal(part.publish([])) is NAME_TAKEN
        await part.detach()
    assert not await store.taken("folder/a")
    assert (await publish(store, make, "folder/a", b"ours")).name == "folder/a"
    assert place.files() == {"file": b"theirs", "folder/a": b"ours"}
    await store.close()


@pytest.mark.parametrize("policy", ["rename", "reject", "replace"])
@pytest.mark.parametrize("count", [2, 8, 50])
async def test_who_publishes_at_once_never_overwrites(place: Place, make: Make, policy: Policy, count: int) -> None:
    """Under one name: all get one of their own, or one gets it, or one is left, whole; receipts tell no lies."""
    store = place.store(policy)
    await store.open()
    data = [content(number + 1) for number in range(count)]
    parts = [await whole(store, make, "a", each) for each in data]
    results = await asyncio.gather(*(part.publish([]) for part in parts), return_exceptions=True)
    receipts = [result for result in results if isinstance(result, Receipt)]
    refused = [result for result in results if isinstance(result, Failure) and result.kind is NAME_TAKEN]
    assert len(receipts) + len(refused) == count
    assert len(receipts) == (1 if policy == "reject" else count)
    files = place.files()
    assert len(files) == (count if policy == "rename" else 1)
    if policy != "replace":
        assert {name: digest(each) for name, each in files.items()} == {each.name: each.sha256 for each in receipts}
    assert digest(files["a"]) in {each.sha256 for each in receipts}
    for part in parts:
        await part.detach()
    await store.close()


@pytest.mark.parametrize("kind", ["sync", "name"])
async def test_a_publication_that_fails_shows_nothing(place: Place, store: Store, make: Make, kind: str) -> None:
    """OSError, no file, no receipt; what was durable is there after a restart, and is finished then."""
    key, data = new_key(), content(SMALL)
    part = await make(store, key, Promise("a"))
    await part.attach()
    await write(part, data)
    await part.sync()
    place.dial.fail("sync" if kind == "sync" else "name", errno.EIO)
    with pytest.raises(OSError):
        await part.publish([])
    assert not place.files()
    assert await store.receipt(key) is None
    again, parts = await reopened(place, store)
    part = parts[key]
    assert await part.attach() == digest(data)
    await part.publish([digest(data)])
    assert place.files() == {"a": data}
    await again.close()


@pytest.mark.parametrize("policy", ["rename", "replace"])
@pytest.mark.parametrize("size", [0, SMALL, LARGE])
async def test_a_crash_at_any_step_of_publishing(place: Place, make: Make, policy: Policy, size: int) -> None:
    """The process dies before each step on the disk in turn. Afterwards there is the part, with all that was
    durable, or the receipt, never both and never neither; where there is a receipt there is its file, once; and
    where there is none no file is visible."""
    data, step, published = content(size), 0, False
    while not published:
        step += 1
        name = f"{step}.txt"
        place.put(name, b"theirs")
        store, key = place.store(policy), new_key()
        await store.open()
        part = await make(store, key, Promise(name))
        await part.attach()
        await write(part, data)
        await part.sync()
        place.dial.die_before(step)
        published = await survives(part.publish([]))
        again, parts = await reopened(place, store)
        kept = await again.receipt(key)
        assert (key in parts) != (kept is not None), f"before step {step}"
        names = {each for each in place.files() if each.startswith(f"{step}.")}
        if kept is None:
            assert parts[key].offset == size
            assert names == {name}
            assert place.files()[name] == b"theirs"
        else:
            assert place.files()[kept.receipt.name] == data
            assert digest(data) == kept.receipt.sha256
            assert names == {name, kept.receipt.name}
        assert place.staged() == len(parts)
        for found in parts.values():
            await found.remove()
        await again.close()
    assert step > 2


async def survives(step: Awaitable[object]) -> bool:
    """Whether the process lives to the end of it."""
    try:
        await step
    except Killed:
        return False
    return True


@pytest.mark.parametrize("count", [1, 4])
async def test_a_crash_at_any_step_of_publishing_together(place: Place, count: int) -> None:
    """Parts that were never durable are published at once, and the process dies before each step: of each there is
    the receipt and its file, or nothing at all."""
    data, step, done = [content(number) for number in range(count)], 0, False
    while not done:
        step += 1
        store = place.store()
        await store.open()
        parts = {key: store.create_lazily(key, Promise(f"{step}")) for key in (new_key() for _ in data)}
        for part, each in zip(parts.values(), data, strict=True):
            await part.attach()
            await write(part, each)
        place.dial.die_before(step)
        publishing = [asyncio.create_task(part.publish([])) for part in parts.values()]
        while not (done := all(task.done() for task in publishing)) and not place.dial.dead:
            await asyncio.sleep(0.001)
        for task in publishing:
            task.cancel()
        await asyncio.wait(publishing)
        done = done and not any(task.cancelled() or task.exception() for task in publishing)
        again, left = await reopened(place, store)
        kept = [kept.receipt for key in parts if (kept := await again.receipt(key)) is not None]
        files = {name: each for name, each in place.files().items() if name.partition(".")[0] == f"{step}"}
        assert {name: digest(each) for name, each in files.items()} == {each.name: each.sha256 for each in kept}
        assert not left
        assert place.staged() == 0
        assert len(kept) == count or not done
        await again.close()


OUTCOMES = {"sync": {SMALL, 2 * SMALL}, "reset": {0, SMALL, 2 * SMALL}, "remove": {-1, SMALL, 2 * SMALL}}
"""What is done to a part with as many bytes durable and as many more written; how many there may be after a crash in
the middle of it, -1 for no part at all."""


@pytest.mark.parametrize("operation", OUTCOMES)
async def test_a_crash_at_any_step_of_the_rest(place: Place, make: Make, operation: str) -> None:
    """The process dies before each step of a sync, a forgetting or a removal: what was durable is there, or gone as
    a whole where that was asked for; what is there are the bytes that were written."""
    data, step, done = content(2 * SMALL), 0, False
    while not done:
        step += 1
        store, key = place.store(), new_key()
        await store.open()
        part = await make(store, key, FREE)
        await part.attach()
        await write(part, data[:SMALL])
        await part.sync()
        await write(part, data[SMALL:])
        place.dial.die_before(step)
        done = await survives(getattr(part, operation)())
        told = part.durable if operation == "sync" else -1
        again, parts = await reopened(place, store)
        found = parts.get(key)
        size = -1 if found is None else found.offset
        assert size in OUTCOMES[operation], f"before step {step}"
        assert size >= told, f"before step {step}"
        if found is not None:
            assert await found.attach() == (digest(data[:size]) if size else None)
            await found.remove()
        assert not place.files()
        assert place.staged() == 0
        await again.close()
    assert size == {"sync": 2 * SMALL, "reset": 0, "remove": -1}[operation]


async def test_a_crash_at_any_step_of_creating(place: Place) -> None:
    """The process dies before each step of a creation: the part is there, or nothing is."""
    step, done = 0, False
    while not done:
        step += 1
        store = place.store()
        await store.open()
        place.dial.die_before(step)
        done = await survives(store.create(new_key(), PROMISE))
        again, parts = await reopened(place, store)
        assert len(parts) <= 1
        assert parts or not done
        for part in parts.values():
            assert await part.attach() is None
            await part.remove()
        assert place.staged() == 0
        await again.close()


@pytest.mark.parametrize(
    ("size", "stride"), [(SMALL, 5), *(pytest.param(size, 1, marks=pytest.mark.torture) for size in (SMALL, LARGE))]
)
async def test_a_crash_in_the_middle_of_starting_again(place: Place, make: Make, size: int, stride: int) -> None:
    """The process dies before each step of a publication, and the next one before each step of its start: the third
    still finds the part or the receipt."""
    data, first, published = content(size), 1 - stride, False
    while not published:
        first += stride
        second, started = 0, False
        while not started:
            second += 1
            name = f"{first}.{second}"
            key, published = await die_publishing(place, make, Promise(name), data, first)
            store = place.store()
            place.dial.die_before(second)
            started = await survives(store.open())
            again, parts = await reopened(place, store)
            kept = await again.receipt(key)
            assert (key in parts) != (kept is not None), f"before step {first}, then {second}"
            assert place.files().get(name) == (data if kept is not None else None)
            assert place.staged() == len(parts)
            for found in parts.values():
                await found.remove()
            await again.close()


async def die_publishing(place: Place, make: Make, promise: Promise, data: bytes, step: int) -> tuple[str, bool]:
    """A part that was durable is published, and the process dies before this step of it, or when it is done; its
    key, and whether there was a receipt."""
    store, key = place.store(), new_key()
    await store.open()
    part = await make(store, key, promise)
    await part.attach()
    await write(part, data)
    await part.sync()
    place.dial.die_before(step)
    published = await survives(part.publish([]))
    await place.kill(store)
    return key, published


# -- receipts


async def test_a_receipt_is_kept_for_its_time(place: Place, make: Make) -> None:
    """It can be asked for until its time is over, which it tells; then it is gone, swept or not."""
    for swept in (False, True):
        store, key = place.store(receipts_kept=0.3), new_key()
        await store.open()
        assert await store.receipt(key) is None
        part = await make(store, key, Promise("a"))
        await part.attach()
        receipt = await part.publish([])
        store.release(key)
        kept = await store.receipt(key)
        assert kept is not None
        assert kept.receipt == receipt

        async def gone(store: Store = store, key: str = key) -> bool:
            return await store.receipt(key) is None

        await eventually(gone)
        if swept:
            await store.sweep()
        assert await store.receipt(key) is None
        await store.close()


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("gone", ["kept", "forgotten", "expired"])
async def test_it_is_known_for_whom_was_stored(place: Place, make: Make, count: int, gone: str) -> None:
    """After a restart, for a day, also where the receipts are gone; not what was stored since."""
    origin = Origin("a", "alice", "192.0.2.1", 0.0)
    store = place.store(receipts_kept=0.01 if gone == "expired" else DAY)
    await store.open()
    keys = [new_key() for _ in range(count)]
    parts = [await make(store, key, Promise("a", origin=origin)) for key in keys]
    for part in parts:
        await part.attach()
        await write(part, bytes(SMALL))
    await asyncio.gather(*(part.publish([]) for part in parts))
    assert await store.used() == []
    for key in keys:
        store.release(key)
        if gone == "forgotten":
            await store.forget(key)
    if gone == "expired":
        await asyncio.sleep(0.02)
        await store.sweep()
    await store.close()
    again = place.store()
    await again.open()
    used = await again.used()
    assert {(each.user, each.remote) for each in used} == {("alice", "192.0.2.1")}
    assert sum(each.size for each in used) == count * SMALL
    assert all(0 <= each.ago <= 1200 for each in used)
    await again.close()


@pytest.mark.parametrize("count", [1, 5])
async def test_a_receipt_keeps_the_promise_that_was_asked_for(place: Place, make: Make, count: int) -> None:
    """Alone or beside others, also after a restart: so that the same request can be told from another one."""
    store, keys = place.store(), [new_key() for _ in range(count)]
    await store.open()
    asked = {key: Promise("a.txt", number + 1, digest(bytes(number + 1))) for number, key in enumerate(keys)}
    asked[keys[0]] = Promise("a.txt", plain=True)
    parts = [await make(store, key, promise) for key, promise in asked.items()]
    for number, part in enumerate(parts):
        await part.attach()
        await write(part, bytes(number + 1))
    receipts = await asyncio.gather(*(part.publish([]) for part in parts))
    again, _ = await reopened(place, store)
    for key, receipt in zip(keys, receipts, strict=True):
        kept = await again.receipt(key)
        assert kept is not None
        assert (kept.promise, kept.receipt) == (asked[key], receipt)
    await again.close()


async def test_sweeping_touches_nothing_that_is_open(place: Place, store: Store, make: Make) -> None:
    """Neither parts that are attached nor those that are not, nor receipts that are kept."""
    stored = new_key()
    done = await make(store, stored, Promise("done"))
    await done.attach()
    await done.publish([])
    parts = [await whole(store, make, f"{number}", content(SMALL)) for number in range(2)]
    await parts[1].sync()
    await parts[1].detach()
    await store.sweep()
    assert await store.receipt(stored) is not None
    for part in parts:
        assert await part.attach() == digest(content(SMALL))
        await part.publish([])
        await part.detach()
    assert set(place.files()) == {"done", "0", "1"}
