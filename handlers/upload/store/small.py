"""Small files: kept in memory, and published together (group commit).

A small upload of its own costs six syncs, as a part, as a manifest and as a file. Ended in one go with
others it costs a share of two: that is what makes thousands of small files a matter of seconds.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

from jackfield.app.errors import Failure
from jackfield.handlers.upload import tasks
from jackfield.handlers.upload.store.contract import Part
from jackfield.handlers.upload.store.failstop import FailStop
from jackfield.handlers.upload.store.group import Group, SmallFile, divided
from jackfield.handlers.upload.store.strand import Threads
from jackfield.handlers.upload.wire.messages import Promise, Receipt
from jackfield.handlers.upload.wire.words import DIGEST_MISMATCH

SMALL: Final = 64 * 1024  # bytes of a file that may stay in memory
BUDGET: Final = 32 * 1024 * 1024  # bytes of all such files together
_GROUP: Final = 128  # files that are published together at the most
_AT_ONCE: Final = 4  # groups that are on their way at the most, so that workers are left for others


_Waiting = tuple[SmallFile, asyncio.Future[Receipt]]


class Grouping:
    """Collects files while a group before is being written and synced, so that groups grow with the load.

    No group waits until the names of another are found: it is begun once the bytes of those before it are durable.
    """

    def __init__(self, make: Callable[[Sequence[SmallFile]], Group], threads: Threads) -> None:
        self._make = make
        self._threads = threads
        self._waiting: list[_Waiting] = []
        self._preparing = 0  # groups whose bytes are not durable yet
        self.tasks: set[asyncio.Task[None]] = set()  # one for each group on its way
        self.spare = BUDGET  # bytes of memory that are left

    async def publish(self, file: SmallFile) -> Receipt:
        """Publish one file with whatever others there are; the duties are those of `Part.publish`."""
        published: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._waiting.append((file, published))
        self._begin()
        return await published

    def _begin(self) -> None:
        """Send the next groups on their way, once there is nobody to wait for."""
        if self._preparing or len(self.tasks) >= _AT_ONCE or not self._waiting:
            return
        taken, self._waiting = self._waiting[:_GROUP], self._waiting[_GROUP:]
        for files in divided(taken):
            self._preparing += 1
            task = asyncio.create_task(self._publish(files))
            self.tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._begin()

    async def _publish(self, files: Sequence[_Waiting]) -> None:
        group = self._make([file for file, _ in files])
        results: Sequence[Receipt | Exception]
        try:
            await self._prepare(group)
            results = await self._threads.run(group.finish)
        except Exception as error:  # every waiter must get an answer
            results = [error] * len(files)
        finally:
            group.close()
        for (_, future), result in zip(files, results, strict=True):
            if future.cancelled():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    async def _prepare(self, group: Group) -> None:
        try:
            await self._threads.run(group.prepare)
        finally:
            self._preparing -= 1
        self._begin()


class OnDisk(Protocol):
    """What a small part needs of the store on disk."""

    async def create_with(self, key: str, promise: Promise, data: bytes) -> Part:
        """A part on disk with these bytes, all durable."""

    async def discard(self, key: str, name: str) -> None:
        """Remove what is left of it on disk."""


class _Lock(asyncio.Lock):
    """A lock that is also held by a task which outlives the block that began it."""

    task: asyncio.Task[None] | None = None

    async def acquire(self) -> Literal[True]:
        """Wait for the lock, and for the task. No context manager of its own: it is taken four times a file."""
        await super().acquire()
        try:
            if self.task is not None and not self.task.done():
                await asyncio.wait([self.task])
        except asyncio.CancelledError:
            self.release()
            raise
        return True


class SmallPart:
    """A part in memory, which becomes one on disk when it is large, left, or must be durable."""

    def __init__(self, key: str, promise: Promise, grouping: Grouping, store: OnDisk) -> None:
        self._key = key
        self._promise = promise
        self._grouping = grouping
        self._store = store
        self._data = bytearray()
        self._part: Part | None = None  # on disk, from the moment that there is one
        self._failstop = FailStop()  # while it is in memory
        self._leftovers = False  # an attempt to write it to the disk may have left something there
        self._over = False
        self._attached = False
        self._lock = _Lock()  # its task is the move to the disk, which outlives whoever asked for it

    @property
    def offset(self) -> int:
        """See the contract."""
        return len(self._data) if self._part is None else self._part.offset

    @property
    def durable(self) -> int:
        """See the contract."""
        return 0 if self._part is None else self._part.durable

    async def attach(self) -> str | None:
        """See the contract."""
        async with self._lock:
            self._attached = True
            self._failstop.reset()
            if self._part is not None:
                return await self._part.attach()
            return hashlib.sha256(self._data).hexdigest() if self._data else None

    async def detach(self) -> None:
        """See the contract."""
        async with self._lock:
            self._attached = False
            if self._part is not None:
                await self._part.detach()

    async def write(self, views: Sequence[memoryview], size: int) -> None:
        """See the contract."""
        async with self._lock:
            with self._failstop:
                if self._part is None and len(self._data) + size <= SMALL and self._grouping.spare >= size:
                    self._grouping.spare -= size
                    for view in views:
                        self._data += view
                    return
                part = await self._on_disk()
        await part.write(views, size)  # begins in this order: nothing comes between it and the lock

    async def sync(self) -> None:
        """See the contract."""
        async with self._lock:
            if self._over:
                return
            part = await self._on_disk()
        await part.sync()

    async def reset(self) -> None:
        """See the contract."""
        async with self._lock:
            if self._part is not None:
                await self._part.reset()
            else:
                self._drop()
            self._failstop.reset()

    async def mark(self) -> None:
        """See the contract. On disk: else what came since could be made durable with what was there before."""
        async with self._lock:
            part = await self._on_disk()
        await part.mark()

    async def rollback(self) -> None:
        """See the contract."""
        async with self._lock:
            part = await self._on_disk()
        await part.rollback()

    async def amend(self, promise: Promise) -> None:
        """See the contract."""
        async with self._lock:
            part = await self._on_disk()
            self._promise = promise
        await part.amend(promise)

    async def publish(self, expected: Sequence[str]) -> Receipt:
        """See the contract."""
        async with self._lock:
            with self._failstop:
                if self._part is not None:
                    return await self._part.publish(expected)
                return await self._publish(expected)

    async def _publish(self, expected: Sequence[str]) -> Receipt:
        digest = hashlib.sha256(self._data).hexdigest()
        if any(digest != promised for promised in expected):
            raise Failure(DIGEST_MISMATCH, f"The bytes have the digest {digest}.")
        await self._remove_leftovers()
        receipt = await self._grouping.publish(SmallFile(self._key, self._promise, bytes(self._data), digest))
        self._leftovers, self._over = False, True
        self._drop()
        return receipt

    async def remove(self) -> None:
        """See the contract."""
        async with self._lock:
            self._over = True
            self._drop()
            if self._part is not None:
                await self._part.remove()
            else:
                await self._remove_leftovers()

    async def _remove_leftovers(self) -> None:
        """Remove what an earlier attempt has left on disk; the next one may leave something again."""
        if self._leftovers:
            await self._store.discard(self._key, self._promise.place)
        self._leftovers = not self._over

    async def _on_disk(self) -> Part:
        """The part on disk; made now if there is none, even if the caller is cancelled."""
        if self._part is None:
            self._lock.task = tasks.begin("store.move", self._move())
            await asyncio.shield(self._lock.task)
        assert self._part is not None
        return self._part

    async def _move(self) -> None:
        await self._remove_leftovers()
        self._part = await self._store.create_with(self._key, self._promise, bytes(self._data))
        self._leftovers = False
        self._drop()
        if self._attached:
            await self._part.attach()

    def _drop(self) -> None:
        self._grouping.spare += len(self._data)
        self._data = bytearray()
