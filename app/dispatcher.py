"""The one way in for every socket: admit → accept → serve → finish.

Handlers raise and return; here alone that becomes a status before the upgrade, and a close code after it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Any, Final

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler as RequestHandler

from jackfield.app import errors
from jackfield.app.accept import accepts
from jackfield.app.auth.credentials import BEARER
from jackfield.app.bodies import Bodies
from jackfield.app.callers import CALLER
from jackfield.app.config.settings import ServerSettings
from jackfield.app.errors import Close, Disconnected, Failure
from jackfield.app.handler import Handler
from jackfield.app.handshake import came_early, check_handshake, wants_upgrade
from jackfield.app.limits import Count
from jackfield.app.logger import get_logger
from jackfield.app.metrics import Metrics
from jackfield.app.page import page
from jackfield.app.resource import resource_path
from jackfield.app.socket import closing
from jackfield.app.socket.connection import Connection
from jackfield.app.socket.messages import Messages
from jackfield.app.socket.shared import Shared
from jackfield.app.socket.stream import Stream
from jackfield.app.tasks import periodically, supervised


def draining() -> Failure:
    """A new exception for each socket: one that is raised keeps its traceback, and all frames in that."""
    return Failure(errors.DRAINING, "The service restarts; come back.")


_NO_LIMIT: Final = 2**62
"""Bytes after which aiohttp would wait for a slow reader. All who wait share one future there: the first that is
cancelled would cancel the others. So `Connection` waits by itself."""


class Dispatcher:
    """Admits sockets to handlers, keeps count of them, and ends them when the service ends."""

    def __init__(self, metrics: Metrics, server: ServerSettings) -> None:
        self._metrics = metrics
        self.base = server.base_path  # before every path in the URLs that are given
        self._tokens = server.auth.tokens is not None
        self._max_connections = server.max_connections
        self._of_caller = Count(server.limits.connections)
        self._heartbeat = heartbeat = server.heartbeat
        self._period = min(heartbeat / 4, 1)  # seconds between two liveness checks of all sockets
        self._checked_at = 0.0  # the loop's time of the last check
        self._shared = Shared()
        self._lives: dict[Connection, asyncio.Task[None]] = {}
        self._accepting = 0  # sockets in their handshake, not yet in `_lives`
        self._admitting: set[asyncio.Task[Any]] = set()  # requests that wait for their handler's `admit`
        self._removed = asyncio.Event()  # set whenever a socket has ended
        self.bodies = Bodies(server.body_timeout, self._shared, self._removed.set)
        self._counted: dict[Connection, tuple[str, int, int]] = {}  # handler, bytes received, sent
        self._pinged: dict[Connection, float] = {}  # when each silent socket was last pinged
        self._entries: set[RequestHandler] = set()
        self.draining = False
        self._log = get_logger()

    def entry(self, handler: Handler) -> RequestHandler:
        """What aiohttp calls for a GET on one of the handler's paths."""

        async def enter(request: web.Request) -> web.StreamResponse:
            if wants_upgrade(request):
                ws, ended = await self._open(request, handler)
                # aiohttp may cancel a request whose link is lost; the conversation then ends by itself, in order.
                await ended
                return ws
            if handler.page is not None and accepts(request, "text/html"):
                return await page(request, handler, self.base, token=self._tokens)
            response = await handler.get(request)
            response.headers.setdefault(hdrs.VARY, "Accept")
            return response

        for counter in (self._metrics.received, self._metrics.sent):
            counter.labels(handler.name)  # there from the beginning, at 0
        self._entries.add(enter)
        return enter

    @web.middleware
    def reject_unknown_upgrades(self, request: web.Request, handler: RequestHandler) -> Awaitable[web.StreamResponse]:
        """Refuse an upgrade on a path without sockets (404), and by another method than GET (405)."""
        if not wants_upgrade(request) or request.match_info.handler in self._entries:
            return handler(request)
        if isinstance(request.match_info.http_exception, web.HTTPMethodNotAllowed):
            raise request.match_info.http_exception
        methods = self._methods_of_socket(request)
        if methods:
            raise Failure(errors.METHOD_NOT_ALLOWED, "An upgrade is a GET.", {"Allow": ", ".join(sorted(methods))})
        raise Failure(errors.NOT_FOUND, "There is no socket at this path.")

    def _methods_of_socket(self, request: web.Request) -> set[str]:
        """The methods of this path, if it takes sockets; else none."""
        path, routes = resource_path(request), request.app.router.routes()
        here = [route for route in routes if route.resource and route.resource.canonical == path]
        return {route.method for route in here} if any(route.handler in self._entries for route in here) else set()

    # -- admit and accept

    async def _open(
        self, request: web.Request, handler: Handler
    ) -> tuple[web.WebSocketResponse, "asyncio.Future[None]"]:
        """Accept a socket and serve it in a task of its own; the future is done when that task has ended."""
        self._check_capacity()
        check_handshake(request)
        caller = request[CALLER].key
        if not self._of_caller.take(caller):
            raise Failure(errors.TOO_MANY_OF_CALLER, f"{self._of_caller.limit} sockets of yours are open.")
        self._accepting += 1
        try:
            admitted = await self._admit(request, handler)
            ws, connection = await self._accept(request, handler, admitted)
        except BaseException:
            self._of_caller.give(caller)
            raise
        finally:
            self._accepting -= 1
            self._removed.set()
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lives[connection] = asyncio.create_task(self._run(connection, handler, ended))
        if self.draining:
            connection.interrupt(draining())
        return ws, ended

    async def _admit(self, request: web.Request, handler: Handler) -> Any:
        """Ask the handler. `drain` cancels one that takes too long."""
        task = asyncio.current_task()
        assert task is not None
        self._admitting.add(task)
        try:
            admitted = await handler.admit(request)
        except asyncio.CancelledError:
            if not self.draining:
                raise
            task.uncancel()
        finally:
            self._admitting.discard(task)
        if self.draining:
            raise draining()
        return admitted

    def _check_capacity(self) -> None:
        if self.draining:
            raise draining()
        if len(self._lives) + self._accepting >= self._max_connections:
            raise Failure(errors.TOO_MANY_CONNECTIONS, f"{self._max_connections} sockets are open.")

    async def _accept(
        self, request: web.Request, handler: Handler, admitted: Any
    ) -> tuple[web.WebSocketResponse, Connection]:
        """Answer the handshake, and put our receiver between the transport and aiohttp."""
        offered = request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "")
        agreed = tuple(word for word in map(str.strip, offered.split(",")) if word in (*handler.subprotocols, BEARER))
        ws = web.WebSocketResponse(
            protocols=agreed[:1], autoclose=False, autoping=False, compress=handler.compress, writer_limit=_NO_LIMIT
        )
        await ws.prepare(request)
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("The link was lost in the handshake")
        source: Messages | Stream
        if handler.buffers is not None:
            source = Stream(request.protocol, transport, handler.max_text, handler.buffers, self._shared)
        else:
            limits = handler.max_text, handler.max_message
            source = Messages(request.protocol, transport, *limits, self._shared, deflate=bool(ws.compress))
        transport.set_protocol(source)
        connection = Connection(request, ws, source, admitted, self._shared.budget)
        if await came_early(request, ws):
            early = Close(errors.PROTOCOL_ERROR, "Data came before the handshake was answered")
            source.refuse(early)
            connection.interrupt(early)
        return ws, connection

    # -- serve and finish

    async def _run(self, connection: Connection, handler: Handler, ended: "asyncio.Future[None]") -> None:
        begun = asyncio.get_running_loop().time()
        self._metrics.connections.labels(handler.name).inc()
        try:
            end = await self._serve(handler, connection)
            # Not around all of it: what that takes would weigh on each open socket.
            if not await supervised("socket", partial(self._close, connection, handler, end, begun)):
                closing.abort(connection)  # a fault of ours in ending it
            if not ended.done():
                ended.set_result(None)
        finally:
            ended.cancel()  # nothing, unless this task itself was cancelled
            del self._lives[connection]
            self._of_caller.give(connection.request[CALLER].key)
            self._pinged.pop(connection, None)
            self._removed.set()
            self._metrics.connections.labels(handler.name).dec()

    async def _serve(self, handler: Handler, connection: Connection) -> Close | Disconnected:
        """The handler's conversation, which may be cancelled once the socket has ended; and how to close it."""
        try:
            self._opened(connection, handler)
            connection.patience = 2 * self._heartbeat
            connection.serve_in(None if handler.outlives else asyncio.current_task())
            await handler.serve(connection)
        except (Exception, asyncio.CancelledError) as error:
            return self._end(error, connection)
        finally:
            connection.serve_in(None)
        return connection.source.left or Close(errors.NORMAL, "done")

    async def _close(self, connection: Connection, handler: Handler, end: Close | Disconnected, begun: float) -> None:
        await closing.finish(connection, end, self._last_words(handler, end))
        self._closed(connection, handler, end, asyncio.get_running_loop().time() - begun)

    def _opened(self, connection: Connection, handler: Handler) -> None:
        structlog.contextvars.bind_contextvars(connection=connection.id, handler=handler.name)
        self._counted[connection] = handler.name, 0, 0
        self._log.info("connection.opened", subprotocol=connection.subprotocol)

    def _end(self, error: BaseException, connection: Connection) -> Close | Disconnected:
        """How the socket is closed after this exception of its handler."""
        if isinstance(error, Close | Disconnected):
            return error
        if isinstance(error, asyncio.CancelledError):
            return connection.interruption or draining()
        self._log.error("handler.failed", exc_info=error)
        return Failure(errors.INTERNAL, "The service failed; its log says why.")

    def _last_words(self, handler: Handler, end: Close | Disconnected) -> str | None:
        """The handler's last text message. An exception in making it is logged, and does not replace the failure."""
        try:
            return handler.last_words(end) if isinstance(end, Failure) else None
        except Exception:
            self._log.exception("handler.failed")
            return None

    def _closed(self, connection: Connection, handler: Handler, end: Close | Disconnected, seconds: float) -> None:
        self._count(connection, handler, end, seconds)
        code = end.kind.code if isinstance(end, Failure) else None
        self._log.info(
            "connection.closed", code=end.code, reason=end.reason, seconds=round(seconds, 3),
            received=connection.source.received, sent=connection.sent, **({"failure": code} if code else {}),
            **({"dropped": connection.dropped} if connection.dropped else {}),
        )  # fmt: skip

    def _count(self, connection: Connection, handler: Handler, end: Close | Disconnected, seconds: float) -> None:
        name = handler.name
        self._metrics.closes.labels(name, str(end.code)).inc()
        self._count_bytes(connection)
        del self._counted[connection]
        self._metrics.dropped.labels(name).inc(connection.dropped)
        self._metrics.seconds.labels(name).observe(seconds)

    def _count_bytes(self, connection: Connection) -> None:
        """Those that have come and gone since it was asked last, so that a long upload is seen while it runs."""
        name, received, sent = before = self._counted[connection]
        self._counted[connection] = now = name, connection.source.received, connection.sent
        if now != before:  # most sockets are idle, and all are asked once a second
            self._metrics.received.labels(name).inc(now[1] - received)
            self._metrics.sent.labels(name).inc(now[2] - sent)

    # -- liveness: one task for all sockets

    async def sweep(self) -> None:
        """Ping peers that are silent for one heartbeat, cut those silent for two; runs until it is cancelled.

        aiohttp's own heartbeat cuts peers whose pongs lie unread while a handler is busy. Here any byte
        is a sign of life, and time in which the socket is not read does not count, as long as there is a link.
        """
        self._checked_at = asyncio.get_running_loop().time()
        await periodically("liveness", self._period, self._check_all)

    async def _check_all(self) -> None:
        now = asyncio.get_running_loop().time()
        late, self._checked_at = now - self._checked_at - self._period, now
        for connection in list(self._counted):
            self._count_bytes(connection)
        for connection in list(self._lives):
            if late > self._period:  # the loop or the whole process stood still, and read nothing
                connection.source.heard += late
            await supervised("liveness", partial(self._check_liveness, connection))

    async def _check_liveness(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        source = connection.source
        transport = connection.transport
        if transport.is_closing() or not (transport.is_reading() or closing.is_reset(connection)):
            source.heard = now
        silence = now - source.heard
        if silence >= 2 * self._heartbeat:
            closing.abort(connection)
            self._log.info("connection.silent", connection=connection.id, seconds=round(silence, 1))
        elif silence >= self._heartbeat and self._pinged.get(connection, 0) <= source.heard:
            self._pinged[connection] = now
            await closing.ping(connection)

    # -- the end of the service

    @property
    def serving(self) -> Mapping[Connection, asyncio.Task[None]]:
        """The sockets that have not ended, and the tasks in which their handlers serve."""
        return self._lives

    async def drain(self, limit: float) -> None:
        """End every socket with 1012 within `limit` seconds: first ask, then cancel, then cut.

        Requests that bring bodies are asked as well; aiohttp cancels those that go on. A socket that is still being
        admitted gets 503 as soon as its handler has answered, or when it is cancelled.
        """
        self.draining = True
        self.bodies.end(draining)
        for connection in list(self._lives):
            connection.interrupt(draining())
        await self._wait(limit * 0.6)
        for task in [*self._admitting, *self._lives.values()]:
            task.cancel()
        await self._wait(limit * 0.2)
        for connection, life in list(self._lives.items()):
            closing.abort(connection)
            life.cancel()
        await self._wait(limit * 0.1)

    async def _wait(self, seconds: float) -> None:
        """Wait until there is no socket, no handshake and no body any more, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._lives or self._accepting or self.bodies.taking:
                    self._removed.clear()
                    await self._removed.wait()
