"""The bytes of one open upload on a local disk: written by aiofiles, digested on the way, made durable."""

import asyncio
import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from io import FileIO
from pathlib import Path
from typing import Any, Final

from aiofiles.threadpool import wrap

from app.errors import DIGEST_MISMATCH, Failure
from handlers.upload.messages import Receipt
from handlers.upload.publish import Publisher
from handlers.upload.staging import Manifest, Staging

_PIECES: Final = 1024  # IOV_MAX of Linux: pieces that one writev takes
_READ: Final = 1024 * 1024
_REHASH_AT_ONCE: Final = 256 * 1024 * 1024  # bytes that are digested before `ready`; about half a second


class HashingFile(FileIO):
    """A file that digests what it writes, in the same visit to the worker thread: hashing and writing
    release the interpreter's lock, and a visit costs 100 to 200 µs.

    `hashed` lags behind `offset` where bytes were not written by this object; `catch_up` reads them.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), "r+b")
        self.offset = 0
        self.hashed = 0
        self.digest = hashlib.sha256()

    def writelines(self, views: Any, /) -> None:
        """Append all views, or none: where it raises OSError the file has its old length."""
        start = self.offset
        try:
            end = self._write(views)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self.fileno(), start)
            raise
        if self.hashed == start:
            for view in views:
                self.digest.update(view)
            self.hashed = end
        self.offset = end

    def _write(self, views: Sequence[memoryview]) -> int:
        fd, place, pieces = self.fileno(), self.offset, list(views)
        while pieces:
            written = os.pwritev(fd, pieces[:_PIECES], place)
            place += written
            while pieces and written >= len(pieces[0]):
                written -= len(pieces.pop(0))
            if pieces and written:
                pieces[0] = pieces[0][written:]
        return place

    def cut(self, offset: int) -> None:
        """Keep the first `offset` bytes."""
        if os.fstat(self.fileno()).st_nlink > 1:
            raise OSError(errno.EBUSY, "The file is under its final name already")
        os.ftruncate(self.fileno(), offset)
        self.offset = offset
        if self.hashed > offset:
            self.hashed = 0
            self.digest = hashlib.sha256()

    def catch_up(self) -> str:
        """The digest of all bytes, reading those that were not digested when they were written."""
        while self.hashed < self.offset:
            block = os.pread(self.fileno(), min(_READ, self.offset - self.hashed), self.hashed)
            if not block:
                raise OSError(errno.EIO, "The part file is shorter than it was")
            self.digest.update(block)
            self.hashed += len(block)
        return self.digest.hexdigest()


class DirectoryPart:
    """A part in the staging folder (the duties are at `store.Part`).

    `observe` is told how many seconds each sync took.
    """

    def __init__(
        self,
        staging: Staging,
        publisher: Publisher,
        key: str,
        manifest: Manifest,
        workers: Executor,
        observe: Callable[[float], None],
    ) -> None:
        self._staging = staging
        self._publisher = publisher
        self._key = key
        self._manifest = manifest
        self._workers = workers
        self._observe = observe
        self._file: HashingFile | None = None
        self._writer: Any = None  # the same file, as aiofiles gives it
        self._distrusted = False  # a sync failed: what is not durable may be lost already
        self._sync: asyncio.Future[None] | None = None
        self.offset = manifest.durable
        self.durable = manifest.durable
        self._digest = (hashlib.sha256(), 0)  # survives detaching, so that coming back costs no reading

    async def attach(self) -> str | None:
        """See the contract."""
        file = self._file
        if file is None:
            file = await self._run(HashingFile, self._staging.part(self._key))
            file.digest, file.hashed = self._digest
            self._file = file
            self._writer = wrap(file, executor=self._workers)
        if self._distrusted or file.offset != self.offset:
            if self._distrusted:
                self.offset = self.durable
            await self._run(file.cut, self.offset)
            self._distrusted = False
        if not self.offset or self.offset - file.hashed > _REHASH_AT_ONCE:
            return None
        digest: str = await self._run(file.catch_up)
        return digest

    async def detach(self) -> None:
        """See the contract."""
        await self._quiet()
        if self._file is not None:
            file, self._file, self._writer = self._file, None, None
            self._digest = (file.digest, file.hashed)
            await self._run(file.close)

    async def write(self, views: Sequence[memoryview], size: int) -> None:
        """See the contract."""
        if self._distrusted:
            raise OSError(errno.EIO, "A sync has failed")
        await self._writer.writelines(views)
        self.offset += size

    async def sync(self) -> None:
        """See the contract. One at a time: who asks while one runs waits for it, and for the next."""
        await self._quiet()
        if self.durable == self.offset and not self._distrusted:
            return
        self._sync = asyncio.ensure_future(self._make_durable(self.offset))
        self._sync.add_done_callback(self._synced)
        await asyncio.shield(self._sync)

    def _synced(self, sync: asyncio.Future[None]) -> None:
        self._sync = None
        if not sync.cancelled():
            sync.exception()  # looked at here too, for the case that who asked has been cancelled

    async def _quiet(self) -> None:
        """Until no sync runs."""
        while self._sync is not None:
            await asyncio.wait([self._sync])

    async def _make_durable(self, offset: int) -> None:
        assert self._file is not None, "attach before sync"
        try:
            await self._run(self._sync_bytes, self._file.fileno())
        except OSError:
            self._distrusted = True
            raise
        manifest = self._manifest.at(offset, self._staging.now())
        await self._run(self._staging.save, self._key, manifest)
        self._manifest, self.durable = manifest, offset

    def _sync_bytes(self, fd: int) -> None:
        begun = time.perf_counter()
        os.fdatasync(fd)
        self._observe(time.perf_counter() - begun)

    async def forget(self) -> None:
        """See the contract."""
        await self._quiet()
        assert self._file is not None, "attach before forget"
        # The word that nothing is durable goes first: a crash between the two leaves nothing half believed.
        manifest = self._manifest.at(0, self._staging.now())
        await self._run(self._staging.save, self._key, manifest)
        self._manifest, self.durable, self.offset = manifest, 0, 0
        await self._run(self._file.cut, 0)
        self._distrusted = False

    async def publish(self, expected: Sequence[str]) -> Receipt:
        """See the contract; the order of the steps is in `Publisher.publish`."""
        await self._quiet()
        if self._distrusted:
            raise OSError(errno.EIO, "A sync has failed")
        assert self._file is not None, "attach before publish"
        digest = await self._run(self._file.catch_up)
        if any(digest != promised for promised in expected):
            raise Failure(DIGEST_MISMATCH, f"The bytes have the digest {digest}.")
        try:
            receipt: Receipt = await self._run(
                self._publisher.publish, self._key, self._manifest, self._file.fileno(), digest
            )
        except OSError:
            self._distrusted = True
            raise
        return receipt

    async def remove(self) -> None:
        """See the contract."""
        await self.detach()
        await self._run(self._staging.remove, self._key)

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._workers, function, *arguments)
