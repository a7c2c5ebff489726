"""Small files that are published together: every point at which a crash may stop it."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jackfield.handlers.upload.store.disk import Disk
from jackfield.handlers.upload.store.group import Group, SmallFile
from jackfield.handlers.upload.store.publish import Policy, Publisher
from jackfield.handlers.upload.store.staging import Staging
from jackfield.handlers.upload.wire.messages import Promise, Receipt
from tests.support.groups import (
    COUNT,
    GROUP,
    NAMES,
    after_a_start,
    crash,
    failing,
    publish,
    staged,
    visible,
    whole,
)

BEFORE_THE_INTENTS = [
    *((Group, "_stage", number, after) for number in (1, 4, COUNT) for after in (False, True)),
    (Staging, "write_group", 1, False),
]
SINCE = [
    (Staging, "write_group", 1, True),
    (Disk, "sync_system", 1, False),
    (Disk, "sync_system", 1, True),
    *((Publisher, "link_name", number, after) for number in (1, 4, COUNT) for after in (False, True)),
    (Disk, "sync_system", 2, False),
    (Disk, "sync_system", 2, True),
    *((Group, "_conclude", 1, after) for after in (False, True)),
    *((Group, "_remove_part", number, False) for number in (2, 4, COUNT)),  # while the parts go
    (Group, "_clean", 1, True),
]


@pytest.mark.parametrize(("owner", "name", "call", "after"), SINCE)
@pytest.mark.parametrize("policy", ["rename", "reject", "replace"])
async def test_a_crash_behind_the_intents_is_finished_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: Policy, owner: Any, name: str, call: int, after: bool
) -> None:
    """Once all parts and intents are written, every file is published once, whole, with its receipt."""
    crash(monkeypatch, tmp_path, owner, name, call, after=after, policy=policy)
    assert all(data in [one.data for one in GROUP] for data in visible(tmp_path).values())
    for _ in range(2):  # a second start changes nothing
        found, receipts = await after_a_start(tmp_path, policy)
        assert found == []
        assert [kept and kept.receipt for kept in receipts] == [
            Receipt(one.name, len(one.data), one.sha256) for one in GROUP
        ]
        assert [kept and kept.promise for kept in receipts] == [one.promise for one in GROUP]
        assert visible(tmp_path) == {one.name: one.data for one in GROUP}
        assert staged(tmp_path) == set()


@pytest.mark.parametrize(("owner", "name", "call", "after"), BEFORE_THE_INTENTS)
async def test_a_crash_before_the_intents_leaves_no_file_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, after: bool
) -> None:
    """What has no intent yet was never there."""
    crash(monkeypatch, tmp_path, owner, name, call, after=after)
    assert await after_a_start(tmp_path) == ([], [None] * COUNT)
    assert visible(tmp_path) == {}
    assert staged(tmp_path) == set()


@pytest.mark.parametrize(
    ("owner", "name", "call", "after"),
    [
        *((Publisher, "link_name", number, after) for number in (1, COUNT // 2, COUNT) for after in (False, True)),
        *((Staging, "replace_group", 1, after) for after in (False, True)),
        *((Disk, "replace", 1, after) for after in (False, True)),
        (Disk, "sync_system", 2, True),
        (Group, "_remove_part", 4, False),
    ],
)
async def test_a_crash_among_renamed_ones_publishes_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, after: bool
) -> None:
    """All names were taken: each file has its number once, also when the intents were not told of it yet."""
    publish(tmp_path)
    again = [whole(100 + number, name) for number, name in enumerate(NAMES)]
    crash(monkeypatch, tmp_path, owner, name, call, after=after, group=again)
    found, receipts = await after_a_start(tmp_path, group=again)
    assert found == []
    names = [kept.receipt.name if kept else "" for kept in receipts]
    assert names == [name.replace(".txt", ".1.txt") for name in NAMES]
    assert [visible(tmp_path)[name] for name in names] == [one.data for one in again]
    assert len(visible(tmp_path)) == COUNT * 2
    assert staged(tmp_path) == set()


@pytest.mark.parametrize("gone", [1, 4, COUNT])
async def test_parts_that_went_before_the_group_was_done_are_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: int
) -> None:
    """The last two steps are not synced: a power cut may undo the first and leave the second."""
    (tmp_path / "d0").mkdir()
    (tmp_path / GROUP[0].name).write_bytes(b"first")
    crash(monkeypatch, tmp_path, Group, "_conclude")
    for one in GROUP[:gone]:
        (tmp_path / ".incoming" / f"{one.key}.part").unlink()
    _, receipts = await after_a_start(tmp_path)
    assert [kept and kept.receipt.name for kept in receipts] == ["d0/0.1.txt", *NAMES[1:]]
    assert len(visible(tmp_path)) == COUNT + 1
    assert staged(tmp_path) == set()


async def test_a_file_that_only_looks_the_same_is_another_upload_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name, size and digest are right, but the part is gone and was never linked: there is no receipt of it."""
    publish(tmp_path)
    again = [SmallFile(whole(100 + n, "").key, one.promise, one.data, one.sha256) for n, one in enumerate(GROUP)]
    crash(monkeypatch, tmp_path, Publisher, "link_name", group=again)
    (tmp_path / ".incoming" / f"{again[2].key}.part").unlink()
    _, receipts = await after_a_start(tmp_path, group=again)
    assert [kept is not None for kept in receipts] == [number != 2 for number in range(COUNT)]
    assert len(visible(tmp_path)) == COUNT * 2 - 1


async def test_who_went_on_after_the_group_keeps_what_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that failed there and has a manifest since is an open upload, whatever an old group says of it."""
    crash(monkeypatch, tmp_path, Publisher, "link_name")
    staging = Staging(tmp_path, Disk())
    (tmp_path / ".incoming" / f"{GROUP[2].key}.part").unlink()
    staging.create(GROUP[2].key, Promise(GROUP[2].name), b"", None)
    found, receipts = await after_a_start(tmp_path)
    assert [one.key for one in found] == [GROUP[2].key]
    assert [kept is not None for kept in receipts] == [number != 2 for number in range(COUNT)]


async def test_a_group_that_cannot_be_finished_now_keeps_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails while a start links a file: the others are stored, that one by a later start."""
    crash(monkeypatch, tmp_path, Publisher, "link_name")
    with monkeypatch.context() as patch:
        failing(patch, Publisher, "link_name", COUNT, errno.EIO)
        _, receipts = await after_a_start(tmp_path)
    assert [kept is not None for kept in receipts] == [number < COUNT - 1 for number in range(COUNT)]
    _, receipts = await after_a_start(tmp_path)
    assert all(receipts)
    assert visible(tmp_path) == {one.name: one.data for one in GROUP}
    assert staged(tmp_path) == set()


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def overwritten(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


@pytest.mark.parametrize(
    ("kind", "damage", "lost"),
    [
        *(("part", damage, {3}) for damage in (torn, emptied, overwritten, Path.unlink)),
        ("group", torn, {COUNT - 1}),
        *(("group", damage, set(range(COUNT))) for damage in (emptied, overwritten, Path.unlink)),
    ],
)
async def test_what_did_not_outlive_a_power_cut_was_never_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, damage: Callable[[Path], None], lost: set[int]
) -> None:
    """A part or an intent that is torn, empty or gone: that one is dropped, the others are published."""
    crash(monkeypatch, tmp_path, Disk, "sync_system")
    damage(tmp_path / ".incoming" / f"{GROUP[3 if kind == 'part' else 0].key}.{kind}")
    found, receipts = await after_a_start(tmp_path)
    assert found == []
    assert {number for number, kept in enumerate(receipts) if kept is None} == lost
    assert visible(tmp_path) == {one.name: one.data for number, one in enumerate(GROUP) if number not in lost}
    assert staged(tmp_path) == set()


async def test_a_name_that_is_taken_at_the_start_drops_that_one_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under `reject`: nobody was told that it is stored, so it must not appear at some later start either."""
    crash(monkeypatch, tmp_path, Publisher, "link_name", policy="reject")
    taken = tmp_path / GROUP[2].name
    taken.parent.mkdir(exist_ok=True)
    taken.write_bytes(b"somebody else's")
    _, receipts = await after_a_start(tmp_path, "reject")
    assert [kept is not None for kept in receipts] == [number != 2 for number in range(COUNT)]
    assert taken.read_bytes() == b"somebody else's"
    assert staged(tmp_path) == set()
    taken.unlink()
    await after_a_start(tmp_path, "reject")
    assert not taken.exists()
