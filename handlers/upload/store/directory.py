"""The store on a local directory: takes hold of it, recovers what a crash left, and sweeps (see `store.Store`)."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from jackfield.app.errors import CannotStart
from jackfield.handlers.upload.store.contract import Found, Kept
from jackfield.handlers.upload.store.group import GroupPublisher, SmallFile
from jackfield.handlers.upload.store.part import DirectoryPart
from jackfield.handlers.upload.store.publish import Policy, Publisher
from jackfield.handlers.upload.store.receipts import Receipts
from jackfield.handlers.upload.store.records import Manifest, Stored
from jackfield.handlers.upload.store.recovery import Recovery
from jackfield.handlers.upload.store.small import Grouping, SmallPart
from jackfield.handlers.upload.store.staging import Staging
from jackfield.handlers.upload.wire.messages import Promise, Receipt

_SWEEP: Final = 600.0  # seconds between two looks at the whole staging folder, at the most
_WORKERS: Final = 16
"""Threads that wait for disks, so that one upload's sync holds up no other's."""

_WRITERS: Final = 4
"""Threads that write; they wait for the disk more than they do anything."""

_DIGESTERS: Final = max(len(os.sched_getaffinity(0)) - 1, 1)
"""Threads that hash: one core is the loop's, which answers everybody. With two of them on two cores a ping beside eight
uploads had a p99 of 7 to 15 ms, with one 4 to 9. A lower priority does not help: who is made to wait may hold the
interpreter's lock, and then the loop waits for it."""


class DirectoryStore:
    """Files below `directory`, staged in its folder `.incoming`.

    `receipts_kept` in seconds; `abandoned` is the age in seconds at which strange files in staging go.
    """

    def __init__(
        self,
        directory: Path,
        policy: Policy,
        receipts_kept: float,
        abandoned: float,
        observe: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._staging = Staging(directory)
        self._publisher = Publisher(self._staging, policy, observe)
        self._receipts_kept = receipts_kept
        self._abandoned = abandoned
        self._observe = observe
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="store")
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="write")
        self._digesters = ThreadPoolExecutor(_DIGESTERS, thread_name_prefix="digest")
        self._receipts = Receipts(self._staging)
        self._groups = GroupPublisher(self._staging, self._publisher, self._receipts, observe)
        self._grouping = Grouping(self._publish_group)
        self._sweep_next = 0.0
        self._open: set[str] = set()  # keys of parts that this object knows of

    async def open(self) -> list[Found]:
        """See the contract."""
        await self._run(self._staging.open)
        try:
            found = await self._run(Recovery(self._staging, self._publisher).run)
            await self._run(self._receipts.open)
        except OSError as error:
            self._staging.close()
            raise CannotStart(f"{self._staging.folder} cannot be read: {error.strerror}") from error
        self._open.update(key for key, _ in found)
        ahead = self._ahead()
        return [
            Found(key, manifest.promise, self._part(key, manifest), manifest.touched + ahead) for key, manifest in found
        ]

    def _ahead(self) -> float:
        """Seconds by which the system's clock is ahead of ours."""
        return time.time() - self._staging.now()

    async def close(self) -> None:
        """See the contract."""
        self._staging.close()
        for pool in (self._writers, self._workers):
            pool.shutdown(wait=False, cancel_futures=True)

    async def create(self, key: str, promise: Promise) -> DirectoryPart:
        """See the contract."""
        self._open.add(key)
        try:
            manifest = await self._run(self._staging.create, key, promise)
        except OSError:
            with contextlib.suppress(OSError):
                await self._run(self._staging.remove, key)
            self._open.discard(key)
            raise
        return self._part(key, manifest)

    def create_lazily(self, key: str, promise: Promise) -> SmallPart:
        """See the contract."""
        self._open.add(key)
        return SmallPart(key, promise, self._grouping, lambda: self.create(key, promise))

    async def _publish_group(self, group: Sequence[SmallFile]) -> list[Receipt | Exception]:
        results: list[Receipt | Exception] = await self._run(self._groups.publish, group)
        return results

    def _part(self, key: str, manifest: Manifest) -> DirectoryPart:
        return DirectoryPart(
            self._staging, self._publisher, key, manifest, self._workers, self._writers, self._digesters, self._observe
        )

    async def receipt(self, key: str) -> Kept | None:
        """See the contract."""
        found: tuple[Stored, float] | None = await self._run(self._receipts.find, key)
        if found is None:
            return None
        stored, until = found[0], found[1] + self._receipts_kept
        if until <= self._staging.now():
            return None
        return Kept(stored.receipt, until + self._ahead(), stored.asked)

    async def taken(self, name: str) -> bool:
        """See the contract."""
        return bool(await self._run(self._publisher.taken, name))

    async def free(self) -> int:
        """See the contract."""
        system: os.statvfs_result = await self._run(os.statvfs, self._staging.folder)
        return system.f_bavail * system.f_frsize

    async def sweep(self) -> None:
        """See the contract. Looking at all receipts takes a while, so it is not done more often than it shows."""
        now = self._staging.now()
        if now >= self._sweep_next:
            self._sweep_next = now + min(_SWEEP, self._receipts_kept / 20, self._abandoned / 20)
            await self._run(self._sweep)

    def _sweep(self) -> None:
        now = self._staging.now()
        for entry in self._staging.entries():
            key, _, kind = entry.name.partition(".")
            if kind in ("receipt", "receipts"):
                limit = self._receipts_kept
            elif kind in ("part", "upload", "link", "group") and key not in self._open:
                limit = self._abandoned
            else:
                continue
            with contextlib.suppress(OSError):  # it has just been published, or removed; or it is no file
                if now - entry.stat(follow_symlinks=False).st_mtime > limit:
                    Path(entry.path).unlink()
                    if kind == "receipts":
                        self._receipts.drop(key)

    def forget(self, key: str) -> None:
        """See the contract."""
        self._open.discard(key)

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._workers, function, *arguments)
