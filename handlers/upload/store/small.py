"""Small files that come many at a time: kept in memory, and published together.

A small upload of its own costs six syncs, as a part, as a manifest and as a file. Ended in one go with
others it costs a share of two: that is what makes thousands of small files a matter of seconds.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from jackfield.app.errors import Failure
from jackfield.handlers.upload.store.contract import Part
from jackfield.handlers.upload.store.group import SmallFile
from jackfield.handlers.upload.wire.messages import Promise, Receipt
from jackfield.handlers.upload.wire.words import DIGEST_MISMATCH

SMALL: Final = 64 * 1024  # bytes of a file that may stay in memory
SPARE: Final = 32 * 1024 * 1024  # bytes of all such files together
GROUP: Final = 128  # files that are published together at the most


class Grouping:
    """Collects files while the group before is being published, so that groups grow with the load."""

    def __init__(self, publish: Callable[[Sequence[SmallFile]], Awaitable[Sequence[Receipt | Exception]]]) -> None:
        self._publish = publish
        self._waiting: list[tuple[SmallFile, asyncio.Future[Receipt]]] = []
        self._task: asyncio.Task[None] | None = None
        self.spare = SPARE  # bytes of memory that are left

    async def publish(self, small: SmallFile) -> Receipt:
        """Publish one file with whatever others there are; the duties are those of `Part.publish`."""
        published: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._waiting.append((small, published))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await published

    async def _run(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
            results = await self._attempt([small for small, _ in group])
            for (_, published), result in zip(group, results, strict=True):
                if published.cancelled():
                    continue
                if isinstance(result, Exception):
                    published.set_exception(result)
                else:
                    published.set_result(result)
        self._task = None

    async def _attempt(self, group: Sequence[SmallFile]) -> Sequence[Receipt | Exception]:
        try:
            return await self._publish(group)
        except Exception as error:  # whatever it is, nobody may wait for ever
            return [error] * len(group)


class SmallPart:
    """A part in memory, which becomes one on disk (`make`) when it is large, left, or must be durable."""

    def __init__(self, key: str, promise: Promise, grouping: Grouping, make: Callable[[], Awaitable[Part]]) -> None:
        self._key = key
        self._promise = promise
        self._grouping = grouping
        self._make = make
        self._data = bytearray()
        self._part: Part | None = None  # on disk, from the moment that there is one
        self._over = False
        self._attached = False
        self._lock = asyncio.Lock()

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
        self._attached = True
        if self._part is not None:
            return await self._part.attach()
        return hashlib.sha256(self._data).hexdigest() if self._data else None

    async def detach(self) -> None:
        """See the contract."""
        self._attached = False
        if self._part is not None:
            await self._part.detach()

    async def write(self, views: Sequence[memoryview], size: int) -> None:
        """See the contract."""
        async with self._lock:
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

    async def forget(self) -> None:
        """See the contract."""
        async with self._lock:
            if self._part is not None:
                await self._part.forget()
            else:
                self._drop()

    async def publish(self, expected: Sequence[str]) -> Receipt:
        """See the contract."""
        async with self._lock:
            if self._part is not None:
                return await self._part.publish(expected)
            digest = hashlib.sha256(self._data).hexdigest()
            if any(digest != promised for promised in expected):
                raise Failure(DIGEST_MISMATCH, f"The bytes have the digest {digest}.")
            small = SmallFile(self._key, self._promise, bytes(self._data), digest)
            receipt = await self._grouping.publish(small)
            self._over = True
            self._drop()
            return receipt

    async def remove(self) -> None:
        """See the contract."""
        async with self._lock:
            self._over = True
            self._drop()
            if self._part is not None:
                await self._part.remove()

    async def _on_disk(self) -> Part:
        """Be a part like others from here on."""
        if self._part is None:
            part = await self._make()
            try:
                await part.attach()
                if self._data:
                    await part.write([memoryview(bytes(self._data))], len(self._data))
            except OSError:
                await part.remove()
                raise
            self._part = part
            self._drop()
            if not self._attached:
                await part.detach()
        return self._part

    def _drop(self) -> None:
        self._grouping.spare += len(self._data)
        self._data = bytearray()
