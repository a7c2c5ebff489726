"""Small files that are published together, in a directory of their own: what crashes and faults leave there."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from jackfield.handlers.upload.store.contract import Found, Kept
from jackfield.handlers.upload.store.directory import DirectoryStore
from jackfield.handlers.upload.store.disk import Disk
from jackfield.handlers.upload.store.group import Group, SmallFile, divided
from jackfield.handlers.upload.store.publish import Policy, Publisher
from jackfield.handlers.upload.store.staging import Staging
from jackfield.handlers.upload.wire.messages import Promise, Receipt

COUNT = 8
NAMES = [f"d{number % 2}/{number}.txt" for number in range(COUNT)]


class Stop(BaseException):
    """The crash: nothing that is written after it happens."""


def whole(number: int, name: str) -> SmallFile:
    """A small file with a key of its own."""
    data = f"file {number}".encode() * number
    key, digest = (hashlib.sha256(each).hexdigest() for each in (b"%d" % number, data))
    return SmallFile(key, Promise(name, len(data)), data, digest)


GROUP = [whole(number, name) for number, name in enumerate(NAMES)]


def publish(folder: Path, policy: Policy = "rename", group: list[SmallFile] | None = None) -> list[Receipt | Exception]:
    """One group in a directory of its own."""
    staging = Staging(folder, Disk())
    staging.open()
    try:
        publisher, results = Publisher(staging, policy), []
        for files in divided(GROUP if group is None else group):
            steps = Group(publisher, files)
            try:
                steps.prepare()
                results += steps.finish()
            finally:
                steps.close()
        return results
    finally:
        staging.close()


async def after_a_start(
    folder: Path, policy: Policy = "rename", group: list[SmallFile] | None = None
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
    return kinds - {"receipt", "receipts"}


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


def crash(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    owner: Any,
    name: str,
    call: int = 1,
    *,
    after: bool = False,
    **options: Any,
) -> None:
    """Publish a group, and crash at this call: see `stop_at`, and `publish` for the options."""
    with monkeypatch.context() as patch:
        stop_at(patch, owner, name, call, after=after)
        with pytest.raises(Stop):
            publish(folder, **options)
