"""The parts of a form (RFC 7578), as they come out of its body: those that are files, one after the other."""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Final

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from jackfield.app.errors import BAD_REQUEST, TIMED_OUT, TOO_LARGE
from jackfield.app.handler import Batch, Body, Disconnected, Failure
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.uploads.batches import BATCH
from jackfield.handlers.upload.wire.words import IDLE, INCOMPLETE

MOST: Final = 1000
"""Parts of a form: its answer tells of each."""

SMALL: Final = 1024 * 1024
"""Bytes of a part that is no file."""


class _End(Enum):
    PART = "of a part"
    FORM = "of the form"


class _Head:
    """A part begins."""

    def __init__(self, segment: MultipartSegment) -> None:
        self.filename: str = segment.filename or ""
        self.headers: Mapping[str, str] = dict(segment.headerlist)


_Item = _Head | Batch | _End


class _Held:
    """Memory of the body whose bytes stand, copied, in several batches: it is given back with the last of them."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._users = 1  # who parses it

    def hold(self, views: list[memoryview]) -> Batch:
        """A batch of its own."""
        self._users += 1
        return Batch(views, sum(map(len, views)), self.drop)

    def drop(self) -> None:
        """One of them is used."""
        self._users -= 1
        if not self._users:
            self._batch.release()


class Parts:
    """Of one form. Raises Failure where its header `Content-Type` names no boundary."""

    def __init__(self, body: Body, content_type: str, options: UploadOptions) -> None:
        self._body = body
        self._idle = options.idle_timeout
        self._queue: deque[_Item] = deque()  # parsed, and not taken
        try:
            boundary = parse_options_header(content_type)[1].get("boundary", "")
            self._parser = PushMultipartParser(boundary, max_segment_count=MOST)
        except MultipartError as error:
            raise Failure(BAD_REQUEST, "The form has no boundary.") from error

    async def next_file(self) -> "File | None":
        """The next part that is a file, when the one before is taken; None where there is none. Raises Failure."""
        return await self._body.within(self._next_file())

    async def _next_file(self) -> "File | None":
        size = 0  # of a part that is no file
        while (item := await self.take(self._some)) is not _End.FORM:
            if isinstance(item, Batch):
                size += item.size
                item.release()
            elif isinstance(item, _Head):
                size = 0
                if item.filename:
                    return File(self, self._body, item)
            if size > SMALL:
                raise Failure(TOO_LARGE, f"A part of a form that is no file may have {SMALL} bytes.")
        return None

    async def _some(self) -> Batch | None:
        try:
            return await self._body.take(1, 0, self._idle, BATCH)
        except Disconnected:
            raise Failure(INCOMPLETE, "The form ended early.") from None
        except Failure as failure:
            if failure.kind is TIMED_OUT:
                raise Failure(IDLE, failure.detail) from None
            raise

    async def take(self, more: Callable[[], Awaitable[Batch | None]]) -> _Item:
        """The next item; with `more` of the body where it is not there yet. Raises what that does, and Failure."""
        while not self._queue:
            batch = await more()
            try:
                self._parse(batch)
            except ParserLimitReached as error:
                raise Failure(TOO_LARGE, f"A form may have {MOST} parts, with short headers.") from error
            except MultipartError as error:
                raise Failure(BAD_REQUEST, f"The form cannot be read: {error}.") from error
        return self._queue.popleft()

    def _parse(self, batch: Batch | None) -> None:
        if batch is None:
            self._parser.close()  # an error where the last boundary has not come
            self._queue.append(_End.FORM)
            return
        held = _Held(batch)
        run: list[memoryview] = []  # of one part
        try:
            for view in batch.views:
                for event in self._parser.parse(bytes(view)):
                    if isinstance(event, bytes):
                        run.append(memoryview(event))
                        continue
                    self._put(held, run)
                    run = []
                    self._queue.append(_End.PART if event is None else _Head(event))
        finally:
            self._put(held, run)
            held.drop()

    def _put(self, held: _Held, run: list[memoryview]) -> None:
        if run:
            self._queue.append(held.hold(run))

    def close(self) -> None:
        """Nothing more is taken: give the memory back."""
        for item in self._queue:
            if isinstance(item, Batch):
                item.release()
        self._queue.clear()


class File:
    """One part that is a file: what `append` takes (see `Incoming` there)."""

    def __init__(self, parts: Parts, body: Body, head: _Head) -> None:
        self.name = head.filename
        self.headers = head.headers
        self._parts = parts
        self._body = body
        self.interrupt = body.interrupt
        self.interruptible = body.interruptible

    @property
    def paused(self) -> bool:
        """Whether the form is not read now, for want of memory."""
        return self._body.paused

    def check(self) -> None:
        """See `Body`."""
        self._body.check()

    async def begin(self, offset: int) -> None:
        """It has come as far as its head already, so there is nothing to be said."""

    async def take(self, least: int, patience: float, timeout: float, most: int) -> Batch | None:
        """See `Body`; the last byte is this part's."""
        return _bytes(await self._parts.take(lambda: self._body.take(least, patience, timeout, most)))

    async def next(self, least: int, patience: float, most: int) -> Batch | None:
        """See `Body`."""
        return _bytes(await self._parts.take(lambda: self._body.next(least, patience, most)))


def _bytes(item: _Item) -> Batch | None:
    return item if isinstance(item, Batch) else None
