"""Handlers that tests plug in and play with, each with one habit."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from jackfield.app import errors
from jackfield.app.handler import (
    Buffers,
    CannotStart,
    Close,
    Connection,
    Disconnected,
    Failure,
    Handler,
    HandlerOptions,
    Kind,
)
from jackfield.testing import RunningService
from tests.support.rawsocket import RawSocket

KINDS = {kind.code: kind for kind in vars(errors).values() if isinstance(kind, Kind)}
"""The whole vocabulary of failures."""

MIB = 2**20


def sections(*names: str) -> dict[str, dict[str, str]]:
    """The `handlers` of a configuration with these classes of this module, each at its own path: /echo, /busy."""
    return {name: {"use": f"{__name__}:{name.title()}", "path": f"/{name}"} for name in names}


@asynccontextmanager
async def raw(service: RunningService, path: str) -> AsyncIterator[RawSocket]:
    """A socket on which the test says every frame itself."""
    opened = await RawSocket.connect(service.port)
    try:
        yield await opened.upgrade(path)
    finally:
        await opened.dispose()


class Echo(Handler):
    """Says everything back."""

    max_message = 16 * MIB
    max_text = 16 * MIB

    async def serve(self, connection: Connection) -> None:
        """As long as the peer is there."""
        async for message in connection:
            await connection.send(message)


class Deflating(Echo):
    """The same, compressed where the peer can."""

    compress = True
    max_message = MIB
    max_text = 64 * 1024


class Short(Echo):
    """The same, of short messages only."""

    max_message = 1000
    max_text = 100


class Failing(Handler):
    """Raises what the path names, or what a test gives it as `error`, once the socket is there."""

    paths = ("", "/{word}")
    error: BaseException

    async def serve(self, connection: Connection) -> None:
        """Nothing but that."""
        word = connection.request.match_info.get("word")
        raise self.error if word is None else Failure(KINDS[word], "It must be.")


class Refusing(Handler):
    """Raises what the path names, or what a test gives it as `error`, before there is a socket."""

    paths = ("", "/{word}")
    error: BaseException

    async def admit(self, request: web.Request) -> None:
        """Admits nobody."""
        word = request.match_info.get("word")
        raise self.error if word is None else Failure(KINDS[word], "It must be.")

    async def serve(self, connection: Connection) -> None:
        """Nobody comes here."""
        raise AssertionError("was admitted")


class Busy(Handler):
    """Echoes, but only while its `gate` is open; `ends` keeps how its sockets ended."""

    def __init__(self, name: str, path: str, options: Any, registry: CollectorRegistry) -> None:
        super().__init__(name, path, options, registry)
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()
        self.ends: list[BaseException | None] = []

    async def serve(self, connection: Connection) -> None:
        """Wait where nothing interrupts it, then answer all that came."""
        self.entered.set()
        end: BaseException | None = None
        try:
            await self.gate.wait()
            async for message in connection:
                await connection.send(message)
        except (Close, Disconnected, asyncio.CancelledError) as error:
            end = error
            raise
        finally:
            self.ends.append(end)


class Scripted(Handler):
    """Does what a test gives it as `script`."""

    script: Callable[[Connection], Awaitable[None]]

    async def serve(self, connection: Connection) -> None:
        """As a test says."""
        await self.script(connection)


class Pouring(Scripted):
    """The same, with the bytes as they arrive."""

    def __init__(self, name: str, path: str, options: Any, registry: CollectorRegistry) -> None:
        super().__init__(name, path, options, registry)
        self.buffers = Buffers(4 * MIB, MIB)


class Stubborn(Handler):
    """Does not let itself be cancelled the first time."""

    async def serve(self, connection: Connection) -> None:
        """Stay until it is told twice."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()


class Flood(Handler):
    """Sends without end, whether the peer reads or not. `ended` is done when it could not."""

    def __init__(self, name: str, path: str, options: Any, registry: CollectorRegistry) -> None:
        super().__init__(name, path, options, registry)
        self.ended: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def serve(self, connection: Connection) -> None:
        """Until something stops it."""
        try:
            while True:
                await connection.send(bytes(MIB))
        except BaseException as error:
            self.ended.set_result(error)
            raise


class Bulk(Handler):
    """Takes any number of bytes in bounded memory; a text asks how many, and for their digest."""

    def __init__(self, name: str, path: str, options: Any, registry: CollectorRegistry) -> None:
        super().__init__(name, path, options, registry)
        self.buffers = Buffers(4 * MIB, MIB)

    async def serve(self, connection: Connection) -> None:
        """Until the peer leaves."""
        digest, size = hashlib.sha256(), 0
        while True:
            item = await connection.take(256 * 1024, 0.01, timeout=10)
            if isinstance(item, str):
                await connection.send(f"{item}: {size} {digest.hexdigest()}")
                continue
            for view in item.views:
                digest.update(view)
            size += item.size
            item.release()


class FullOptions(HandlerOptions):
    """What there is to set."""

    greeting: str = "hello"
    broken: bool = False


class Full(Handler[FullOptions]):
    """Overrides all that a handler may."""

    paths = ("", "/{room}")
    subprotocols = ("full.v2", "full.v1")
    page = Path(__file__).parent / "page"

    def __init__(self, name: str, path: str, options: FullOptions, registry: CollectorRegistry) -> None:
        super().__init__(name, path, options, registry)
        self.is_ready = True
        self.life: list[str] = []

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Written down in `life`."""
        if self.options.broken:
            raise CannotStart("the cupboard is bare")
        self.life.append("opened")
        try:
            yield
        finally:
            self.life.append("closed")

    async def ready(self) -> bool:
        """As a test says."""
        return self.is_ready

    def routes(self) -> Iterable[web.RouteDef]:
        """One beside the sockets, one at the very path."""
        return (web.get("/about/{what}", self._about), web.post("", self._post))

    async def _about(self, request: web.Request) -> web.Response:
        return web.Response(text=f"about {request.match_info['what']}")

    async def _post(self, request: web.Request) -> web.Response:
        raise RuntimeError("nobody foresaw it")

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Plain GET of a room; of the path itself as every handler."""
        room = request.match_info.get("room")
        return await super().get(request) if room is None else web.Response(text=f"room {room}")

    async def admit(self, request: web.Request) -> str:
        """Every room but the secret one."""
        self.life.append("admitted")
        room = request.match_info.get("room", "hall")
        if room == "secret":
            raise Failure(errors.NOT_FOUND, "There is no such room.", {"X-Hint": "elsewhere"})
        return room

    async def serve(self, connection: Connection) -> None:
        """Greet, and fail with the peer's own word."""
        await connection.send(f"{self.options.greeting}, {connection.admitted} {connection.subprotocol}")
        word = await connection.receive(5)
        raise Failure(errors.BAD_MESSAGE, str(word))

    def last_words(self, failure: Failure) -> str | None:
        """Said before it closes."""
        return f"farewell: {failure.kind.code}"
