"""Accounts for every file of a batch: each is in one place, from when it is taken until its outcome is reported.

    taken ── read in a worker thread ──> queued ── sent on a socket ──> sent ── answered ──> finished
                       └── cannot be read ──> finished    ^──── socket lost ────┘

Nothing of this lives in a local variable while somebody waits: a cancelled wait loses no file.
"""

import asyncio
import errno
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from jackfield.handlers.upload.client.creation import Token, creation
from jackfield.handlers.upload.client.failures import Changed, NoSpace, UploadError
from jackfield.handlers.upload.client.source import fingerprint, open_regular
from jackfield.handlers.upload.client.transfer import Receipt
from jackfield.handlers.upload.wire.messages import Creation

SMALL = 1024 * 1024  # bytes of a file that is held in memory until its receipt
_HOP = 16  # files that one visit to a worker thread takes and reads

Entry = tuple[str | os.PathLike[str], str] | tuple[str | os.PathLike[str], str, Token | None]
"""A file to send: its path, its name on the service, its token (None, or absent: one is drawn)."""

Done = Callable[[str, Receipt | UploadError | OSError], None]


@dataclass(slots=True)
class Item:
    """One file. `asked` and `data` are set once it is read, or `error` where it could not be."""

    path: str
    asked: Creation | None = None
    data: bytes = b""
    error: UploadError | OSError | None = None
    drawn: bool = True  # its token is this call's own: no later call can go on with it
    times_sent: int = 0
    lost_sockets: int = 0  # on which it was sent: the service may read on there, which takes it from the newer socket
    open: str | None = None  # the token in the service's `ready`: it has such an upload

    @property
    def token(self) -> str:
        """The token it is asked for with."""
        assert self.asked is not None
        assert self.asked.token is not None
        return self.asked.token


class Ledger:
    """Takes files from `files`, reads them, keeps them until they are answered, and tells `done`."""

    def __init__(self, files: Iterable[Entry], done: Done) -> None:
        self._files: Iterator[Entry] = iter(files)
        self._done = done
        self._reading: asyncio.Future[None] | None = None  # the visit to the worker thread, until `fill` has seen it
        self._batch: deque[Item] = deque()  # what that visit has taken
        self.exhausted = False  # there is nothing more to take
        self.queued: deque[Item] = deque()  # read, and to be sent
        self.sent: deque[Item] = deque()  # sent on this socket, in order; they wait for their answers
        self.bytes_sent = 0  # of those
        self.abandoned: deque[str] = deque()  # tokens of uploads that are open, and will not be stored
        self.taken = 0
        self.finished = 0

    @property
    def unfinished(self) -> int:
        """How many files were taken and have no outcome yet."""
        return self.taken - self.finished

    async def fill(self) -> None:
        """Have the next files read. When the wait is cancelled, the next call gets what this one asked for."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(asyncio.to_thread(self._take))
        try:
            await asyncio.shield(self._reading)
        finally:
            if self._reading.done():
                self._reading = None
                self._sort()

    def _take(self) -> None:
        """Take some files and read them. In a worker thread, one visit at a time: finding them may take time too."""
        for path, name, *token in islice(self._files, _HOP):
            self.taken += 1
            self._batch.append(Item(os.fspath(path)))
            _read(self._batch[-1], name, token[0] if token else None)
        self.exhausted = not self._batch

    def _sort(self) -> None:
        """What could be read is queued, the rest has its outcome."""
        while self._batch:
            item = self._batch.popleft()
            if item.error is None:
                self.queued.append(item)
            else:
                self._finish(item, item.error)

    def send(self) -> Item:
        """From now on the service may have the first one that is queued."""
        item = self.queued.popleft()
        item.times_sent += 1
        self.sent.append(item)
        self.bytes_sent += len(item.data)
        return item

    def lost(self) -> None:
        """The socket is lost: what has no answer is sent again. The tokens keep it from being stored twice."""
        for item in self.sent:
            item.lost_sockets += 1
        self.queued.extendleft(reversed(self.sent))
        self.sent.clear()
        self.bytes_sent = 0

    def send_again(self) -> None:
        """The first one that was sent has to be sent once more."""
        item = self.sent.popleft()
        self.bytes_sent -= len(item.data)
        self.queued.appendleft(item)

    def answered(self, outcome: Receipt | UploadError) -> None:
        """The first one that was sent has its outcome."""
        item = self.sent.popleft()
        self.bytes_sent -= len(item.data)
        self._finish(item, outcome)

    def _finish(self, item: Item, outcome: Receipt | UploadError | OSError) -> None:
        self.finished += 1
        self._done(item.path, outcome)

    async def close(self) -> list[str]:
        """Read no more. Returns the tokens of what was begun on the service and nobody can go on with."""
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None
        begun = [item.token for item in (*self.queued, *self.sent) if item.times_sent and item.drawn]
        return [*self.abandoned, *begun]


def _read(item: Item, name: str, token: Token | None) -> None:
    """Read and digest it."""
    try:
        item.data, found = _content(Path(item.path))
        if callable(token):
            token = token(found)
        item.drawn = token is None
        digest = hashlib.sha256(item.data).hexdigest()
        item.asked = creation(name, token, size=len(item.data), sha256=digest, mtime=found.st_mtime_ns)
    except (UploadError, OSError) as error:
        item.error = error
    except ValueError as error:  # a path with a NUL, a token that is none
        item.error = OSError(errno.EINVAL, str(error), item.path)


def _content(path: Path) -> tuple[bytes, os.stat_result]:
    with open_regular(path) as file:
        found = os.fstat(file.fileno())
        size = found.st_size
        if size > SMALL:
            raise NoSpace("too_large", f"{path} has {size} bytes, and {SMALL} is the most that is sent this way")
        data = file.read(size + 1) or b""
        if fingerprint(os.fstat(file.fileno())) != fingerprint(found) or len(data) != size:
            raise Changed("changed", f"{path} changed while it was read")
        return data, found
