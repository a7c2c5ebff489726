"""The body of one request, taken as it arrives: in bounded memory, however long it is."""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import hdrs, web

from jackfield.app.errors import ABNORMAL, BAD_REQUEST, TIMED_OUT, Close, Disconnected, Failure
from jackfield.app.socket.interruption import Interruptible
from jackfield.app.socket.stream import Batch

_AHEAD: Final = 256 * 1024  # bytes that aiohttp reads ahead of us


class _Reader:
    """What aiohttp gives of a body."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._content = request.content
        self._views: list[memoryview] = []  # that have come, and were not taken
        self._size = 0  # of these, in bytes
        self.end: Close | Disconnected | None = None
        self.on_end: Callable[[], None] = lambda: None
        self.queued = False
        self.paused = False

    def wake(self) -> None:
        """Nobody waits here but by being cancelled."""

    async def next(self, least: int, patience: float, most: int) -> Batch | None:
        """The next bytes; None behind the last one. Raises Disconnected, Failure."""
        while not self._size and not self._content.at_eof():
            await self._read(most)
        try:
            async with asyncio.timeout(patience):
                while self._size < least and not self._content.at_eof():
                    await self._read(most - self._size)
        except TimeoutError:
            pass
        views, size, self._views, self._size = self._views, self._size, [], 0
        return Batch(views, size, lambda: None) if size else None

    async def _read(self, most: int) -> None:
        try:
            data = await self._content.read(min(most, _AHEAD))
        except web.RequestPayloadError as error:
            raise Failure(BAD_REQUEST, f"The body cannot be read: {error}.") from error
        except (OSError, RuntimeError) as error:
            raise Disconnected(ABNORMAL, clean=False) from error
        self._views.append(memoryview(data))
        self._size += len(data)


class Body(Interruptible[_Reader]):
    """The body of one request: a small one is read, another one is taken piece by piece.

    Waiting for it raises Disconnected when the link is lost, and what `interrupt` was given, so Failure `draining`
    when the service ends.
    """

    def __init__(self, request: web.Request, seconds: float) -> None:
        super().__init__(_Reader(request))
        self._request = request
        self._seconds = seconds  # for a small one to be whole
        self._expected = request.headers.get(hdrs.EXPECT) is not None  # the client waits for a word before it sends it

    @property
    def size(self) -> int | None:
        """Its bytes, as the request promises; None where it is chunked."""
        length = self._request.content_length
        return length if length is not None or self._request.body_exists else 0

    @property
    def paused(self) -> bool:
        """Whether it is not read now, for want of memory."""
        return self.source.paused

    def check(self) -> None:
        """Raise what has ended it already."""
        if self.interruption is not None:
            raise self.interruption

    async def begin(self, offset: int) -> None:
        """It is wanted: its first byte is the one at `offset` of the file that it will be written to."""
        if self._expected:
            self._expected = False
            await self._request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._request.writer.output_size = 0  # the answer is still to come

    async def read(self) -> bytes:
        """All of a small one. Raises Failure: 408 where it is not whole in time, 413 where it is not small."""
        await self.begin(0)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._request.read()
        except TimeoutError:
            raise Failure(TIMED_OUT, f"The body was not whole after {self._seconds:g} s.") from None

    async def take(self, least: int, patience: float, timeout: float, most: int) -> Batch | None:
        """The next bytes, at most `most`; None behind the last one.

        Fewer than `least` wait up to `patience` seconds for more. After `timeout` seconds in which we read and nothing
        came: Failure, 408.
        """
        while True:
            try:
                async with asyncio.timeout(timeout):
                    return await self.interruptible(self.source.next(least, patience, most))
            except TimeoutError:
                if not self.paused:
                    raise Failure(TIMED_OUT, f"Nothing came within {timeout:g} s.") from None


async def wait_for_body(request: web.Request) -> None:
    """In the place of aiohttp's answer to `Expect`: whoever wants the body says so when everything is checked."""
    expected = request.headers.get(hdrs.EXPECT, "")
    if expected.lower() != "100-continue":
        raise web.HTTPExpectationFailed(text=f"Unknown Expect: {expected}")
