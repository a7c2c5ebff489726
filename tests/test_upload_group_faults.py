"""Small files that are published together: every fault of the disk, and the receipts that share a file."""

import errno
import hashlib
from pathlib import Path
from typing import Any

import pytest

from jackfield.app.errors import Failure
from jackfield.handlers.upload.store.directory import DirectoryStore
from jackfield.handlers.upload.store.disk import Disk
from jackfield.handlers.upload.store.group import Group
from jackfield.handlers.upload.store.publish import Policy
from jackfield.handlers.upload.store.staging import Staging
from jackfield.handlers.upload.wire.messages import Promise, Receipt
from tests.support.groups import (
    COUNT,
    GROUP,
    after_a_start,
    failing,
    publish,
    staged,
    visible,
)


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


@pytest.mark.parametrize("policy", ["rename", "reject"])
@pytest.mark.parametrize("call", [1, 2])
async def test_a_sync_that_fails_fails_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, policy: Policy
) -> None:
    """An error of either sync is everybody's, nothing is visible, nothing is left, and it can be done again."""
    with monkeypatch.context() as patch:
        failing(patch, Disk, "sync_system", call, errno.EIO)
        results = publish(tmp_path, policy)
    assert all(isinstance(result, OSError) and result.errno == errno.EIO for result in results)
    assert visible(tmp_path) == {}
    assert staged(tmp_path) == set()
    found, receipts = await after_a_start(tmp_path, policy)
    assert (found, receipts) == ([], [None] * COUNT)
    assert all(isinstance(result, Receipt) for result in publish(tmp_path, policy))


@pytest.mark.parametrize("call", [1, 5, COUNT])
async def test_a_full_disk_fails_those_that_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Who cannot be written fails with the disk's error; those before it are stored; nothing half is left."""
    with monkeypatch.context() as patch:
        failing(patch, Group, "_stage", call, errno.ENOSPC)
        results = publish(tmp_path)
    assert all(isinstance(result, Receipt) for result in results[: call - 1])
    assert all(isinstance(result, OSError) and result.errno == errno.ENOSPC for result in results[call - 1 :])
    assert visible(tmp_path) == {one.name: one.data for one in GROUP[: call - 1]}
    assert staged(tmp_path) == set()
    _, receipts = await after_a_start(tmp_path)
    assert [kept is not None for kept in receipts] == [number < call - 1 for number in range(COUNT)]


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (Staging, "write_group", 1),
        (Staging, "replace_group", 1),
        (Disk, "replace", 1),
        (Disk, "replace", 2),
    ],
)
async def test_what_is_written_for_all_fails_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int
) -> None:
    """The intents, the intents anew where a name was taken, the receipts: without them nothing is stored."""
    (tmp_path / "d0").mkdir()
    (tmp_path / GROUP[4].name).write_bytes(b"first")
    with monkeypatch.context() as patch:
        failing(patch, owner, name, call, errno.ENOSPC)
        results = publish(tmp_path)
    assert all(isinstance(result, OSError) and result.errno == errno.ENOSPC for result in results)
    assert visible(tmp_path) == {GROUP[4].name: b"first"}
    assert await after_a_start(tmp_path) == ([], [None] * COUNT)
    assert visible(tmp_path) == {GROUP[4].name: b"first"}
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
        failing(patch, Staging, "create", 1, errno.ENOSPC)
        for _ in range(2):
            with pytest.raises(OSError, match="injected"):
                await part.sync()
            assert (part.offset, part.durable) == (5, 0)
    await part.sync()
    assert (part.offset, part.durable) == (5, 5)
    assert await part.publish([]) == Receipt("a", 5, hashlib.sha256(b"small").hexdigest())
    await part.detach()
    await store.close()


# -- receipts that share a file


@pytest.mark.parametrize("count", [1, 2, COUNT])
async def test_receipts_of_a_group_are_found_and_expire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Each by its key, by the service that stored them and by the next one, until their time is over."""
    results = publish(tmp_path, group=GROUP[:count])
    store = DirectoryStore(tmp_path, "rename", 1000, 1000)
    await store.open()
    for one, result in zip(GROUP, results, strict=False):
        kept = await store.receipt(one.key)
        assert kept is not None
        assert kept.receipt == result
    assert await store.receipt(hashlib.sha256(b"another").hexdigest()) is None
    monkeypatch.setattr(Staging, "now", lambda _: kept.until + 2000)
    assert await store.receipt(GROUP[count - 1].key) is None
    await store.sweep()
    assert {path.name for path in (tmp_path / ".incoming").iterdir()} == {"lock"}
    assert await store.receipt(GROUP[count - 1].key) is None
    await store.close()


async def test_a_file_of_receipts_that_is_not_ours_says_nothing(tmp_path: Path) -> None:
    """Rubbish, a folder, a name that leads out: no start fails, and no key opens them."""
    publish(tmp_path)
    place = tmp_path / ".incoming" / f"{GROUP[0].key}.receipts"
    lines = place.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"d0/", b"../")
    lines[3] = lines[3][:-20] + b"\n"
    place.write_bytes(b"".join(lines) + b"\0" * 100)
    (tmp_path / ".incoming" / "folder.receipts").mkdir()
    _, receipts = await after_a_start(tmp_path)
    assert [kept is not None for kept in receipts] == [number not in (2, 3) for number in range(COUNT)]
