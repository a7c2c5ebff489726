"""The file of a part: it digests what it writes, and notices changes by others. Blocking calls."""

import contextlib
import errno
import fcntl
import hashlib
import itertools
import mmap
import operator
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, Final

from bitarray import bitarray

from jackfield.handlers.upload.store.disk import FILE, Disk
from jackfield.handlers.upload.store.failstop import FailStop
from jackfield.handlers.upload.store.records import Checkpoint

_PIECES: Final = 1024  # IOV_MAX of Linux: pieces that one call takes
_READ: Final = 1024 * 1024
_PAGE: Final = mmap.PAGESIZE
_BULK: Final = 128 * 1024
"""Bytes from which on a piece goes past the cache of the system."""


class Damaged(OSError):
    """The part's file is not what we have written: gone, cut, replaced, or changed by somebody else."""

    def __init__(self, problem: str) -> None:
        super().__init__(errno.EIO, problem)


@dataclass(slots=True)
class DigestState:
    """What is known of a part's bytes; it outlives the closing of the file, so that coming back costs no reading.

    `digest` is of the first `hashed` bytes. It is replaced and never updated, so that who has taken it may
    use it in any thread: a copy of one that is being updated would wait until that is done. `stat_signature` tells
    the file's state after our own last change. `checkpoint` is the digest that bytes must have
    when they are read again.
    """

    digest: Any = field(default_factory=hashlib.sha256)
    hashed: int = 0
    stat_signature: tuple[int, int, int] | None = None  # inode, size, modification time in nanoseconds
    checkpoint: Checkpoint | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)  # a batch is digested beside the looking

    def invalidate(self) -> None:
        """The file may have been changed: all of it is read again, and must have the same digest."""
        with self.lock:
            if self.checkpoint is None or self.checkpoint.size <= self.hashed:
                self.checkpoint = Checkpoint(self.hashed, self.digest.hexdigest()) if self.hashed else None
            self.digest, self.hashed = hashlib.sha256(), 0

    def restore(self, size: int, digest: Any) -> None:
        """The file is to be cut to `size` bytes, of which this is the digest."""
        self.digest, self.hashed = digest, size

    def truncated(self, size: int, checkpoint: Checkpoint | None) -> None:
        """The file was cut to `size` bytes, of which `checkpoint` tells."""
        if self.hashed > size or (self.checkpoint is not None and self.checkpoint.size > size):
            self.digest, self.hashed = hashlib.sha256(), 0
            self.checkpoint = checkpoint if checkpoint is not None and checkpoint.size <= size else None


class HashingFile(FileIO):
    """Writes batches with `writelines`, and digests them with `digest`, in another thread at the same time.

    Bulk is written past the cache of the system (O_DIRECT): copying a GiB into fresh pages of it costs 0.2 CPU
    seconds, 2 where the machine has to get them from its host, and as much again in the kernel's own threads;
    the disk takes it from where it lies for 0.06, and a sync has next to nothing left to do.

    `state.hashed` lags behind `offset` where bytes were not written by us; `catch_up` reads them.
    """

    def __init__(self, disk: Disk, path: Path, offset: int, state: DigestState, failstop: FailStop) -> None:
        super().__init__(disk.open(path, os.O_RDWR | FILE), "r+b")
        self._disk = disk
        self._path = path
        self._failstop = failstop
        self._direct = False  # what is written now goes past the cache
        self._takes_direct = True  # until the file system says that it does not
        self.offset = offset
        self.state = state

    # -- changes by others

    def check_changes(self) -> None:
        """Look for changes that are not ours. Raises Damaged where the file is gone or shorter.

        One fstat shows a file that was changed, deleted or replaced. One that was moved away: see `check_name`.
        """
        found = self._stat()
        if found != self.state.stat_signature:
            if found[1] < self.offset:
                raise Damaged("The part file is shorter than it was")
            if self.state.stat_signature is not None:
                self.state.invalidate()
            self.state.stat_signature = found

    def check_name(self) -> None:
        """Raises Damaged where the file does not stand under its name any more."""
        try:
            same = os.path.samestat(self._disk.lstat(self._path), self._disk.fstat(self.fileno()))
        except FileNotFoundError:
            same = False
        if not same:
            raise Damaged("The part file is not there any more")

    def _stat(self) -> tuple[int, int, int]:
        found = self._disk.fstat(self.fileno())
        if not found.st_nlink:
            raise Damaged("The part file is not there any more")
        return found.st_ino, found.st_size, found.st_mtime_ns

    # -- writing

    def writelines(self, views: Any, /) -> Any:
        """Append all views. Where it raises OSError none of them counts, and the file has its old length or is trimmed
        when it is opened anew; until then it takes nothing more.
        """
        with self._failstop:
            self.check_changes()
            start = self.offset
            try:
                self.offset = self._write(views)
            except OSError:
                with contextlib.suppress(OSError):
                    self._disk.truncate(self.fileno(), start)
                raise
            finally:
                self.state.stat_signature = self._stat()

    def digest(self, views: Sequence[memoryview], start: int) -> Any:
        """The digest of all bytes to the end of these, which begin at `start`; None where some are still to be read."""
        state = self.state
        with state.lock:
            if state.hashed != start:
                return None
            before = state.digest
        digest, end = before.copy(), start
        for view in views:
            digest.update(view)
            end += len(view)
        with state.lock:
            if state.digest is not before:  # meanwhile the file was found changed: all is read again
                return None
            state.digest, state.hashed = digest, end
        return digest

    def _write(self, views: Sequence[memoryview]) -> int:
        place = self.offset
        for direct, run in itertools.groupby(_pieces(views, place), key=operator.itemgetter(1)):
            pieces = [piece for piece, _ in run]
            while pieces:
                written = self._write_some(pieces[:_PIECES], place, direct=direct)
                place += written
                pieces = _behind(pieces, written)
        return place

    def _write_some(self, pieces: Sequence[memoryview], place: int, *, direct: bool) -> int:
        """How many bytes were written, past the cache where that is asked for and possible."""
        if direct and self._takes_direct:
            try:
                self._set_direct(direct=True)
                return self._disk.pwritev(self.fileno(), pieces, place)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._takes_direct = False
        self._set_direct(direct=False)
        return self._disk.pwritev(self.fileno(), pieces, place)

    def _set_direct(self, *, direct: bool) -> None:
        if direct != self._direct:
            self._disk.call(fcntl.fcntl, self.fileno(), fcntl.F_SETFL, FILE | (os.O_DIRECT if direct else 0))
            self._direct = direct

    def trim(self) -> None:
        """Cut off what stands behind `offset`: a write that failed, or bytes that are not trusted any more."""
        if self._disk.fstat(self.fileno()).st_size > self.offset:
            self._disk.truncate(self.fileno(), self.offset)
            self.state.stat_signature = self._stat()

    # -- reading

    def catch_up(self) -> str:
        """The digest of all bytes, reading those that were not digested when they were written."""
        state = self.state
        digest = state.digest.copy()
        self._set_direct(direct=False)
        while state.hashed < self.offset:
            block = self._disk.pread(self.fileno(), self._next_read(), state.hashed)
            if not block:
                raise Damaged("The part file is shorter than it was")
            digest.update(block)
            state.digest, state.hashed = digest, state.hashed + len(block)
            if state.checkpoint is not None and state.hashed == state.checkpoint.size:
                if digest.hexdigest() != state.checkpoint.sha256:
                    raise Damaged("The part file was changed by somebody else")
                state.checkpoint = None
        return str(digest.hexdigest())

    def _next_read(self) -> int:
        """Bytes to read: not past what can be compared."""
        checkpoint, hashed = self.state.checkpoint, self.state.hashed
        end = self.offset if checkpoint is None or checkpoint.size > self.offset else checkpoint.size
        return min(_READ, end - hashed)

    def verify(self) -> str:
        """The digest of the whole file, which has `offset` bytes. Raises Damaged."""
        self.check_changes()
        self.trim()
        return self.catch_up()


def _pieces(views: Sequence[memoryview], place: int) -> Iterator[tuple[memoryview, bool]]:
    """Each with whether it may go past the cache: what stands on whole pages, of memory and of the file alike."""
    for view in views:
        first = -place % _PAGE
        last = first + max(len(view) - first, 0) // _PAGE * _PAGE
        if last - first < _BULK or (_address(view) - place) % _PAGE:
            yield view, False
        else:
            cuts = ((view[:first], False), (view[first:last], True), (view[last:], False))
            yield from ((piece, direct) for piece, direct in cuts if piece)
        place += len(view)


def _address(view: memoryview) -> int:
    return bitarray(buffer=view).buffer_info().address


def _behind(pieces: list[memoryview], size: int) -> list[memoryview]:
    """What is left of the pieces behind their first `size` bytes."""
    while pieces and size >= len(pieces[0]):
        size -= len(pieces.pop(0))
    return [pieces[0][size:], *pieces[1:]] if pieces else []
