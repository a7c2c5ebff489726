"""The one way in for every socket: admit → accept; a `Session` then serves and closes it."""

import asyncio
import contextlib
from collections.abc import Awaitable
from functools import partial
from typing import Any, Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler as RequestHandler

from jackfield.app import errors
from jackfield.app.accept import accepts
from jackfield.app.auth.credentials import BEARER
from jackfield.app.bodies import Bodies
from jackfield.app.callers import CALLER
from jackfield.app.config.settings import ServerSettings
from jackfield.app.errors import Close, Failure
from jackfield.app.handler import Handler
from jackfield.app.handshake import came_early, check_handshake, wants_upgrade
from jackfield.app.limits import Count
from jackfield.app.metrics import Metrics
from jackfield.app.page import page
from jackfield.app.resource import resource_path
from jackfield.app.session import Session, draining
from jackfield.app.socket import closing
from jackfield.app.socket.connection import Connection
from jackfield.app.socket.messages import Messages
from jackfield.app.socket.shared import Shared
from jackfield.app.socket.stream import Stream
from jackfield.app.tasks import periodically, supervised

_NO_LIMIT: Final = 2**62
"""Bytes after which aiohttp would wait for a slow reader. All who wait share one future there: the first that is
cancelled would cancel the others. So `Connection` waits by itself."""


class Upgraded(web.WebSocketResponse):
    """The answer to an upgrade. `ended` is the session's."""

    ended: "asyncio.Future[None]"

    async def write_eof(self) -> None:  # type: ignore[override]
        """Wait for the end of the session: aiohttp calls this when all middlewares are through.

        If they waited, their coroutines would weigh 700 bytes on each open socket. Where the link is lost aiohttp may
        cancel this; the session then ends by itself, in order.
        """
        await self.ended
        await super().write_eof()


class Dispatcher:
    """Admits sockets to handlers, keeps count of them, and ends them when the service ends."""

    def __init__(self, metrics: Metrics, server: ServerSettings) -> None:
        self._metrics = metrics
        self.base = server.base_path  # before every path in the URLs that are given
        self._tokens = server.auth.tokens is not None
        self._max_connections = server.max_connections
        self._of_caller = Count(server.limits.connections)
        self._heartbeat = heartbeat = server.heartbeat
        self._patience = 2 * heartbeat  # seconds, of each connection
        self._period = min(heartbeat / 4, 1)  # seconds between two liveness checks of all sockets
        self._checked_at = 0.0  # the loop's time of the last check
        self._shared = Shared()
        self.sessions: dict[Connection, Session] = {}  # of all open sockets, the oldest first
        self._accepting = 0  # sockets in their handshake, not yet in `sessions`
        self._admitting: set[asyncio.Task[Any]] = set()  # requests that wait for their handler's `admit`
        self._removed = asyncio.Event()  # set whenever a socket has ended
        self.bodies = Bodies(server.body_timeout, self._shared, self._removed.set)
        self._on_ended = self._forget  # one object for all sessions
        self._entries: set[RequestHandler] = set()
        self.draining = False

    def entry(self, handler: Handler) -> RequestHandler:
        """What aiohttp calls for a GET on one of the handler's paths."""

        async def enter(request: web.Request) -> web.StreamResponse:
            return await (self._open if wants_upgrade(request) else self._answer)(request, handler)

        for counter in (self._metrics.received, self._metrics.sent):
            counter.labels(handler.name)  # there from the beginning, at 0
        self._entries.add(enter)
        return enter

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a plain GET."""
        if handler.page is not None and accepts(request, "text/html"):
            return await page(request, handler, self.base, token=self._tokens)
        response = await handler.get(request)
        response.headers.setdefault(hdrs.VARY, "Accept")
        return response

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

    async def _open(self, request: web.Request, handler: Handler) -> Upgraded:
        """Accept a socket, and begin its session."""
        self._check_capacity()
        check_handshake(request)
        caller = request[CALLER].key
        if not self._of_caller.take(caller):
            raise Failure(errors.TOO_MANY_OF_CALLER, f"{self._of_caller.limit} sockets of yours are open.")
        self._accepting += 1
        try:
            admitted = await self._admit(request, handler)
            ws, connection = await self._accept(request, handler, admitted)
            session = Session(connection, handler, self._metrics, self._on_ended)
            session.begin(self._patience)
        except BaseException:
            self._of_caller.give(caller)
            raise
        finally:
            self._accepting -= 1
            self._removed.set()
        self.sessions[connection] = session
        if self.draining:
            connection.interrupt(draining())
        ws.ended = session.ended
        return ws

    def _forget(self, session: Session) -> None:
        """A socket has ended."""
        del self.sessions[session.connection]
        self._of_caller.give(session.connection.request[CALLER].key)
        self._removed.set()

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
        if len(self.sessions) + self._accepting >= self._max_connections:
            raise Failure(errors.TOO_MANY_CONNECTIONS, f"{self._max_connections} sockets are open.")

    async def _accept(self, request: web.Request, handler: Handler, admitted: Any) -> tuple[Upgraded, Connection]:
        """Answer the handshake, and put our receiver between the transport and aiohttp."""
        offered = request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "")
        agreed = tuple(word for word in map(str.strip, offered.split(",")) if word in (*handler.subprotocols, BEARER))
        ws = Upgraded(
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
        for session in list(self.sessions.values()):
            session.count_bytes()
            if late > self._period:  # the loop or the whole process stood still, and read nothing
                session.connection.source.heard += late
            await supervised("liveness", partial(session.check_liveness, self._heartbeat))

    # -- the end of the service

    async def drain(self, limit: float) -> None:
        """End every socket with 1012 within `limit` seconds: first ask, then cancel, then cut.

        Requests that bring bodies are asked as well; aiohttp cancels those that go on. A socket that is still being
        admitted gets 503 as soon as its handler has answered, or when it is cancelled.
        """
        self.draining = True
        self.bodies.end(draining)
        for connection in list(self.sessions):
            connection.interrupt(draining())
        await self._wait(limit * 0.6)
        for task in self._admitting:
            task.cancel()
        for session in self.sessions.values():
            session.cancel()
        await self._wait(limit * 0.2)
        for session in list(self.sessions.values()):
            closing.abort(session.connection)
            session.cancel()
        await self._wait(limit * 0.1)

    async def _wait(self, seconds: float) -> None:
        """Wait until there is no socket, no handshake and no body any more, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.sessions or self._accepting or self.bodies.taking:
                    self._removed.clear()
                    await self._removed.wait()
