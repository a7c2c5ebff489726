"""Small files that are published together: every point at which a crash may stop it, and every fault of the disk."""

import errno
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import handlers.upload.group
from app.errors import Failure
from handlers.upload.directory import DirectoryStore
from handlers.upload.group import GroupPublisher, Whole
from handlers.upload.messages import Promise, Receipt
from handlers.upload.part import DirectoryPart
from handlers.upload.publish import Policy, Publisher
from handlers.upload.staging import Staging
from handlers.upload.store import Found, Kept

COUNT = 8
NAMES = [f"d{number % 2}/{number}.txt" for number in range(COUNT)]


class Stop(BaseException):
    """The crash: nothing that is written after it happens."""


def whole(number: int, name: str) -> Whole:
    """A small file with a key of its own."""
    data = f"file {number}".encode() * number
    return Whole(hashlib.sha256(b"%d" % number).hexdigest(), name, data, hashlib.sha256(data).hexdigest())


GROUP = [whole(number, name) for number, name in enumerate(NAMES)]


def publish(folder: Path, policy: Policy = "rename", group: list[Whole] | None = None) -> list[Receipt | Exception]:
    """One group in a directory of its own."""
    staging = Staging(folder)
    staging.open()
    try:
        publisher = Publisher(staging, policy, lambda _: None)
        return GroupPublisher(staging, publisher, lambda _: None).publish(GROUP if group is None else group)
    finally:
        staging.close()


async def after_a_start(
    folder: Path, policy: Policy = "rename", group: list[Whole] | None = None
) -> tuple[list[Found], list[Kept | None]]:
    """What a new store finds: the open uploads, and each file's receipt."""
    store = DirectoryStore(folder, policy, 1000, 1000)
    found = await store.open()
    receipts = [await store.receipt(one.key) for one in (GROUP if group is None else group)]
    await store.close()
    return found, receipts


def visible(folder: Path) -> dict[str, bytes]:
    """All that has a final name."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".incoming" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def staged(folder: Path) -> set[str]:
    """What kinds of files of uploads lie in staging, but for receipts."""
    kinds = {path.name.partition(".")[2] for path in (folder / ".incoming").iterdir() if len(path.stem) >= 64}
    return kinds - {"receipt"}


def stop_at(patch: pytest.MonkeyPatch, owner: Any, name: str, call: int, *, after: bool = False) -> None:
    """Crash at this call of a function, before or after it does its work."""
    calls, function = 0, getattr(owner, name)

    def stopping(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            raise Stop
        result = function(*arguments, **options)
        if calls == call:
            raise Stop
        return result

    patch.setattr(owner, name, stopping)


BEFORE_THE_FIRST_SYNC = [
    (name, number, after) for name in ("_stage", "_intend") for number in (1, 4, COUNT) for after in (False, True)
]
SINCE = [
    (handlers.upload.group, "sync_file_system", 1, False),
    (handlers.upload.group, "sync_file_system", 1, True),
    *((Publisher, "give_name", number, after) for number in (1, 4, COUNT) for after in (False, True)),
    (handlers.upload.group, "sync_file_system", 2, False),
    (handlers.upload.group, "sync_file_system", 2, True),
    *((GroupPublisher, "_settle", number, after) for number in (1, 4, COUNT) for after in (False, True)),
]


@pytest.mark.parametrize(("owner", "name", "call", "after"), SINCE)
@pytest.mark.parametrize("policy", ["rename", "reject", "replace"])
async def test_a_crash_behind_the_intents_is_finished_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: Policy, owner: Any, name: str, call: int, after: bool
) -> None:
    """Once all parts and intents are written, every file is published once, whole, with its receipt."""
    with monkeypatch.context() as patch:
        stop_at(patch, owner, name, call, after=after)
        with pytest.raises(Stop):
            publish(tmp_path, policy)
    assert all(data in [one.data for one in GROUP] for data in visible(tmp_path).values())
    for _ in range(2):  # a second start changes nothing
        found, receipts = await after_a_start(tmp_path, policy)
        assert found == []
        assert [kept and kept.receipt for kept in receipts] == [
            Receipt(one.name, len(one.data), one.sha256) for one in GROUP
        ]
        assert visible(tmp_path) == {one.name: one.data for one in GROUP}
        assert staged(tmp_path) == set()


@pytest.mark.parametrize(("name", "call", "after"), BEFORE_THE_FIRST_SYNC)
async def test_a_crash_before_the_intents_leaves_some_whole_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: int, after: bool
) -> None:
    """Who has no intent yet was never there; who has one is published, whole."""
    with monkeypatch.context() as patch:
        stop_at(patch, GroupPublisher, name, call, after=after)
        with pytest.raises(Stop):
            publish(tmp_path)
    assert visible(tmp_path) == {}
    found, receipts = await after_a_start(tmp_path)
    assert found == []
    assert [kept is not None for kept in receipts] == [number < call - 1 + after for number in range(COUNT)]
    assert visible(tmp_path) == {one.name: one.data for one in GROUP[: call - 1 + after]}
    assert staged(tmp_path) == set()


@pytest.mark.parametrize("call", [1, COUNT // 2, COUNT])
async def test_a_crash_among_renamed_ones_publishes_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """All names were taken: each file has its number once, also when the intents were not told of it yet."""
    publish(tmp_path)
    again = [whole(100 + number, name) for number, name in enumerate(NAMES)]
    for number in range(2):
        with monkeypatch.context() as patch:
            stop_at(patch, GroupPublisher, "_intend_anew", call, after=bool(number))
            with pytest.raises(Stop):
                publish(tmp_path, group=again)
        found, receipts = await after_a_start(tmp_path, group=again)
        assert found == []
        names = [kept.receipt.name if kept else "" for kept in receipts]
        assert names == [name.replace(".txt", f".{number + 1}.txt") for name in NAMES]
        assert [visible(tmp_path)[name] for name in names] == [one.data for one in again]
        assert len(visible(tmp_path)) == COUNT * (number + 2)
        again = [whole(200 + number, name) for number, name in enumerate(NAMES)]


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def overwritten(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


@pytest.mark.parametrize("kind", ["part", "intent"])
@pytest.mark.parametrize("damage", [torn, emptied, overwritten, Path.unlink])
async def test_what_did_not_outlive_a_power_cut_was_never_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, damage: Callable[[Path], None]
) -> None:
    """A part or an intent that is torn, empty or gone: that one is dropped, the others are published."""
    with monkeypatch.context() as patch:
        stop_at(patch, handlers.upload.group, "sync_file_system", 1)
        with pytest.raises(Stop):
            publish(tmp_path)
    damage(tmp_path / ".incoming" / f"{GROUP[3].key}.{kind}")
    found, receipts = await after_a_start(tmp_path)
    assert found == []
    assert [kept is not None for kept in receipts] == [number != 3 for number in range(COUNT)]
    assert visible(tmp_path) == {one.name: one.data for one in GROUP if one is not GROUP[3]}
    assert staged(tmp_path) == set()


async def test_a_name_that_is_taken_at_the_start_drops_that_one_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under `reject`: nobody was told that it is stored, so it must not appear at some later start either."""
    with monkeypatch.context() as patch:
        stop_at(patch, Publisher, "give_name", 1)
        with pytest.raises(Stop):
            publish(tmp_path, "reject")
    taken = tmp_path / GROUP[2].name
    taken.parent.mkdir()
    taken.write_bytes(b"somebody else's")
    _, receipts = await after_a_start(tmp_path, "reject")
    assert [kept is not None for kept in receipts] == [number != 2 for number in range(COUNT)]
    assert taken.read_bytes() == b"somebody else's"
    assert staged(tmp_path) == set()
    taken.unlink()
    await after_a_start(tmp_path, "reject")
    assert not taken.exists()


# -- faults


def test_a_taken_name_is_one_file_s_alone(tmp_path: Path) -> None:
    """`name_taken` stands in its place, and nothing of it is left; the others are stored."""
    (tmp_path / "d0").mkdir()
    (tmp_path / GROUP[4].name).write_bytes(b"first")
    results = publish(tmp_path, "reject")
    failed = results.pop(4)
    assert isinstance(failed, Failure)
    assert failed.kind.code == "name_taken"
    assert all(isinstance(result, Receipt) for result in results)
    assert (tmp_path / GROUP[4].name).read_bytes() == b"first"
    assert staged(tmp_path) == set()


def failing(patch: pytest.MonkeyPatch, owner: Any, name: str, call: int, error: int) -> None:
    """From this call on the function fails."""
    calls, function = 0, getattr(owner, name)

    def fails(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= call:
            raise OSError(error, "injected")
        return function(*arguments, **options)

    patch.setattr(owner, name, fails)


@pytest.mark.parametrize("policy", ["rename", "reject"])
@pytest.mark.parametrize("call", [1, 2])
async def test_a_sync_that_fails_fails_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, policy: Policy
) -> None:
    """An error of either sync is everybody's, nothing is visible, nothing is left, and it can be done again."""
    with monkeypatch.context() as patch:
        failing(patch, handlers.upload.group, "sync_file_system", call, errno.EIO)
        results = publish(tmp_path, policy)
    assert all(isinstance(result, OSError) and result.errno == errno.EIO for result in results)
    assert visible(tmp_path) == {}
    assert staged(tmp_path) == set()
    found, receipts = await after_a_start(tmp_path, policy)
    assert (found, receipts) == ([], [None] * COUNT)
    assert all(isinstance(result, Receipt) for result in publish(tmp_path, policy))


@pytest.mark.parametrize("name", ["_stage", "_intend"])
@pytest.mark.parametrize("call", [1, 5, COUNT])
async def test_a_full_disk_fails_those_that_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, name: str
) -> None:
    """Who cannot be written fails with the disk's error; those before it are stored; nothing half is left."""
    with monkeypatch.context() as patch:
        failing(patch, GroupPublisher, name, call, errno.ENOSPC)
        results = publish(tmp_path)
    assert all(isinstance(result, Receipt) for result in results[: call - 1])
    assert all(isinstance(result, OSError) and result.errno == errno.ENOSPC for result in results[call - 1 :])
    assert visible(tmp_path) == {one.name: one.data for one in GROUP[: call - 1]}
    assert staged(tmp_path) == set()


async def test_a_small_part_that_found_no_room_can_be_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when it leaves memory: the bytes stay, and are durable once there is room."""
    store = DirectoryStore(tmp_path, "rename", 1000, 1000)
    await store.open()
    part = store.create_lazily("a" * 64, Promise("a"))
    await part.attach()
    await part.write([memoryview(b"small")], 5)
    with monkeypatch.context() as patch:
        failing(patch, DirectoryPart, "write", 1, errno.ENOSPC)
        for _ in range(2):
            with pytest.raises(OSError, match="injected"):
                await part.sync()
            assert (part.offset, part.durable) == (5, 0)
    await part.sync()
    assert (part.offset, part.durable) == (5, 5)
    assert await part.publish([]) == Receipt("a", 5, hashlib.sha256(b"small").hexdigest())
    await part.detach()
    await store.close()
