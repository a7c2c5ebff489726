"""A file as a source: read and digested in a worker thread, ahead of the sending."""

import asyncio
import errno
import hashlib
import os
import stat
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Protocol, Self

from jackfield.handlers.upload.client.failures import Changed

_PIECE = 2 * 1024 * 1024  # bytes a hop to the worker thread reads: one hop costs 0.1 ms, 1 MiB of SHA-256 0.6
_AHEAD = 2  # pieces asked for beyond the one that is being sent: so the thread never waits for the loop
_MARKS = 512  # states of the digest to keep, one a piece: a service that lost up to 1 GiB costs no re-reading


class Source(Protocol):
    """Bytes in order; `seek` goes back to where the service wants them from."""

    @property
    def size(self) -> int | None:
        """How many bytes there are, if that is known before the end."""

    @property
    def full(self) -> bool:
        """Whether no more may be read before the service has made some of it durable."""

    async def seek(self, offset: int) -> str:
        """Go to `offset`, and return the SHA-256 of the bytes before it."""

    async def read(self) -> memoryview:
        """Return the next piece, which is valid until the next call; empty at the end."""

    async def digest(self) -> str:
        """Return the SHA-256 of everything, after `read` returned nothing; the last check is made here."""

    async def drain(self) -> str:
        """Go to the end without sending anything, and return the SHA-256 of everything."""

    def release(self, durable: int) -> None:
        """The service never wants a byte before `durable` again."""

    async def close(self) -> None:
        """Close what is open."""


class File:
    """A regular file, as it was when it was opened: a change is noticed and raises `Changed`.

    The descriptor stays open over all attempts, so a file that is replaced by another one (renamed over)
    is still sent as one version.
    """

    full = False

    def __init__(self, file: FileIO, path: Path) -> None:
        self._file = file  # used by the worker thread alone
        self._path = path
        self.found = os.fstat(file.fileno())
        self.size: int = self.found.st_size
        self._offset = 0
        self._hasher = hashlib.sha256()
        self._marks = deque([(0, self._hasher.copy())], maxlen=_MARKS)
        piece = min(_PIECE, self.size)
        self._buffers = deque(memoryview(bytearray(piece)) for _ in range(_AHEAD + 1))
        self._ahead: deque[asyncio.Future[memoryview]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read")  # one, so that pieces are read in order

    @classmethod
    async def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open `path`. Raises OSError when it cannot be opened or is no regular file."""
        return await asyncio.to_thread(cls._open, Path(path))

    @classmethod
    def _open(cls, path: Path) -> Self:
        return cls(open_regular(path), path)

    async def seek(self, offset: int) -> str:
        """See `Source`. Reads what no kept state of the digest covers; the file ends at `size`."""
        await self._thread_idle()
        while self._marks and self._marks[-1][0] > offset:
            self._marks.pop()
        self._offset, hasher = self._marks[-1] if self._marks else (0, hashlib.sha256())
        self._hasher = hasher.copy()
        while self._offset < offset:
            self._start(offset)
            await self._produced()
        return self._hasher.hexdigest()

    async def read(self) -> memoryview:
        """See `Source`. The pieces after the one that is returned are being read meanwhile."""
        while len(self._ahead) <= _AHEAD:
            self._start(self.size)
        return await self._produced()

    async def digest(self) -> str:
        """See `Source`."""
        await asyncio.to_thread(self._verify)
        return self._hasher.hexdigest()

    async def drain(self) -> str:
        """See `Source`."""
        await self.seek(self.size)
        return await self.digest()

    def release(self, durable: int) -> None:
        """See `Source`. A file can be read again from anywhere."""

    async def close(self) -> None:
        """Close the file, once no thread reads it any more."""
        await self._thread_idle()
        self._thread.shutdown()
        self._file.close()

    def _start(self, until: int) -> None:
        """Have one more piece read, into the buffer that was used longest ago."""
        self._buffers.rotate(-1)
        # Not a task: a task would begin only when the loop is next idle, and sending may keep it busy for long.
        piece = asyncio.get_running_loop().run_in_executor(self._thread, self._produce, self._buffers[-1], until)
        self._ahead.append(piece)

    async def _produced(self) -> memoryview:
        """Wait for the thread. Cancelling the wait does not stop it: see `_thread_idle`."""
        piece = await asyncio.shield(self._ahead[0])
        self._ahead.popleft()
        return piece

    async def _thread_idle(self) -> None:
        """Wait until the thread rests: what it reads moves the offset and the digest."""
        while self._ahead:
            await asyncio.wait(self._ahead)
            piece = self._ahead.popleft()
            if not piece.cancelled():
                piece.exception()  # reading that piece again raises the same error

    def _produce(self, buffer: memoryview, until: int) -> memoryview:
        """Read and digest the next piece into `buffer`. In the worker thread, one at a time."""
        room = buffer[: until - self._offset]
        piece = room[: self._read_at(self._offset, room)] if room else room
        self._verify()
        if room and not piece:
            raise Changed("changed", f"{self._path} ends before the {self.size} bytes it says it has")
        self._hasher.update(piece)
        self._offset += len(piece)
        self._marks.append((self._offset, self._hasher.copy()))
        return piece

    def _verify(self) -> None:
        """Raise `Changed` unless this is still the version that was opened."""
        if fingerprint(os.fstat(self._file.fileno())) != fingerprint(self.found):
            raise Changed("changed", f"{self._path} changed while it was sent")
        if self._offset == self.size and self._read_at(self.size, memoryview(bytearray(1))):
            # Files in /proc say 0 and have more.
            raise Changed("changed", f"{self._path} holds more than the {self.size} bytes it says it has")

    def _read_at(self, offset: int, buffer: memoryview) -> int:
        self._file.seek(offset)
        return self._file.readinto(buffer) or 0


def open_regular(path: Path) -> FileIO:
    """Open a regular file to read it. Raises OSError when it cannot be opened, or is a device, a pipe or a folder."""
    file = FileIO(path, opener=_open)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return file


def _open(path: str, flags: int) -> int:
    # Without O_NONBLOCK the opening of a named pipe waits until somebody writes to it; Windows has neither.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def fingerprint(found: os.stat_result) -> tuple[int, int, int]:
    """What tells one version of a file from another: size in bytes, time of change in ns, inode."""
    return found.st_size, found.st_mtime_ns, found.st_ino
