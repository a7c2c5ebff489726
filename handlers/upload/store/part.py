"""The bytes of one open upload on a local disk: written by aiofiles, digested on the way, made durable."""

import asyncio
import errno
import operator
import stat
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, TypeVar

from aiofiles.threadpool import wrap

from jackfield.app.errors import Failure
from jackfield.app.handler import get_logger
from jackfield.handlers.upload import tasks
from jackfield.handlers.upload.store.failstop import FailStop
from jackfield.handlers.upload.store.file import Damaged, DigestState, HashingFile
from jackfield.handlers.upload.store.publish import NotSynced, Publisher
from jackfield.handlers.upload.store.records import Checkpoint, Manifest
from jackfield.handlers.upload.store.strand import Strand, Threads
from jackfield.handlers.upload.wire.messages import Promise, Receipt
from jackfield.handlers.upload.wire.words import DIGEST_MISMATCH

_REHASH_AT_ONCE: Final = 256 * 1024 * 1024  # bytes that are digested before `ready`; about half a second

log = get_logger()

_T = TypeVar("_T")


class DirectoryPart:
    """A part in the staging folder (the duties are at `store.Part`)."""

    def __init__(self, publisher: Publisher, threads: Threads, key: str, manifest: Manifest) -> None:
        self._publisher = publisher
        self._staging = publisher.staging
        self._disk = publisher.staging.disk
        self._threads = threads
        self._key = key
        self._manifest = manifest
        self._writing = Strand(threads.writers)
        self._digesting = Strand(threads.digesters)
        self._failstop = FailStop()
        self._file: HashingFile | None = None
        self._writer: Any = None  # the same file, as aiofiles gives it
        self._unsynced = False  # a sync failed: what is not durable may be lost already
        self._damaged = False  # the file was changed by others: none of it is trusted
        self._named = False  # a publication failed: the file may have a final name without a receipt
        self._turn = asyncio.Lock()  # for the manifest, and for opening and closing; held by one task at a time
        self.offset = manifest.durable
        self.durable = manifest.durable
        self._scheduled = self.offset  # bytes that are written, or on their way to the disk
        self._marked: tuple[int, Any] = (0, None)  # by `mark`: bytes, and their digest where it was known
        self._state = DigestState(checkpoint=manifest.checkpoint)
        self._digest: tuple[int, Any] = (self.offset, None)  # of so many first bytes, the newest; None: not known

    # -- having it open

    async def attach(self) -> str | None:
        """See the contract."""
        try:
            if self._file is None or self._failstop.failed:
                await self._in_turn(self._open)
            return await self._catch_up()
        except Damaged as damage:
            log.warning("upload.damaged", upload=self._key[:12], problem=damage.strerror, offset=self.offset)
            self._damaged = True
            await self.reset()
            return None
        except OSError as error:
            self._failstop.fail(error.errno or errno.EIO)
            raise

    async def _open(self) -> None:
        if self._damaged:
            raise Damaged("The part file was changed by somebody else")
        await self._close()
        file = await self._threads.run(self._open_file)
        self._file, self._writer = file, wrap(file, executor=self._writing)
        self._unsynced, self._scheduled = False, self.offset
        self._digest = (self.offset, None)
        self._failstop.reset()

    def _open_file(self) -> HashingFile:
        """The file with its first `offset` bytes, and with no other name."""
        path = self._staging.part(self._key)
        if self._named:
            self._publisher.withdraw(self._key, self._manifest.promise.place)
            self._named = False
        try:
            found = self._disk.lstat(path)
        except FileNotFoundError:
            raise Damaged("The part file is not there any more") from None
        if not stat.S_ISREG(found.st_mode) or found.st_size < self.offset:
            raise Damaged("The part file is not what it was")
        if found.st_nlink > 1:  # under another name it is not ours to change
            self._staging.replace_part(self._key, self.offset)
            self._state.invalidate()
            self._state.stat_signature = None
        file = HashingFile(self._disk, path, self.offset, self._state, self._failstop)
        try:
            file.check_changes()
            file.trim()
        except OSError:
            file.close()
            raise
        self._state.truncated(self.offset, self._manifest.checkpoint)
        return file

    async def _catch_up(self) -> str | None:
        file = self._file
        assert file is not None
        if not self.offset or self.offset - self._state.hashed > _REHASH_AT_ONCE:
            return None
        digest: str = await self._threads.run(file.catch_up)
        self._digest = (self.offset, self._state.digest)
        return digest

    async def detach(self) -> None:
        """See the contract."""
        await self._in_turn(self._close)

    async def _close(self) -> None:
        file, writer, self._file, self._writer = self._file, self._writer, None, None
        if file is not None and writer is not None:
            try:
                await writer.close()  # behind the writes that are under way
            except OSError:  # bytes that are durable stay so; the others may be lost
                self._unsynced = True
                file.close()  # it is open where the threads are closed
        if self._damaged:
            self.offset = self.durable = 0
        elif self._unsynced:
            self.offset = self.durable

    # -- bytes

    async def write(self, views: Sequence[memoryview], size: int) -> None:
        """See the contract."""
        self._failstop.check()
        file = self._file
        assert file is not None, "attach before write"
        start, self._scheduled = self._scheduled, self._scheduled + size
        digesting = asyncio.get_running_loop().run_in_executor(self._digesting, file.digest, views, start)
        try:
            with self._failstop:
                await self._writer.writelines(views)
        except Damaged:
            self._damaged = True
            raise
        finally:
            digest = await digesting  # until then the memory is in use
        self.offset += size
        # The loop may hear of the write behind this one first: then that one's digest is the newer.
        self._digest = max((start + size, digest), self._digest, key=operator.itemgetter(0))

    async def sync(self) -> None:
        """See the contract. One at a time: who asks while one runs waits for it, and for the next."""
        await self._in_turn(self._sync)

    async def _sync(self) -> None:
        if self.durable == self.offset:
            return
        if self._file is None or self._unsynced or self._damaged:
            raise OSError(errno.EIO, "The disk has failed")
        offset, (end, digest) = self.offset, self._digest
        try:
            await self._threads.run(self._sync_file, self._file)
        except OSError as error:
            self._distrust(error)
            raise
        # Where the digest is not known the checkpoint before stays: it is of fewer bytes.
        known = digest is not None and end == offset
        checkpoint = Checkpoint(offset, digest.hexdigest()) if known else self._manifest.checkpoint
        await self._save(replace(self._manifest, durable=offset, checkpoint=checkpoint, complete=None))

    def _distrust(self, error: OSError) -> None:
        """Bytes that are not durable may be lost; no more are taken until `attach`."""
        if isinstance(error, Damaged):
            self._damaged = True
        else:
            self._unsynced = True
        self._failstop.fail(error.errno or errno.EIO)

    async def _save(self, manifest: Manifest) -> None:
        """The bytes are durable: now the manifest says so."""
        manifest = replace(manifest, touched=self._staging.now())
        await self._threads.run(self._staging.save, self._key, manifest)
        self._manifest, self.durable = manifest, manifest.durable

    def _sync_file(self, file: HashingFile) -> None:
        file.check_name()
        self._disk.fdatasync(file.fileno())

    async def reset(self) -> None:
        """See the contract."""
        await self._in_turn(self._reset)

    async def _reset(self) -> None:
        # The manifest says so first: a crash between the two steps must not leave bytes trusted that are gone.
        self._damaged = True
        self._failstop.fail(errno.EIO)
        await self._save(replace(self._manifest, durable=0, checkpoint=None, complete=None))
        self.offset, self._state = 0, DigestState()
        await self._close()
        await self._threads.run(self._staging.replace_part, self._key, 0)
        self._damaged = self._unsynced = False
        await self._open()

    async def mark(self) -> None:
        """See the contract."""
        await self._in_turn(self._mark)

    async def _mark(self) -> None:
        state = self._state
        self._marked = self.offset, state.digest if state.hashed == self.offset else None

    async def rollback(self) -> None:
        """See the contract."""
        await self._in_turn(self._rollback)

    async def _rollback(self) -> None:
        size, digest = self._marked
        self._failstop.fail(errno.EIO)  # until it is opened anew
        await self._close()
        if digest is not None and self.offset > size:
            self._state.restore(size, digest)
        self.offset = min(self.offset, size)
        await self._open()

    async def amend(self, promise: Promise) -> None:
        """See the contract."""
        await self._in_turn(lambda: self._save(replace(self._manifest, promise=promise)))

    # -- the end

    async def publish(self, expected: Sequence[str]) -> Receipt:
        """See the contract; the order of the steps is in `Publisher.publish`."""
        return await self._in_turn(lambda: self._publish(expected))

    async def _publish(self, expected: Sequence[str]) -> Receipt:
        # Whatever fails here, the file may have a final name by now: it is opened anew before anything is written.
        with self._failstop:
            file = self._file
            assert file is not None, "attach before publish"
            try:
                digest = await self._threads.run(file.verify)
            except Damaged:
                self._damaged = True
                raise
            if any(digest != promised for promised in expected):
                raise Failure(DIGEST_MISMATCH, f"The bytes have the digest {digest}.")
            receipt = await self._name(file, digest)
        self.durable = self.offset  # a sync that has waited for its turn has nothing to do
        return receipt

    async def _name(self, file: HashingFile, digest: str) -> Receipt:
        try:
            return await self._threads.run(self._publisher.publish, self._key, self._manifest, file.fileno(), digest)
        except NotSynced:
            self._unsynced = True
            raise
        except (Failure, OSError):
            self._named = True
            # The manifest may say that the file is complete. It is not: more bytes may come.
            checkpoint = Checkpoint(self.offset, digest)
            with suppress(OSError):  # then they are asked for again; the first failure is reported
                await self._save(replace(self._manifest, durable=self.offset, checkpoint=checkpoint, complete=None))
            raise

    async def remove(self) -> None:
        """See the contract."""
        await self._in_turn(self._remove)

    async def _remove(self) -> None:
        await self._close()
        await self._threads.run(self._staging.discard, self._key)

    # -- how it is run

    async def _in_turn(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run `work` under the lock, and to its end even if the caller is cancelled."""
        return await asyncio.shield(tasks.begin("store.part", self._locked(work)))

    async def _locked(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        async with self._turn:
            return await work()
