"""Fixtures for those who write handlers: a pytest plugin, there wherever Jackfield is installed.

    async def test_it_says_everything_back(jackfield_server):
        service = await jackfield_server({"echo": {"use": "echo:Echo", "path": "/echo"}})
        async with service.ws_connect("/echo") as ws:
            await ws.send_str("hello")
            assert await ws.receive_str(timeout=5) == "hello"

The service runs in the test's own loop, on a free port of the loopback interface, and on the
runner that `jackfield serve` uses. `aiohttp_client(create_app(settings))` of pytest-aiohttp works
too, but aiohttp's test server cancels a handler whose link is lost, which the real one never does: a
test of what happens then means more here.
"""

# pytest imports this in every run on a machine where Jackfield is installed, so what is heavy is imported late.
import importlib
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientWebSocketResponse, web

    from jackfield.app.config import Settings
    from jackfield.app.handler import Handler
    from jackfield.testing.client import Closed, RawClient
    from jackfield.testing.clock import Clock

try:
    from pytest_asyncio import fixture as async_fixture
except ModuleNotFoundError:  # without it the fixture cannot be used, and the runs of others must not break
    async_fixture = pytest.fixture  # type: ignore[assignment]

__all__ = ["Clock", "Closed", "JackfieldServer", "RawClient", "RunningService", "jackfield_clock", "jackfield_server"]

_HOMES = {"Closed": "client", "RawClient": "client", "Clock": "clock"}

_H = TypeVar("_H")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


class RunningService:
    """A service that runs. `url` is `http://127.0.0.1:<port>`; `session` is closed with it."""

    def __init__(self, runner: "web.AppRunner", session: "ClientSession") -> None:
        self.app = runner.app
        self.port: int = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.session = session
        self._runner = runner

    @property
    def handlers(self) -> "dict[str, Handler]":
        """The handlers that run, by their names in the configuration."""
        from jackfield.app.service import HANDLERS

        return self.app[HANDLERS]

    def handler(self, name: str, kind: type[_H]) -> _H:
        """The handler of this name, which must be of this class."""
        found = self.handlers[name]
        assert isinstance(found, kind), f"{name} is a {type(found).__name__}"
        return found

    def raw(
        self, path: str, *, receive_buffer: int = 4096, cut_after: int | None = None
    ) -> "AbstractAsyncContextManager[RawClient]":
        """A socket on which the test says every byte, for `async with`: half frames, resets, a client that does not
        read. The kernel takes about `receive_buffer` bytes for it; after `cut_after` bytes the link is dropped.
        """
        from jackfield.testing.client import connect

        return connect(self.port, path, receive_buffer, cut_after)

    async def ended(self, timeout: float = 10.0) -> None:
        """Wait until no handler serves any more, for a test whose clients have left.

        Raises AssertionError where one still does after `timeout` seconds; it says where that one waits.
        """
        from jackfield.app.service import DISPATCHER
        from jackfield.testing.waiting import all_ended

        await all_ended(self.app[DISPATCHER].sessions, timeout)

    def ws_connect(self, path: str, **options: Any) -> "AbstractAsyncContextManager[ClientWebSocketResponse]":
        """A socket on this path, for `async with`; `options` as of aiohttp's `ClientSession.ws_connect`.

        Raises aiohttp.WSServerHandshakeError where the handler does not admit it.
        """
        return self.session.ws_connect(self.url + path, **options)

    async def stop(self) -> None:
        """End the service as SIGTERM would: handlers are interrupted, their sockets closed 1012. Once is enough."""
        await self._runner.cleanup()


class JackfieldServer(Protocol):
    """What the fixture `jackfield_server` is: it starts services, and stops them when the test is over."""

    def __call__(
        self, handlers: "Mapping[str, Mapping[str, Any]] | Settings", /, **server: Any
    ) -> Awaitable[RunningService]:
        """Start one with these handlers, written as in config.yaml, or with whole settings.

        `server` are settings of that section, as in `heartbeat="1s"`; `shutdown_timeout` is 1 s where it is
        not given. Relative paths are relative to the test's `tmp_path`. Whatever the settings say, the port
        is a free one. Raises jackfield.app.config.ConfigError for a wrong configuration, and CannotStart where a
        handler cannot open what it needs.
        """


@pytest.fixture
def jackfield_clock() -> "Iterator[Clock]":
    """A clock that a test moves: `await jackfield_clock.advance(60)`."""
    from jackfield.testing.clock import Clock

    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Clock(monkeypatch)


@async_fixture
async def jackfield_server(
    tmp_path: Path,
    jackfield_clock: "Clock",  # it goes back only when the services have ended
) -> AsyncIterator[JackfieldServer]:
    """Starts a service with the handlers a test names: `service = await jackfield_server({...})`."""
    async with AsyncExitStack() as stack:

        async def start(handlers: "Mapping[str, Mapping[str, Any]] | Settings", /, **server: Any) -> RunningService:
            service = await _start(_settings(handlers, server, tmp_path))
            stack.push_async_callback(service.stop)
            stack.push_async_callback(service.session.close)  # first, so that the handlers need not wait for it
            return service

        yield start


def _settings(
    handlers: "Mapping[str, Mapping[str, Any]] | Settings", server: Mapping[str, Any], folder: Path
) -> "Settings":
    from jackfield.app.config import Settings, build

    if not isinstance(handlers, Settings):
        return build({"server": {"shutdown_timeout": "1s", **server}, "handlers": handlers}, folder)
    if server:
        raise pytest.UsageError("whole settings have their `server` in them")
    return handlers


async def _start(settings: "Settings") -> RunningService:
    from aiohttp import ClientSession, web

    from jackfield.app.runner import Runner
    from jackfield.app.service import create_app

    shutdown = settings.server.shutdown_timeout * 0.05  # the rest is for the sockets, as in `jackfield.app.process.run`
    runner = Runner(create_app(settings), handle_signals=False, shutdown_timeout=shutdown)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return RunningService(runner, ClientSession())
