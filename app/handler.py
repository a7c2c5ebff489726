"""The seam: the base class of handlers, and all names that they need.

A handler is a class named in `config.yaml` (`use: module:Class`). One instance lives as long as the
service and serves every socket on its path; what belongs to one socket lives in `serve`. A handler
raises, only the dispatcher closes: returning closes 1000, `Close` and `Failure` carry their own code,
anything else is a fault of ours (1011).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, NamedTuple, get_args

from aiohttp import web
from prometheus_client import CollectorRegistry
from typing_extensions import TypeVar

from jackfield.app.accept import accepts
from jackfield.app.body import Body
from jackfield.app.callers import CALLER, Caller
from jackfield.app.errors import UPGRADE_REQUIRED, CannotStart, Close, Disconnected, Failure, Kind
from jackfield.app.logger import get_logger
from jackfield.app.options import Directory, Duration, File, FilePath, HandlerOptions, Percentage, Size
from jackfield.app.origin import origin
from jackfield.app.socket.buffers import Buffers
from jackfield.app.socket.connection import Connection
from jackfield.app.socket.outbox import Outbox
from jackfield.app.socket.stream import Batch
from jackfield.app.tasks import periodically, supervised
from jackfield.app.topic import Delivery, Member, Topic

__all__ = [
    "CALLER",
    "Batch",
    "Body",
    "BodyRoute",
    "Buffers",
    "Caller",
    "CannotStart",
    "Close",
    "Connection",
    "Delivery",
    "Directory",
    "Disconnected",
    "Duration",
    "Failure",
    "File",
    "FilePath",
    "Handler",
    "HandlerOptions",
    "Kind",
    "Member",
    "Outbox",
    "Percentage",
    "Size",
    "Topic",
    "accepts",
    "get_logger",
    "origin",
    "periodically",
    "supervised",
]  # fmt: skip


_UPGRADE: Final = {"Upgrade": "websocket", "Connection": "Upgrade"}  # the two belong together: RFC 9110, 7.8
OptionsT = TypeVar("OptionsT", bound=HandlerOptions, covariant=True, default=HandlerOptions)


BodyHandler = Callable[[web.Request, Body], Awaitable[web.StreamResponse]]


class BodyRoute(NamedTuple):
    """Plain HTTP whose body is taken as it arrives; the path is relative to the handler's own."""

    method: str
    path: str
    answer: BodyHandler


class Handler(Generic[OptionsT]):
    """Serves the sockets on one path. Only `serve` must be written.

    `class Echo(Handler[EchoOptions])` has options of its own, and a type checker knows them.
    """

    Options: ClassVar[type[HandlerOptions]] = HandlerOptions  # its section of config.yaml: what stands in the brackets
    paths: ClassVar[tuple[str, ...]] = ("",)  # its sockets, below its path: ("", "/{token}")
    subprotocols: ClassVar[tuple[str, ...]] = ()  # agreed to when a client offers one of them
    page: ClassVar[Path | None] = None  # a folder with index.html and what it needs
    max_message: ClassVar[int] = 4 * 1024 * 1024  # bytes of a binary message; longer ones close 1009
    max_text: ClassVar[int] = 64 * 1024  # bytes of a text message, likewise
    compress: ClassVar[bool] = False  # negotiate permessage-deflate
    request_headers: ClassVar[tuple[str, ...]] = ()  # that pages of allowed origins may send to its routes
    exposed_headers: ClassVar[tuple[str, ...]] = ()  # of its answers, that they may read
    outlives: ClassVar[bool] = False  # `serve` is not cancelled when its client has left: it hears of that by itself
    public: ClassVar[bool] = False  # everybody may come, without a token too
    keyed: ClassVar[tuple[str, ...]] = ()  # those of its paths whose URL is the key: no token is asked for there
    extensible: ClassVar[bool] = False  # other handlers may import and subclass it
    buffers: Buffers | None = None  # set it, and sockets bring bytes as they arrive: `connection.stream`

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for base in cls.__dict__.get("__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, HandlerOptions):
                    cls.Options = argument

    def __init__(self, name: str, path: str, options: OptionsT, registry: CollectorRegistry) -> None:
        self.name = name
        self.path = path
        self.options = options  # its section of config.yaml, validated
        self.registry = registry  # where the handler's own metrics go
        self.log = get_logger(handler=name)

    async def serve(self, connection: Connection) -> None:
        """Hold the conversation on one socket, from its opening until this returns or raises."""
        raise NotImplementedError

    async def admit(self, request: web.Request) -> Any:
        """Refuse before the upgrade by raising Failure; what is returned is `connection.admitted`."""

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer a plain GET or HEAD on a socket's path that did not ask for the page."""
        raise Failure(UPGRADE_REQUIRED, "This is a WebSocket; ask for an upgrade.", _UPGRADE)

    def routes(self) -> Iterable[web.RouteDef]:
        """Plain HTTP beside the socket; paths are relative to the handler's own."""
        return ()

    def body_routes(self) -> Iterable[BodyRoute]:
        """Plain HTTP, too, for bodies that are not read before they are asked for."""
        return ()

    def admin_routes(self) -> Iterable[web.RouteDef]:
        """Plain HTTP for whoever runs the service, on `server.admin` below the handler's name; without it nowhere."""
        return ()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Open what the handler needs before the first request, and close it after the last.

        Raises CannotStart with one clear line where that cannot be had.
        """
        yield

    async def drain(self, limit: float) -> None:
        """The service begins to stop: end within so many seconds what is not a socket. Sockets end meanwhile."""

    async def ready(self) -> bool:
        """Whether new sockets can be served now; `/readyz` asks."""
        return True

    def last_words(self, failure: Failure) -> str | None:
        """A text to send before the Close frame that carries this failure."""
        return None
