"""The body of one request, taken as it arrives: in bounded memory, however long it is."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar, cast

from aiohttp import StreamReader, hdrs, web

from jackfield.app.errors import BAD_REQUEST, TIMED_OUT, UNSUPPORTED_MEDIA_TYPE, Disconnected, Failure
from jackfield.app.runner import UNANSWERED, Connection
from jackfield.app.socket.body import BodyStream
from jackfield.app.socket.buffers import Buffers
from jackfield.app.socket.interruption import Interruptible
from jackfield.app.socket.shared import Shared
from jackfield.app.socket.stream import Batch
from jackfield.app.tasks import supervised

_T = TypeVar("_T")

_AHEAD: Final = 256 * 1024  # bytes that aiohttp gives at once


class _Pump:
    """Reads a body from aiohttp, in the place of its transport: where that brings chunks, or is somebody else's."""

    def __init__(self, content: StreamReader) -> None:
        self._content = content
        self._wanted = asyncio.Event()
        self._wanted.set()
        self.running: asyncio.Task[bool] | None = None  # set by `begin`

    def pause_reading(self) -> None:
        """Bring nothing more."""
        self._wanted.clear()

    def resume_reading(self) -> None:
        """Go on."""
        self._wanted.set()

    def is_closing(self) -> bool:
        """It ends by itself."""
        return False

    def abort(self) -> None:
        """A fault of ours: bring nothing more."""
        self.stop()

    def begin(self, stream: BodyStream) -> None:
        """Bring all of it, in a task that ends with it."""
        self._content.set_read_chunk_size(_AHEAD)
        self.running = asyncio.create_task(supervised("body", lambda: self._run(stream)))

    def stop(self) -> None:
        """Nobody wants it any more."""
        if self.running is not None:
            self.running.cancel()

    async def _run(self, stream: BodyStream) -> None:
        try:
            while True:
                await self._wanted.wait()
                data = await self._content.read(_AHEAD)
                if not data:
                    break
                stream.feed(data)
        except web.RequestPayloadError as error:
            stream.refuse(Failure(BAD_REQUEST, f"The body cannot be read: {error}."))
        except (OSError, RuntimeError):  # aiohttp's words for a lost link
            stream.cut()
        else:
            stream.end_of_body()


class Body(Interruptible[BodyStream]):
    """The body of one request: a small one is read, another one is taken piece by piece.

    Waiting for it raises Disconnected when the link is lost, and what `interrupt` was given, so Failure `draining`
    when the service ends.
    """

    def __init__(self, request: web.Request, seconds: float, buffers: Buffers, shared: Shared) -> None:
        self._request = request
        self._seconds = seconds  # for a small one to be whole
        self.begun = False  # it is taken
        self._pump = _Pump(request.content)
        pump = cast("Any", self._pump)
        super().__init__(BodyStream(request.protocol, pump, self.size, buffers, shared))

    @property
    def size(self) -> int | None:
        """Its bytes, as the request promises; None where it is chunked."""
        length = self._request.content_length
        return length if length is not None or self._request.body_exists else 0

    @property
    def paused(self) -> bool:
        """Whether it is not read now, for want of memory."""
        return self.source.paused and not self.source.complete

    def check(self) -> None:
        """Raise what has ended it already."""
        if self.interruption is not None:
            raise self.interruption

    async def begin(self, offset: int) -> None:
        """It is wanted: its first byte is the one at `offset` of the file that it is written to. Raises Failure."""
        if hdrs.CONTENT_ENCODING in self._request.headers:
            raise Failure(UNSUPPORTED_MEDIA_TYPE, "Send the bytes as they are, without a Content-Encoding.")
        stream, protocol = self.source, self._request.protocol
        self.begun = True
        stream.align(offset)
        try:
            if isinstance(protocol, Connection) and self._request.content_length is not None:
                protocol.lend(self._request, stream)
            else:
                self._pump.begin(stream)
            await self.proceed()
        except OSError:
            stream.cut()

    async def proceed(self) -> None:
        """The client may have waited for this word before it sends the body."""
        if self._request.get(UNANSWERED):
            self._request[UNANSWERED] = False
            await self._request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._request.writer.output_size = 0  # the answer is still to come

    async def read(self) -> bytes:
        """All of a small one. Raises Failure: 408 where it is not whole in time, 413 where it is not small."""
        await self.proceed()
        try:
            async with asyncio.timeout(self._seconds):
                return await self._request.read()
        except TimeoutError:
            raise self._late() from None

    def _late(self) -> Failure:
        return Failure(TIMED_OUT, f"The body was not whole after {self._seconds:g} s.")

    async def within(self, reading: Coroutine[Any, Any, _T]) -> _T:
        """Await what takes something small of it: 408 where that takes longer than a small body may."""
        try:
            async with asyncio.timeout(self._seconds):
                return await reading
        except TimeoutError:
            raise self._late() from None

    # -- taking

    async def take(self, least: int, patience: float, timeout: float, most: int) -> Batch | None:
        """The next bytes, at most `most`; None behind the last one.

        Fewer than `least` wait up to `patience` seconds for more. After `timeout` seconds in which we read and nothing
        came: Failure, 408.
        """
        while True:
            try:
                async with asyncio.timeout(timeout):
                    return await self.interruptible(self.next(least, patience, most))
            except TimeoutError:
                if not self.paused:
                    raise Failure(TIMED_OUT, f"Nothing came within {timeout:g} s.") from None

    async def next(self, least: int, patience: float, most: int) -> Batch | None:
        """The same, whatever it is interrupted by, and without a time limit."""
        try:
            batch = await self.source.next(least, patience, most)
        except Disconnected as end:
            if end.clean:
                return None
            raise
        assert isinstance(batch, Batch), "a body has no texts"
        return batch

    def close(self) -> None:
        """The answer is made: what still comes is thrown away."""
        self._pump.stop()
        self.source.close()


async def wait_for_body(request: web.Request) -> None:
    """In the place of aiohttp's answer to `Expect`: whoever wants the body says so when everything is checked."""
    expected = request.headers.get(hdrs.EXPECT, "")
    if expected.lower() != "100-continue":
        raise web.HTTPExpectationFailed(text=f"Unknown Expect: {expected}")
    request[UNANSWERED] = True
