"""The file of a part: it digests what it writes, and notices when somebody else writes to it. Blocking calls."""

import contextlib
import errno
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, Final

from handlers.upload.records import Proof

_PIECES: Final = 1024  # IOV_MAX of Linux: pieces that one writev takes
_READ: Final = 1024 * 1024


class Damaged(OSError):
    """The part's file is not what we have written: gone, cut, replaced, or changed by somebody else."""

    def __init__(self, problem: str) -> None:
        super().__init__(errno.EIO, problem)


@dataclass(slots=True)
class Knowledge:
    """What is known of a part's bytes; it outlives the closing of the file, so that coming back costs no reading.

    `digest` is of the first `hashed` bytes. `mark` tells what the file looked like after our own last
    touch. `proof` is what must be found when bytes that were digested before are read again.
    """

    digest: Any = field(default_factory=hashlib.sha256)
    hashed: int = 0
    mark: tuple[int, int, int] | None = None  # inode, size, modification time in nanoseconds
    proof: Proof | None = None

    def doubt(self) -> None:
        """Somebody may have written to the file: all is read again, and must be what it was."""
        if self.proof is None or self.proof.size <= self.hashed:
            self.proof = Proof(self.hashed, self.digest.hexdigest()) if self.hashed else None
        self.digest, self.hashed = hashlib.sha256(), 0

    def forget_from(self, size: int, proof: Proof | None) -> None:
        """The file was cut to `size` bytes, of which `proof` tells."""
        if self.hashed > size or (self.proof is not None and self.proof.size > size):
            self.digest, self.hashed = hashlib.sha256(), 0
            self.proof = proof if proof is not None and proof.size <= size else None


class HashingFile(FileIO):
    """Hashing and writing take one visit to a worker thread: both release the interpreter's lock, and a
    visit costs 100 to 200 µs.

    `known.hashed` lags behind `offset` where bytes were not written by us; `catch_up` reads them.
    """

    def __init__(self, path: Path, offset: int, known: Knowledge) -> None:
        super().__init__(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "r+b")
        self._path = path
        self.offset = offset
        self.known = known

    # -- whether it is ours alone

    def look(self) -> None:
        """Has anybody touched the file since we did? Raises Damaged where it is gone or shorter."""
        self.stay()
        found = self._look()
        if found != self.known.mark:
            if found[1] < self.offset:
                raise Damaged("The part file is shorter than it was")
            if self.known.mark is not None:
                self.known.doubt()
            self.known.mark = found

    def stay(self) -> None:
        """Raises Damaged where the file does not stand under its name any more."""
        try:
            same = os.path.samestat(os.lstat(self._path), os.fstat(self.fileno()))
        except FileNotFoundError:
            same = False
        if not same:
            raise Damaged("The part file is not there any more")

    def _look(self) -> tuple[int, int, int]:
        found = os.fstat(self.fileno())
        return found.st_ino, found.st_size, found.st_mtime_ns

    # -- writing

    def writelines(self, views: Any, /) -> None:
        """Append all views, or none: where it raises OSError the file has its old length."""
        self.look()
        start, known = self.offset, self.known
        try:
            end = self._write(views)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self.fileno(), start)
            raise
        finally:
            known.mark = self._look()
        if known.hashed == start:
            for view in views:
                known.digest.update(view)
            known.hashed = end
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

    def trim(self) -> None:
        """Cut off what stands behind `offset`: a write that failed, or bytes that are not trusted any more."""
        if os.fstat(self.fileno()).st_size > self.offset:
            os.ftruncate(self.fileno(), self.offset)
            self.known.mark = self._look()

    # -- reading

    def catch_up(self) -> str:
        """The digest of all bytes, reading those that were not digested when they were written."""
        known = self.known
        while known.hashed < self.offset:
            block = os.pread(self.fileno(), self._next_read(), known.hashed)
            if not block:
                raise Damaged("The part file is shorter than it was")
            known.digest.update(block)
            known.hashed += len(block)
            if known.proof is not None and known.hashed == known.proof.size:
                if known.digest.hexdigest() != known.proof.sha256:
                    raise Damaged("The part file was changed by somebody else")
                known.proof = None
        return str(known.digest.hexdigest())

    def _next_read(self) -> int:
        """Bytes to read: not past what can be compared."""
        proof, hashed = self.known.proof, self.known.hashed
        end = self.offset if proof is None or proof.size > self.offset else proof.size
        return min(_READ, end - hashed)

    def verify(self) -> str:
        """The digest of the whole file, which has `offset` bytes. Raises Damaged."""
        self.look()
        self.trim()
        return self.catch_up()
