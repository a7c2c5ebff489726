"""Places in which stores live one after another: what the contract of a store is tested against."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Protocol

import pytest

from jackfield.handlers.upload.store import part
from jackfield.handlers.upload.store.contract import Store
from jackfield.handlers.upload.store.directory import DirectoryStore
from jackfield.handlers.upload.store.file import HashingFile
from jackfield.handlers.upload.store.publish import Policy
from tests.support.dial import Dial, Killed, dialled
from tests.support.memory_store import Disk, MemoryStore

DAY = 86400.0


class Place(Protocol):
    """One of them."""

    dial: Dial

    def store(self, policy: Policy = "rename", receipts_kept: float = DAY) -> Store:
        """A store that is not open yet."""

    async def kill(self, store: Store) -> None:
        """The process of this store is gone, without a word; what it has not made durable may be lost."""

    def leave(self) -> None:
        """Close what a test has left open."""

    def put(self, name: str, data: bytes) -> None:
        """Somebody else writes a file where we publish."""

    def make_folder(self, name: str) -> None:
        """Somebody else makes a folder there."""

    def files(self) -> Mapping[str, bytes]:
        """What stands under final names."""

    def staged(self) -> int:
        """How many uploads have left anything but a receipt in staging."""


class MemoryPlace:
    """A disk in memory."""

    def __init__(self) -> None:
        self.dial = Dial()
        self._disk = Disk(self.dial)

    def store(self, policy: Policy = "rename", receipts_kept: float = DAY) -> MemoryStore:
        """See `Place`."""
        return MemoryStore(self._disk, policy, receipts_kept)

    async def kill(self, store: Store) -> None:
        """See `Place`."""
        self._disk.holder = None
        self.dial.revive()

    def leave(self) -> None:
        """See `Place`."""

    def put(self, name: str, data: bytes) -> None:
        """See `Place`."""
        self._disk.files[name] = data

    def make_folder(self, name: str) -> None:
        """See `Place`."""
        self._disk.folders.add(name)

    def files(self) -> Mapping[str, bytes]:
        """See `Place`."""
        return dict(self._disk.files)

    def staged(self) -> int:
        """See `Place`."""
        return len(self._disk.parts)


class DirectoryPlace:
    """A directory of this machine, its system calls dialled."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dial = Dial()
        self._directory = directory
        self._files: list[HashingFile] = []
        dialled(self.dial, monkeypatch)
        monkeypatch.setattr(part, "HashingFile", self._opened)

    def _opened(self, *arguments: Any) -> HashingFile:
        file = HashingFile(*arguments)
        self._files.append(file)
        return file

    def store(self, policy: Policy = "rename", receipts_kept: float = DAY) -> DirectoryStore:
        """See `Place`."""
        return DirectoryStore(self._directory, policy, receipts_kept, DAY)

    async def kill(self, store: Store) -> None:
        """See `Place`. The threads are this process's own: what is under way in them ends first. Then its files
        are closed and its lock is free, as the kernel would see to it."""
        assert isinstance(store, DirectoryStore)
        self.dial.dead = True
        for pool in (store._threads.writers, store._threads.digesters, store._threads.workers):
            pool.stop()
            pool.shutdown(wait=True)
        store._staging.close()
        self.leave()
        if publishing := store._grouping.tasks:  # they died too, or were done just now; nobody is left to hear of it
            done, _ = await asyncio.wait(publishing)
            assert {type(task.exception()) for task in done if not task.cancelled()} <= {Killed, NoneType}
        self.dial.revive()

    def leave(self) -> None:
        """See `Place`."""
        for file in self._files:
            file.close()

    def put(self, name: str, data: bytes) -> None:
        """See `Place`."""
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def make_folder(self, name: str) -> None:
        """See `Place`."""
        (self._directory / name).mkdir(parents=True)

    def files(self) -> Mapping[str, bytes]:
        """See `Place`."""
        found = [path for path in self._directory.rglob("*") if path.is_file() and ".incoming" not in path.parts]
        return {str(path.relative_to(self._directory)): path.read_bytes() for path in found}

    def staged(self) -> int:
        """See `Place`."""
        staging = self._directory / ".incoming"
        ours = [path.name.partition(".") for path in staging.iterdir() if path.name != "lock"]
        return len({key for key, _, kind in ours if kind not in ("receipt", "receipts", "clock")})
