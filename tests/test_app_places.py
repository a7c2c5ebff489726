"""Where the service listens, whom it tells that it does, and who may ask how it is."""

import asyncio
import json
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from jackfield.app import healthcheck
from jackfield.app.config import ServerSettings, build
from jackfield.app.errors import CannotStart
from jackfield.app.listening import inherited, listen
from jackfield.app.runner import Runner
from jackfield.app.service import create_app
from tests.support.outsider import Outsider
from tests.support.service import Service, jackfield, pingpong, running_service

HANDED_OVER = """
import os, socket, sys
listening = socket.create_server(("127.0.0.1", 0))
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """One with a short name, as a Unix socket's path must be."""
    name = tempfile.mkdtemp()
    yield Path(name)
    shutil.rmtree(name)


async def test_systemd_opens_the_socket_and_hears_of_it_all(folder: Path) -> None:
    """With socket activation the service listens on what it was given; it says READY, signs of life, and STOPPING."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(folder / "notify"))
        systemd.settimeout(20)
        environment = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "200000"}
        prefix = [sys.executable, "-c", HANDED_OVER]
        with running_service(folder, prefix=prefix, environment=environment) as service:
            assert systemd.recv(100) == b"READY=1"
            assert [systemd.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
            async with Outsider(service) as outsider:
                assert (await outsider.get("/healthz")).status == 200
                assert await (await outsider.connect("/pingpong")).next() == "ping"
        while (said := systemd.recv(100)) == b"WATCHDOG=1":
            pass
        assert said == b"STOPPING=1"


def test_sockets_for_another_process_are_left_alone() -> None:
    """Variables that were passed on by accident name another process."""
    assert inherited({"LISTEN_FDS": "1", "LISTEN_PID": "1"}) == []
    assert inherited({"LISTEN_FDS": "x"}) == []
    assert inherited({}) == []


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Path]]:
    """A service with a Unix socket and `admin` beside its port; the socket's path."""
    name = tempfile.mkdtemp()
    server = {"unix_socket": f"{name}/s", "admin": {"port": 0}, "trusted_proxies": ["unix"]}
    with running_service(tmp_path_factory.mktemp("watched"), server=server) as service:
        yield service, Path(name) / "s"
    shutil.rmtree(name)


async def test_whoever_comes_by_the_unix_socket_says_whom_it_stands_for(watched: tuple[Service, Path]) -> None:
    """Where `unix` is a trusted proxy, its `X-Forwarded-For` is the address in the log; without one it is `unix`."""
    service, path = watched
    async with aiohttp.ClientSession("http://localhost", connector=aiohttp.UnixConnector(str(path))) as session:
        for remote, headers in (("192.0.2.9", {"X-Forwarded-For": "192.0.2.9"}), ("unix", {})):
            async with session.ws_connect("/pingpong", headers=headers) as socket_:
                assert await socket_.receive_str(timeout=10) == "ping"
            await asyncio.to_thread(service.wait_for, "connection.opened", remote=remote)


async def test_with_admin_nobody_else_sees_how_the_service_is(watched: tuple[Service, Path]) -> None:
    """Health, readiness and metrics are there and nowhere else; sockets and pages are not there."""
    service, _ = watched
    admin = service.wait_for("listening")["admin"]
    async with aiohttp.ClientSession() as session:
        for path, there in (("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/", 404), ("/upload", 404)):
            async with session.get(admin + path) as answer:
                assert answer.status == there
                assert answer.headers["Server"] == "jackfield"
            async with session.get(service.url + path, headers={"Accept": "text/html"}) as answer:
                assert answer.status == (404 if there == 200 else 200)


async def test_no_answer_tells_versions(watched: tuple[Service, Path]) -> None:
    """Not even that to bytes which are no HTTP."""
    service, _ = watched
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(b"nonsense\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert b"Server: jackfield\r\n" in head
    assert b"aiohttp" not in head


@asynccontextmanager
async def listening(**server: Any) -> AsyncIterator[tuple[str, ServerSettings]]:
    """A service in this process that listens as the settings say."""
    settings = build({"server": server, "handlers": {"pingpong": pingpong()}}, Path())
    runner = Runner(create_app(settings), shutdown_timeout=0.1)
    await runner.setup()
    try:
        yield await listen(runner, settings.server, None), settings.server
    finally:
        await runner.cleanup()


async def test_a_unix_socket_alone_will_do(folder: Path) -> None:
    """With `port: null`; a socket that a killed service left behind is in nobody's way, and the check finds it."""
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with listening(port=None, unix_socket=str(path)) as (url, server):
        assert url == f"unix:{path}"
        await asyncio.to_thread(healthcheck.ask, server)
    with pytest.raises(CannotStart, match="does not answer"):
        healthcheck.ask(server)


@pytest.mark.parametrize("server", [{"port": None}, {"port": None, "unix_socket": "/nowhere/s"}])
async def test_nowhere_to_listen_is_told(server: dict[str, Any]) -> None:
    """In one line, before anything is served."""
    with pytest.raises(CannotStart, match=r"nothing to listen on|cannot listen on /nowhere/s"):
        async with listening(**server):
            pass


def test_the_command_says_whether_the_service_lives(tmp_path: Path, service: Service) -> None:
    """`jackfield healthcheck` exits 0 where it answers, and 1 with one line where it does not."""
    config = tmp_path / "config.yaml"
    for port, status in ((service.port, 0), (1, 1)):
        config.write_text(json.dumps({"server": {"port": port}}), encoding="utf-8")
        done = jackfield("healthcheck", "--config", config, folder=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (status, status)
