"""The input of a socket of many files, with a look-ahead for small files that have arrived completely."""

from collections import deque
from dataclasses import dataclass

from jackfield.app.handler import Batch, Connection, Failure
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.store.small import SMALL
from jackfield.handlers.upload.uploads.batches import BATCH, PATIENCE, least
from jackfield.handlers.upload.wire.messages import End, Promise, parse_many


@dataclass(slots=True)
class CompleteFile:
    """All bytes of a small file, and its end. Release it, or read it, which does the same."""

    batch: Batch | None  # None where it is empty
    text: str
    end: End

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return 0 if self.batch is None else self.batch.size

    def read(self) -> bytes:
        """A copy of its bytes; their memory is given back."""
        data = b"" if self.batch is None else b"".join(self.batch.views)
        self.release()
        return data

    def release(self) -> None:
        """Give the memory back."""
        if self.batch is not None:
            self.batch.release()
            self.batch = None


class Incoming:
    """Bytes and texts of one connection, in the order they came."""

    def __init__(self, connection: Connection, options: UploadOptions) -> None:
        self._connection = connection
        self._options = options
        self._least = least(options)
        self._ahead: deque[Batch | str] = deque()  # looked at, and yet to be used

    @property
    def waiting(self) -> bool:
        """Whether there is something that could be taken, or would be raised, at once."""
        return bool(self._ahead) or self._connection.stream.waiting

    async def take(self) -> Batch | str:
        """The next of them; see `Connection.take`."""
        if self._ahead:
            return self._ahead.popleft()
        return await self._connection.take(self._least, PATIENCE, self._options.idle_timeout, BATCH)

    async def rest(self) -> Batch | str:
        """The same, when the service ends; see `Stream.next`."""
        return self._ahead.popleft() if self._ahead else await self._connection.stream.next()

    def take_complete_file(self, promise: Promise) -> CompleteFile | None:
        """The bytes of a small file and its end, where they stand next and can be had without waiting."""
        allowed = SMALL if promise.size is None else promise.size
        if self._ahead or allowed > SMALL:
            return None
        stream = self._connection.stream
        item = stream.ready(1, allowed)
        batch, text = (item, stream.ready(1, 1)) if isinstance(item, Batch) else (None, item)
        size = 0 if batch is None else batch.size
        if isinstance(text, str) and size <= allowed and promise.size in (None, size):
            end = _end(text)
            if end is not None:
                return CompleteFile(batch, text, end)
        self._ahead.extend(item for item in (batch, text) if item is not None)
        return None

    def put_back(self, file: CompleteFile) -> None:
        """Take it again, piece by piece."""
        batch, file.batch = file.batch, None
        self._ahead.extend(item for item in (batch, file.text) if item is not None)

    def drop(self) -> None:
        """Nothing more is used: give the memory back."""
        for item in self._ahead:
            if isinstance(item, Batch):
                item.release()
        self._ahead.clear()


def _end(text: str) -> End | None:
    try:
        message = parse_many(text)
    except Failure:
        return None
    return message if isinstance(message, End) else None
