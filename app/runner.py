"""aiohttp's runner, whose connections are counted, take turns while they bring bodies, and can lend their transport.

aiohttp stops parsing a body where its reader has enough, and goes on from within the reader's
own call. So a reader that keeps up never waits, and whatever has come is parsed in one go: of chunks of one byte that
takes a tenth of a second, in which nobody else is served. Here it goes on in a later turn of the loop.

A long body is received past aiohttp, which copies each byte three times. Its parser cannot be told that the body is
over, so the next request on the link is served by a new connection.
"""

import asyncio
import json
from asyncio import BaseTransport, Transport, get_running_loop
from contextlib import suppress
from typing import Any, Final, cast

from aiohttp import web

from jackfield.app.admission import ADMISSION, ANYBODY, Admission
from jackfield.app.errors import HEADERS_TOO_LARGE
from jackfield.app.logger import get_logger
from jackfield.app.socket.body import BodyStream
from jackfield.app.socket.shared import Turns

log = get_logger()

READ_AHEAD: Final = 4 * 1024
"""Bytes of a body that aiohttp reads ahead; it stops at twice as many, or at a sixteenth of as many chunks. To parse
and read so many chunks takes a millisecond or two."""

HEAD: Final = 64 * 1024
"""Bytes that the head of a request may have; its lines have limits of their own. A little more passes where it comes in
one go."""

_AHEAD: Final = 2  # requests parsed before the one that is answered; they are held in memory

_PROBLEM: Final = json.dumps(
    {
        "type": "about:blank", "title": "Request Header Fields Too Large", "status": HEADERS_TOO_LARGE.status,
        "detail": f"The head of a request may have {HEAD} bytes.", "code": HEADERS_TOO_LARGE.code,
    }
).encode()  # fmt: skip
_ANSWER: Final = b"""\
HTTP/1.1 431 Request Header Fields Too Large\r
Content-Type: application/problem+json\r
Content-Length: %d\r
Connection: close\r
Server: jackfield\r
\r
%b""" % (len(_PROBLEM), _PROBLEM)

LINGER: Final = 1024 * 1024
"""Bytes of a body nobody wanted that are read on behind the answer, so that its client sees that and no reset."""

LINGER_SECONDS: Final = 2.0
"""Seconds that this may take."""

UNANSWERED: Final = web.RequestKey("unanswered", bool)
"""Set while a client that has sent `Expect: 100-continue` waits for an answer to it."""

_ALL: Final = 2**30  # more bytes than aiohttp ever has read ahead


class Connection(web.RequestHandler):
    """One connection of HTTP."""

    __slots__ = (
        "_admission", "_body", "_deaf", "_head", "_lent", "_resting", "_server", "_turns", "begun", "counted_for",
        "first",
    )  # fmt: skip

    def __init__(self, server: "_Server", turns: Turns, admission: Admission, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._turns = turns
        self._resting = False  # its turn to go on is still to come
        self._lent: BodyStream | None = None  # who receives in our place
        self._admission = admission
        self.counted_for: str | None = None  # by `admission`; None while it is not counted
        self.begun = False  # it was admitted, and requests may come
        self.first = True  # no request was answered on its link
        self._head = 0  # bytes of a head that has not come to its end
        self._body: Any = None  # of the newest request
        self._deaf = False  # what still comes is thrown away
        self._max_msg_queue_size, self._msg_queue_resume_size = _AHEAD, 0

    def connection_made(self, transport: BaseTransport) -> None:
        """Cut it where there are too many. For the first request we wait for a shorter time than for further ones."""
        if self.counted_for is None:
            self.counted_for = self._admission.take(transport.get_extra_info("peername"))
            if self.counted_for is None:
                cast("Transport", transport).abort()
                return
        self.begun = True
        super().connection_made(transport)
        if self.first and self._keepalive_handle is not None and self._admission.patience < self.keepalive_timeout:
            self._keepalive_handle.cancel()
            self._next_keepalive_close_time = self._loop.time() + self._admission.patience
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    def data_received(self, data: bytes) -> None:
        """A head that is too large is answered 431: aiohttp's own limits let a connection hold a MiB."""
        if self._deaf:
            return
        before, in_body = self._request_count, self._body is not None and not self._body.is_eof()
        super().data_received(data)
        if self._request_count != before:
            self._head, self._body = 0, self._messages[-1][1] if self._messages else None
        elif in_body:
            self._head = 0
        elif self._payload_parser is None:
            self._head += len(data)
            if self._head > HEAD and not self._force_close:
                self._refuse_head()

    def _refuse_head(self) -> None:
        """What comes behind is read for a while, so that its client sees the answer and no reset."""
        remote = self.peername[0] if isinstance(self.peername, tuple) else None
        log.info("request.refused", failure=HEADERS_TOO_LARGE.code, remote=remote)
        self._admission.refused("head")
        if self.transport is None or self._request_in_progress:
            self.force_close()
            return
        self._deaf = True
        self.transport.write(_ANSWER)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._loop.call_later(LINGER_SECONDS, self.force_close)

    def set_parser(self, *arguments: Any, **options: Any) -> None:
        """It is a socket from here on."""
        if self.counted_for is not None:
            self._admission.carries_socket(self.counted_for)
            self.counted_for = ANYBODY
        super().set_parser(*arguments, **options)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It has ended."""
        if self.counted_for is not None:
            self._admission.give(self.counted_for)
            self.counted_for = None
        if self.begun:
            super().connection_lost(exc)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """The reader of the body wants more."""
        if self._reading_paused and not self._resting and self._lent is None:
            self._resting = True
            self._turns.rest(lambda: self._go_on(resume_parser))

    def _go_on(self, resume_parser: bool) -> None:
        self._resting = False
        if self.transport is not None and self._lent is None:
            super().resume_reading(resume_parser)

    # -- lending the transport

    def lend(self, request: web.Request, stream: BodyStream) -> None:
        """Let the stream receive the request's body, until that is answered. Raises OSError where the link is lost."""
        content, came = request.content, -1
        content.set_read_chunk_size(_ALL)
        while came != content.total_bytes and not content.is_eof():
            came = content.total_bytes
            self.data_received(b"")  # what it has received, and not parsed
        transport = self.transport
        if transport is None:
            raise ConnectionResetError("The link is lost")
        if not content.is_eof():
            self._lent = stream
            transport.pause_reading()
            transport.set_protocol(stream)
            stream.attach(transport)
            transport.resume_reading()
        stream.feed(content.read_nowait())

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Answer. What is left of the body is read on for a while, behind the answer."""
        left = self._left(request)
        if left is None or left > LINGER or request.get(UNANSWERED):
            resp.force_close()
        answered = await super().finish_response(request, resp, start_time)
        if left != 0:
            await self._linger(request)
        if self._lent is not None:
            self._take_back(request, self._lent, answered[0])
        return answered

    def _left(self, request: web.BaseRequest) -> int | None:
        """Bytes of the body that are still to come; None where that is not known."""
        if self._lent is not None:
            return self._lent.coming
        if request.content.is_eof():
            return 0
        length = request.content_length
        return None if length is None else length - request.content.total_bytes

    async def _linger(self, request: web.BaseRequest) -> None:
        if self._lent is not None:
            await self._lent.linger(LINGER, LINGER_SECONDS)
            return
        content, most = request.content, request.content.total_bytes + LINGER
        with suppress(OSError, RuntimeError, TimeoutError, web.RequestPayloadError):  # the link is lost; time is over
            async with asyncio.timeout(LINGER_SECONDS):
                while not content.is_eof() and content.total_bytes < most:
                    await content.readany()

    def _take_back(self, request: web.BaseRequest, stream: BodyStream, response: web.StreamResponse) -> None:
        """The transport is ours again, or a new connection's: our own parser still waits for the body."""
        transport = self.transport
        request.content.feed_eof()
        self._lent = None
        if transport is None:
            return
        transport.pause_reading()
        if not (stream.complete and response.keep_alive) or self._close or self._force_close:
            transport.set_protocol(self)
            self.close()
            return
        self.transport = None
        successor = self._server()
        successor.first, successor.counted_for, self.counted_for = False, self.counted_for, None
        self.connection_lost(None)
        transport.set_protocol(successor)
        successor.connection_made(transport)
        transport.resume_reading()


class _Server(web.Server):
    """Makes the connections."""

    def __init__(self, other: web.Server, admission: Admission) -> None:
        super().__init__(
            other.request_handler, request_factory=other.request_factory,
            handler_cancellation=other.handler_cancellation, loop=get_running_loop(),
            **(other._kwargs | {"read_bufsize": READ_AHEAD, "lingering_time": 0}),
        )  # fmt: skip
        self._turns = Turns()
        self._admission = admission

    def __call__(self) -> Connection:
        return Connection(self, self._turns, self._admission, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs the service's application."""

    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server(), self.app[ADMISSION])
