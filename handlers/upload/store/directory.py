"""The store on a local directory: locks it, recovers it after a crash, and sweeps it (see `contract.Store`)."""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from jackfield.app.errors import CannotStart
from jackfield.handlers.upload.store.contract import Found, Kept, Use
from jackfield.handlers.upload.store.disk import Disk
from jackfield.handlers.upload.store.group import Group
from jackfield.handlers.upload.store.part import DirectoryPart
from jackfield.handlers.upload.store.publish import Policy, Publisher
from jackfield.handlers.upload.store.records import Checkpoint, Manifest
from jackfield.handlers.upload.store.recovery import Recovery
from jackfield.handlers.upload.store.small import Grouping, SmallPart
from jackfield.handlers.upload.store.staging import Staging
from jackfield.handlers.upload.store.strand import Pool, Threads
from jackfield.handlers.upload.store.uses import Uses
from jackfield.handlers.upload.wire.messages import Promise

_P = ParamSpec("_P")
_T = TypeVar("_T")

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

    `receipts_kept` in seconds; `abandoned` is the age in seconds at which unknown files in staging go. `observe` is
    called with the seconds that each sync took. Where it `announces`, each receipt is an event.
    `mode` are the permissions of all files, None: those of a file that is written in its folder.
    """

    def __init__(
        self,
        directory: Path,
        policy: Policy,
        receipts_kept: float,
        abandoned: float,
        observe: Callable[[float], None] = lambda _: None,
        *,
        announces: bool = False,
        mode: int | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self._disk = Disk(observe)
        self._staging = Staging(directory, self._disk, announces=announces)
        self._publisher = Publisher(self._staging, policy, mode)
        self.events = self._publisher.events
        self._receipts_kept = receipts_kept
        self._abandoned = abandoned
        self._threads = Threads(
            Pool(_WORKERS, "store"), Pool(_WRITERS, "write"), Pool(_DIGESTERS, "digest")
        )  # fmt: skip
        self._receipts = self._publisher.receipts
        self._uses = Uses(self._staging, self._receipts)
        self._grouping = Grouping(partial(Group, self._publisher), self._threads)
        self._sweep_next = 0.0
        self._opened = 0.0  # when `open` was done, in seconds since 1970 by the clock of staging
        self._open: set[str] = set()  # keys of parts that this object knows of

    async def open(self) -> list[Found]:
        """See the contract."""
        self._threads.start()
        await self._threads.run(self._staging.open)
        try:
            found = await self._threads.run(Recovery(self._publisher).run)
            await self._threads.run(self._receipts.open)
            await self._threads.run(self.events.open)
        except OSError as error:
            self._staging.close()
            raise CannotStart(f"{self._staging.folder} cannot be read: {error.strerror}") from error
        self._open.update(key for key, _ in found)
        self._opened = self._staging.now()
        ahead = self._ahead()
        return [
            Found(key, manifest.promise, self._part(key, manifest), manifest.touched + ahead) for key, manifest in found
        ]

    def _ahead(self) -> float:
        """Seconds by which the system's clock is ahead of ours."""
        return time.time() - self._staging.now()

    async def close(self) -> None:
        """See the contract."""
        with contextlib.suppress(OSError):  # what was stored is counted too low after the next start
            await self._threads.run(self._uses.save)
        await self._threads.close()
        self._staging.close()  # another process may lock it only now

    async def run(self, function: Callable[_P, _T], /, *arguments: _P.args, **options: _P.kwargs) -> _T:
        """Call it in a thread of the store. Raises OSError ECANCELED once that is closed."""
        return await self._threads.run(function, *arguments, **options)

    async def create(self, key: str, promise: Promise) -> DirectoryPart:
        """See the contract."""
        try:
            return await self.create_with(key, promise, b"")
        except OSError:
            self._open.discard(key)
            raise

    async def create_with(self, key: str, promise: Promise, data: bytes) -> DirectoryPart:
        """A new part with these bytes, durable before this returns."""
        self._open.add(key)
        return self._part(key, await self._threads.run(self._create, key, promise, data))

    def _create(self, key: str, promise: Promise, data: bytes) -> Manifest:
        checkpoint = Checkpoint(len(data), hashlib.sha256(data).hexdigest()) if data else None
        try:
            return self._staging.create(key, promise, data, checkpoint)
        except FileExistsError:  # left by an upload that could not be removed
            self._staging.remove(key)
            return self._staging.create(key, promise, data, checkpoint)
        except OSError:
            with contextlib.suppress(OSError):
                self._staging.remove(key)
            raise

    def create_lazily(self, key: str, promise: Promise) -> SmallPart:
        """See the contract."""
        self._open.add(key)
        return SmallPart(key, promise, self._grouping, self)

    async def discard(self, key: str, name: str) -> None:
        """Remove what failed attempts to store a part have left, its final name too. Nobody was told of it."""
        await self._threads.run(self._publisher.discard, key, name)

    def _part(self, key: str, manifest: Manifest) -> DirectoryPart:
        return DirectoryPart(self._publisher, self._threads, key, manifest)

    async def receipt(self, key: str) -> Kept | None:
        """See the contract."""
        self._threads.check()
        if not self._receipts.may_have(key):  # as a rule, where it is a new token: that needs no thread
            return None
        found = await self._threads.run(self._receipts.find, key)
        if found is None:
            return None
        stored, until = found[0], found[1] + self._receipts_kept
        if until <= self._staging.now():
            return None
        return Kept(stored.receipt, until + self._ahead(), stored.asked)

    async def forget(self, key: str) -> None:
        """See the contract."""
        await self._threads.run(self._forget, key)

    def _forget(self, key: str) -> None:
        found = self._receipts.find(key)
        self._receipts.forget(key)
        if found is not None:
            self._uses.note([found[0]], found[1])

    async def taken(self, name: str) -> bool:
        """See the contract."""
        return await self._threads.run(self._publisher.taken, name)

    async def free(self) -> int:
        """See the contract."""
        return await self._threads.run(self._disk.free, self._staging.folder)

    async def sweep(self) -> None:
        """See the contract. Looking at all receipts takes a while, so it is not done more often than it shows."""
        now = self._staging.now()
        if now >= self._sweep_next:
            self._sweep_next = now + min(_SWEEP, self._receipts_kept / 20, self._abandoned / 20)
            await self._threads.run(self._sweep)

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
                since = entry.stat(follow_symlinks=False).st_mtime
                if now - since <= limit:
                    continue
                told = self._receipts.read(key, kind) if kind in ("receipt", "receipts") else ()
                self._disk.unlink(Path(entry.path))
                self._uses.note(told, since)
                if kind == "receipts":
                    self._receipts.drop(key)
        self._uses.save()

    async def used(self) -> list[Use]:
        """See the contract."""
        return await self._threads.run(self._uses.read, self._opened)

    def release(self, key: str) -> None:
        """See the contract."""
        self._open.discard(key)
