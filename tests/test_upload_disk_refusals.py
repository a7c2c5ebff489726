"""What a disk refuses has a word: at the start, at creation, at the end. And names cost little."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from jackfield.app.errors import CannotStart, Failure
from jackfield.handlers.upload.store.directory import DirectoryStore
from jackfield.handlers.upload.store.disk import Disk
from jackfield.handlers.upload.store.group import Group
from jackfield.handlers.upload.wire.messages import Promise, Receipt
from jackfield.handlers.upload.wire.words import NO_SPACE, NOT_PERMITTED, STORAGE_FAILED, TOO_MANY_FILES, failure_of

DAY = 86400.0
COUNT = 20_000  # files that have the name already


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all calls to the disk."""
    seen: list[str] = []
    answered(monkeypatch, lambda name, _: seen.append(name))
    return seen


def answered(patch: pytest.MonkeyPatch, look: Callable[[str, tuple[Any, ...]], object]) -> None:
    """`look` sees each call to the disk before it is made, and may raise in its place."""
    made = Disk.call

    def call(disk: Disk, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
        look(function.__name__, arguments)
        return made(disk, function, *arguments, **options)

    patch.setattr(Disk, "call", call)


def refusing(patch: pytest.MonkeyPatch, refused: str, error: int, *, only: Callable[[Any], bool] = bool) -> None:
    """This call is refused, where it is about what `only` says."""

    def look(name: str, arguments: tuple[Any, ...]) -> None:
        if name == refused and only(arguments[0]):
            raise OSError(error, os.strerror(error))

    answered(patch, look)


def is_folder(fd: int) -> bool:
    """Whether a descriptor is that of a folder."""
    return Path(f"/proc/self/fd/{fd}").is_dir()


async def opened(folder: Path) -> DirectoryStore:
    """A store on this directory."""
    store = DirectoryStore(folder, "rename", DAY, DAY)
    await store.open()
    return store


async def publish(store: DirectoryStore, name: str, number: int, *, lazily: bool = True) -> Receipt:
    """One small file, from creation to receipt."""
    key, promise = f"{number:064x}", Promise(name)
    part = store.create_lazily(key, promise) if lazily else await store.create(key, promise)
    await part.attach()
    await part.write([memoryview(b"%d" % number)], len(b"%d" % number))
    try:
        return await part.publish([])
    finally:
        await part.detach()


# -- at the start


@pytest.mark.parametrize(
    ("call", "error", "reason"),
    [
        *(("link", each, "has no hard links") for each in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)),
        *(("flock", each, "has no locks") for each in (errno.ENOLCK, errno.EOPNOTSUPP)),
    ],
)
async def test_a_file_system_that_lacks_something_is_named_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: int, reason: str
) -> None:
    """Hard links and locks are needed: without them the service does not start, and leaves nothing behind."""
    before = len(os.listdir("/proc/self/fd"))
    refusing(monkeypatch, call, error)
    with pytest.raises(CannotStart, match=reason):
        await opened(tmp_path / "uploads")
    assert os.listdir(tmp_path / "uploads") == [".incoming"]
    assert os.listdir(tmp_path / "uploads" / ".incoming") == ["lock"]
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_file_system_that_does_not_sync_folders_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EINVAL is no fault of the disk: it is logged when the store is opened, and uploads are stored."""
    refusing(monkeypatch, "fsync", errno.EINVAL, only=is_folder)
    with capture_logs() as logs:
        store = await opened(tmp_path)
        assert [entry["event"] for entry in logs] == ["disk.no_folder_sync"]
        for number, lazily in enumerate((True, False)):
            await publish(store, f"{number}", number, lazily=lazily)
        assert len(logs) == 1
    await store.close()


async def test_a_file_whose_sync_says_einval_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only folders may refuse to be synced."""
    store = await opened(tmp_path)
    refusing(monkeypatch, "fsync", errno.EINVAL, only=lambda fd: not is_folder(fd))
    with pytest.raises(OSError, match="Invalid"):
        await publish(store, "a", 1)
    assert os.listdir(tmp_path) == [".incoming"]
    await store.close()


# -- of one upload


@pytest.mark.parametrize("error", [errno.EACCES, errno.EPERM, errno.EROFS])
@pytest.mark.parametrize("call", ["link", "mkdir"])
@pytest.mark.parametrize("lazily", [False, True])
async def test_a_folder_that_may_not_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, call: str, lazily: bool
) -> None:
    """At the end, where it was not known before: the word, and the folder of the name."""
    store = await opened(tmp_path)
    refusing(monkeypatch, call, error)
    with pytest.raises(Failure, match=r"may not write in ro/deep\.") as refused:
        await publish(store, "ro/deep/a", 1, lazily=lazily)
    assert refused.value.kind is NOT_PERMITTED
    await store.close()


async def test_a_folder_that_may_not_be_written_is_refused_before_bytes_are_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is the deepest folder of the name that is there."""
    store = await opened(tmp_path)
    (tmp_path / "ro").mkdir()
    (tmp_path / "rw").mkdir()
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, *rest, **options: path.name != "ro" and access(path, *rest, **options)
    )
    for name in ("ro/a", "ro/new/a"):
        with pytest.raises(Failure, match=r"may not write in ro") as refused:
            await store.taken(name)
        assert refused.value.kind is NOT_PERMITTED
    assert not await store.taken("rw/a")
    await store.close()


@pytest.mark.parametrize(
    ("error", "kind", "status", "close"),
    [
        (errno.ENOSPC, NO_SPACE, 507, 4507), (errno.EDQUOT, NO_SPACE, 507, 4507),
        (errno.EROFS, NOT_PERMITTED, 403, 4403), (errno.EACCES, NOT_PERMITTED, 403, 4403),
        (errno.EMFILE, TOO_MANY_FILES, 503, 1013), (errno.ENFILE, TOO_MANY_FILES, 503, 1013),
        (errno.EIO, STORAGE_FAILED, 500, 1011),
    ],
)  # fmt: skip
def test_each_refusal_has_its_word(error: int, kind: object, status: int, close: int) -> None:
    """What cannot get better by itself is told from what can."""
    failure = failure_of(OSError(error, os.strerror(error)))
    assert (failure.kind, failure.kind.status, failure.code) == (kind, status, close)


# -- names


async def test_the_next_number_of_a_popular_name_is_found_soon(tmp_path: Path, calls: list[str]) -> None:
    """The calls grow with the logarithm of how many have the name; a group of them is no exception."""
    for number in range(COUNT):
        (tmp_path / ("n.txt" if not number else f"n.{number}.txt")).touch()
    store = await opened(tmp_path)
    calls.clear()
    assert (await publish(store, "n.txt", 1)).name == f"n.{COUNT}.txt"
    assert len(calls) < 70
    calls.clear()
    receipts = await asyncio.gather(*(publish(store, "n.txt", number) for number in range(2, 130)))
    assert {receipt.name for receipt in receipts} == {f"n.{number}.txt" for number in range(COUNT + 1, COUNT + 129)}
    assert len(calls) < 128 * 60
    await store.close()


@pytest.mark.parametrize("taken", [[0], [0, 1, 3], [0, 1, 2, 3, 7, 8, 9], [0, 2], [0, 1, 2, 3, 4, 5, 6, 8]])
async def test_where_numbers_have_gaps_nothing_is_overwritten(tmp_path: Path, taken: list[int]) -> None:
    """Whatever number is found, it was free."""
    before = {("n" if not number else f"n.{number}"): b"theirs %d" % number for number in taken}
    for name, data in before.items():
        (tmp_path / name).write_bytes(data)
    store = await opened(tmp_path)
    receipts = [await publish(store, "n", number, lazily=number % 2 == 0) for number in range(12)]
    expected = before | {receipt.name: b"%d" % number for number, receipt in enumerate(receipts)}
    assert len(expected) == len(before) + 12
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == expected
    await store.close()


async def test_a_group_does_not_wait_for_the_names_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the names of one group are being found, another client's files are stored."""
    store = await opened(tmp_path)
    loop, waits, go_on = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    finish = Group.finish

    def held(group: Group) -> list[Receipt | Exception]:
        if group._files[0].small.name.startswith("slow"):
            loop.call_soon_threadsafe(waits.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        return finish(group)

    monkeypatch.setattr(Group, "finish", held)
    slow = [asyncio.create_task(publish(store, f"slow{number}", number)) for number in range(8)]
    await waits.wait()
    for number in range(100, 106):
        await publish(store, f"quick{number}", number)
    await asyncio.gather(*(publish(store, f"quick{number}", number) for number in range(200, 206)))
    assert not any(task.done() for task in slow)
    go_on.set()
    assert len(await asyncio.gather(*slow)) == 8
    await store.close()


@pytest.mark.parametrize("lazily", [False, True])
async def test_a_deep_name_needs_few_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lazily: bool) -> None:
    """Each folder is synced and closed once the next one is open."""
    store, most = await opened(tmp_path), 0
    before = len(os.listdir("/proc/self/fd"))

    def look(_: str, __: object) -> None:
        nonlocal most
        most = max(most, len(os.listdir("/proc/self/fd")) - before)

    answered(monkeypatch, look)
    await publish(store, "a/" * 32 + "a", 1, lazily=lazily)
    assert most <= 6
    assert len(os.listdir("/proc/self/fd")) == before
    await store.close()
