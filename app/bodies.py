"""Requests whose bodies are taken as they arrive: kept count of, and ended when the service ends."""

from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler as RequestHandler

from jackfield.app.body import Body
from jackfield.app.errors import Failure
from jackfield.app.handler import BodyHandler, Handler
from jackfield.app.socket.shared import Shared


class Bodies:
    """All such requests that are being answered."""

    def __init__(self, seconds: float, shared: Shared, removed: Callable[[], None]) -> None:
        self._shared = shared
        self._seconds = seconds  # for a small body to be whole
        self._removed = removed  # called whenever one has ended
        self._open: set[Body] = set()
        self._entries: set[RequestHandler] = set()
        self._ending: Callable[[], Failure] | None = None  # set when the service ends

    @property
    def taking(self) -> bool:
        """Whether one of them has begun to take its body, and is not answered."""
        return any(body.begun for body in self._open)

    def __contains__(self, handler: object) -> bool:
        return handler in self._entries

    def entry(self, handler: Handler, answer: BodyHandler) -> RequestHandler:
        """What aiohttp calls for such a request. Raises TypeError for a handler without `buffers`."""
        buffers = handler.buffers
        if buffers is None:
            raise TypeError("a handler with `body_routes` has `buffers`, too")

        async def enter(request: web.Request) -> web.StreamResponse:
            body = Body(request, self._seconds, buffers, self._shared)
            self._open.add(body)
            if self._ending is not None:
                body.interrupt(self._ending())
            try:
                return await answer(request, body)
            finally:
                body.close()
                self._open.discard(body)
                self._removed()

        self._entries.add(enter)
        return enter

    def end(self, failure: Callable[[], Failure]) -> None:
        """End all of them, those too that still come."""
        self._ending = failure
        for body in list(self._open):
            body.interrupt(failure())
