"""Stored files look as if they had been written in their folder: group, permissions, access list; and mtime is kept."""

import asyncio
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from jackfield.handlers.upload.store.contract import Part
from jackfield.handlers.upload.store.directory import DirectoryStore
from jackfield.handlers.upload.store.disk import Disk as StoreDisk
from jackfield.handlers.upload.wire.messages import Promise
from tests.support import disks

DAY = 86400.0
MOMENT = 1_000_000_000_123_456_700
SYSTEMS = ["here", "ext4", "xfs", "tmpfs", "overlay"]


@contextmanager
def mounted(folder: Path, *words: str) -> Iterator[Path]:
    """A file system on `folder`."""
    folder.mkdir()
    if subprocess.run(["mount", *words, str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("this machine may not mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(params=SYSTEMS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty folder on each of these file systems."""
    with ExitStack() as stack:
        match request.param:
            case "here":
                found = tmp_path
            case "tmpfs":
                found = stack.enter_context(mounted(tmp_path / "tmpfs", "-t", "tmpfs", "tmpfs"))
            case "overlay":
                below = stack.enter_context(mounted(tmp_path / "below", "-t", "tmpfs", "tmpfs"))
                for name in ("lower", "upper", "work"):
                    (below / name).mkdir()
                options = f"lowerdir={below}/lower,upperdir={below}/upper,workdir={below}/work"
                found = stack.enter_context(mounted(tmp_path / "over", "-t", "overlay", "-o", options, "overlay"))
            case system:
                if reason := disks.unavailable(system):
                    pytest.skip(reason)
                found = stack.enter_context(disks.Disk(tmp_path, system)).place
        (found / "files").mkdir()
        yield found / "files"


async def store_all(directory: Path, *folders: str, mode: int | None = None) -> list[Path]:
    """Store one file by itself, and six more in a group, in each of these folders; where they are."""
    store = DirectoryStore(directory, "rename", DAY, DAY, mode=mode)
    await store.open()
    names = [f"{folder}/{number}" for folder in folders for number in range(7)]
    try:
        parts: list[Part] = []
        for number, name in enumerate(names):
            key, promise = f"{number:064x}", Promise(name, mtime=MOMENT)
            part = store.create_lazily(key, promise) if number % 7 else await store.create(key, promise)
            await part.attach()
            await part.write([memoryview(b"data")], 4)
            parts.append(part)
        await asyncio.gather(*(part.publish([]) for part in parts))
        await asyncio.gather(*(part.detach() for part in parts))
    finally:
        await store.close()
    return [directory / name for name in names]


async def store_one(directory: Path, name: str, mode: int, *, lazily: bool) -> None:
    """Store one file, by itself or as a group of one."""
    store = DirectoryStore(directory, "rename", DAY, DAY, mode=mode)
    await store.open()
    try:
        promise = Promise(name, mtime=MOMENT)
        part: Part = store.create_lazily("a" * 64, promise) if lazily else await store.create("b" * 64, promise)
        await part.attach()
        await part.write([memoryview(b"data")], 4)
        await part.publish([])
        await part.detach()
    finally:
        await store.close()


def looks(path: Path) -> tuple[int, int, bytes | None]:
    """Permissions, group, and access list."""
    found = path.stat()
    try:
        acl = os.getxattr(path, "system.posix_acl_access")
    except OSError:
        acl = None
    return found.st_mode, found.st_gid, acl


def written(folder: Path) -> tuple[int, int, bytes | None]:
    """How a file looks that any program writes there."""
    (folder / "written").write_bytes(b"data")
    return looks(folder / "written")


def set_default_acl(folder: Path) -> None:
    """Files in it can be read by user 1234 too, whatever the umask says; and written by the group."""
    undefined = 2**32 - 1
    entries = [(0x01, 7, undefined), (0x02, 5, 1234), (0x04, 6, undefined), (0x10, 7, undefined), (0x20, 0, undefined)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(folder, "system.posix_acl_default", acl)
    except OSError as error:
        pytest.skip(f"this file system has no access lists: {error.strerror}")


@pytest.fixture
def umask() -> Iterator[None]:
    """A umask that is not the usual one."""
    before = os.umask(0o027)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.usefixtures("umask")
async def test_files_look_as_if_they_were_written_in_their_folder(place: Path) -> None:
    """By umask; in a folder with the setgid bit, and below it, by its group; and each has its client's mtime."""
    (place / "shared").mkdir()
    if os.geteuid() == 0:
        os.chown(place / "shared", -1, 4321)
    (place / "shared").chmod(0o2770)
    (place / "plain").mkdir()
    for path in await store_all(place, "plain", "shared", "shared/below/it", "new"):
        assert looks(path) == written(path.parent), path
        assert path.read_bytes() == b"data"
        assert path.stat().st_mtime_ns == MOMENT


@pytest.mark.usefixtures("umask")
async def test_default_access_lists_hold(place: Path) -> None:
    """A file has the list that it would have had, and one in a folder without such a list has none."""
    (place / "listed").mkdir()
    set_default_acl(place / "listed")
    set_default_acl(place)
    (place / "plain").mkdir()
    os.removexattr(place / "plain", "system.posix_acl_default")
    for path in await store_all(place, "listed", "listed/below", "plain"):
        assert looks(path) == written(path.parent), path


@pytest.mark.usefixtures("umask")
async def test_permissions_may_be_set(tmp_path: Path) -> None:
    """`file_mode` is what every file has, whatever umask and access list say."""
    (tmp_path / "listed").mkdir()
    set_default_acl(tmp_path / "listed")
    for path in await store_all(tmp_path, "listed", "plain", mode=0o604):
        assert path.stat().st_mode & 0o7777 == 0o604, path


async def test_all_is_set_before_the_bytes_are_synced_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody sees it change, and a power cut does not undo it: attributes, then the sync, then the name."""
    made: list[str] = []
    real = StoreDisk.call

    def call(disk: StoreDisk, function: Callable[..., Any], /, *words: Any, **options: Any) -> Any:
        made.append(function.__name__)
        return real(disk, function, *words, **options)

    monkeypatch.setattr(StoreDisk, "call", call)
    for lazily in (False, True):
        made.clear()
        await store_one(tmp_path, "in/a", 0o640, lazily=lazily)
        end = max(number for number, name in enumerate(made) if name == "link")
        steps = [name for name in made[:end] if name in ("fchmod", "utime", "fsync")]
        places = [len(steps) - 1 - steps[::-1].index(name) for name in ("fchmod", "utime")]
        assert "fsync" in steps[max(places) :], made
