"""The store on a local directory: takes hold of it, recovers what a crash left, and sweeps (see `store.Store`)."""

import asyncio
import hashlib
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import structlog

from app.errors import Failure
from handlers.upload.messages import Promise, Receipt
from handlers.upload.part import DirectoryPart
from handlers.upload.publish import Policy, Publisher
from handlers.upload.staging import Manifest, Staging, sync_folder
from handlers.upload.store import Found, Kept

log = structlog.get_logger()

_WORKERS: Final = 16
"""Threads. Two would do for the processor; the others are there to wait for disks, so that one upload's
sync holds up no other's write."""


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
        self._open: set[str] = set()  # keys of parts that this object knows of

    async def open(self) -> list[Found]:
        """See the contract."""
        found = await self._run(self._recover)
        return [Found(key, manifest.promise, self._part(key, manifest), manifest.touched) for key, manifest in found]

    async def close(self) -> None:
        """See the contract."""
        self._staging.close()
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def create(self, key: str, promise: Promise) -> DirectoryPart:
        """See the contract."""
        self._open.add(key)
        try:
            manifest = await self._run(self._staging.create, key, promise)
        except OSError:
            await self._run(self._staging.remove, key)
            raise
        return self._part(key, manifest)

    def _part(self, key: str, manifest: Manifest) -> DirectoryPart:
        return DirectoryPart(self._staging, self._publisher, key, manifest, self._workers, self._observe)

    async def receipt(self, key: str) -> Kept | None:
        """See the contract."""
        found: tuple[Receipt, float] | None = await self._run(self._staging.load_receipt, key)
        if found is None:
            return None
        kept = Kept(found[0], found[1] + self._receipts_kept)
        return kept if kept.until > self._staging.now() else None

    async def taken(self, name: str) -> bool:
        """See the contract."""
        return bool(await self._run(self._publisher.taken, name))

    async def free(self) -> int:
        """See the contract."""
        system: os.statvfs_result = await self._run(os.statvfs, self._staging.folder)
        return system.f_bavail * system.f_frsize

    async def sweep(self) -> None:
        """See the contract."""
        await self._run(self._sweep)

    def _sweep(self) -> None:
        now = self._staging.now()
        for entry in self._staging.entries():
            key, _, kind = entry.name.partition(".")
            if kind == "receipt":
                limit = self._receipts_kept
            elif kind in ("part", "upload", "link") and key not in self._open:
                limit = self._abandoned
            else:
                continue
            if now - entry.stat(follow_symlinks=False).st_mtime > limit:
                Path(entry.path).unlink(missing_ok=True)

    def forget(self, key: str) -> None:
        """See the contract."""
        self._open.discard(key)

    # -- recovery

    def _recover(self) -> list[tuple[str, Manifest]]:
        self._staging.open()
        names = {entry.name for entry in self._staging.entries()}
        found = []
        for name in sorted(names):
            key, _, kind = name.partition(".")
            if kind.endswith("new"):
                (self._staging.folder / name).unlink(missing_ok=True)
            elif kind == "part" and f"{key}.upload" not in names:
                self._staging.part(key).unlink(missing_ok=True)
            elif kind == "upload":
                manifest = self._recover_one(key, f"{key}.receipt" in names)
                if manifest is not None:
                    found.append((key, manifest))
                    self._open.add(key)
        return found

    def _recover_one(self, key: str, has_receipt: bool) -> Manifest | None:
        """One upload after a crash; None when it is not open any more. Never guesses."""
        if has_receipt:  # the last step was missing
            self._staging.remove(key)
            return None
        try:
            manifest = self._staging.load(key)
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("upload.unreadable", upload=key[:12], problem=repr(error))
            return None
        try:
            return self._recover_part(key, manifest)
        except OSError as error:
            log.warning("upload.unreadable", upload=key[:12], problem=repr(error))
            return None

    def _recover_part(self, key: str, manifest: Manifest) -> Manifest | None:
        self._staging.link(key).unlink(missing_ok=True)
        path = self._staging.part(key)
        try:
            part = os.lstat(path)
        except FileNotFoundError:
            part = None
        if part is None or not stat.S_ISREG(part.st_mode) or part.st_size < manifest.durable:
            log.warning("upload.damaged", upload=key[:12], problem="the part file is not what it was; begun anew")
            return self._begin_anew(key, manifest)
        if part.st_nlink > 1:
            name = self._publisher.published_as(manifest.promise.name, part)
            if name is None:
                log.warning("upload.damaged", upload=key[:12], problem="published, and moved away; begun anew")
                return self._begin_anew(key, manifest)
            self._conclude(key, manifest, path, name)
            return None
        if manifest.sha256 is not None:
            return self._publish(key, manifest, path)
        os.truncate(path, manifest.durable)
        return manifest

    def _begin_anew(self, key: str, manifest: Manifest) -> Manifest:
        self._staging.remove(key)
        return self._staging.create(key, manifest.promise)

    def _conclude(self, key: str, manifest: Manifest, path: Path, name: str) -> None:
        """The name was given and the receipt was not written: sync the name, for that may be missing too."""
        digest = manifest.sha256 or _digest(path)
        place = self._staging.directory / name
        while place != self._staging.directory:
            place = place.parent
            sync_folder(place)
        self._publisher.conclude(key, Receipt(name, path.stat().st_size, digest))
        log.info("upload.stored", upload=key[:12], name=name, recovered=True)

    def _publish(self, key: str, manifest: Manifest, path: Path) -> Manifest | None:
        """Whole and verified, and no name yet: give it one, as it would have been given."""
        assert manifest.sha256 is not None
        with path.open("rb") as file:
            try:
                receipt = self._publisher.publish(key, manifest, file.fileno(), manifest.sha256)
            except (Failure, OSError) as error:
                log.warning("upload.failed", upload=key[:12], problem=repr(error))
                return manifest
        log.info("upload.stored", upload=key[:12], name=receipt.name, recovered=True)
        return None

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._workers, function, *arguments)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
