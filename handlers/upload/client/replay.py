"""A source that cannot be read twice: standard input, or any iterator of bytes."""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator
from typing import NamedTuple

from jackfield.handlers.upload.client.failures import Unrepeatable

_HELD = 128 * 1024 * 1024  # bytes; twice what a service makes durable at a time, so a steady stream never waits
_INLINE = 64 * 1024  # bytes; digesting less takes less time than handing it to a thread


class _Piece(NamedTuple):
    offset: int
    before: "hashlib._Hash"  # the state of the digest before it
    data: memoryview

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


class Replay:
    """Bytes as they come. Those that are not durable yet are held, so a lost connection loses nothing.

    At most 128 MiB are held. Then no more is read until the service made some durable, which it does
    within a second when no bytes come.
    """

    def __init__(self, chunks: AsyncIterator[bytes], size: int | None = None) -> None:
        self.size = size
        self._chunks = chunks
        self._coming: asyncio.Future[bool] | None = None  # outlives the attempt that asked for it
        self._held: deque[_Piece] = deque()
        self._given = 0  # so many of the held pieces have been given out
        self._released = 0  # all before this offset is durable
        self._end = 0  # so many bytes have come
        self._hasher = hashlib.sha256()  # of them

    @property
    def full(self) -> bool:
        """See `Source`."""
        return self._given == len(self._held) and self._end - self._released >= _HELD

    async def seek(self, offset: int) -> str:
        """See `Source`. Raises Unrepeatable when the bytes from `offset` on are not held any more."""
        if not self._released <= offset <= self._end:
            raise Unrepeatable("unrepeatable", f"the service wants byte {offset} of a stream, which is not held")
        self._given = 0
        for piece in self._held:
            if piece.end > offset:
                return self._cut(piece, offset)
            self._given += 1
        return self._hasher.hexdigest()

    async def read(self) -> memoryview:
        """See `Source`."""
        if self._given == len(self._held):
            self._coming = self._coming or asyncio.ensure_future(self._arrive())
            if not await asyncio.shield(self._coming):
                return memoryview(b"")
        self._given += 1
        return self._held[self._given - 1].data

    async def digest(self) -> str:
        """See `Source`."""
        return self._hasher.hexdigest()

    async def drain(self) -> str:
        """See `Source`."""
        while await self.read():
            self.release(self._end)
        return self._hasher.hexdigest()

    def release(self, durable: int) -> None:
        """See `Source`: forget what is durable."""
        self._released = max(self._released, durable)
        while self._given and self._held[0].end <= self._released:
            self._held.popleft()
            self._given -= 1

    async def close(self) -> None:
        """Stop waiting for more."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.wait({self._coming})

    def _cut(self, piece: _Piece, offset: int) -> str:
        """Split the piece that `self._given` counts up to, so that the next one begins at `offset`."""
        head, tail = piece.data[: offset - piece.offset], piece.data[offset - piece.offset :]
        hasher = piece.before.copy()
        hasher.update(head)
        if head:
            self._held[self._given] = _Piece(piece.offset, piece.before, head)
            self._given += 1
            self._held.insert(self._given, _Piece(offset, hasher.copy(), tail))
        return hasher.hexdigest()

    async def _arrive(self) -> bool:
        """Hold the next chunk that is not empty; False at the end. Never cancelled: nothing may fall out."""
        while (chunk := await anext(self._chunks, None)) is not None:
            if chunk:
                await self._hold(chunk)
                self._coming = None
                return True
        return False

    async def _hold(self, chunk: bytes) -> None:
        hasher = self._hasher.copy()
        if len(chunk) > _INLINE:
            await asyncio.to_thread(hasher.update, chunk)
        else:
            hasher.update(chunk)
        self._held.append(_Piece(self._end, self._hasher, memoryview(chunk)))
        self._hasher, self._end = hasher, self._end + len(chunk)
