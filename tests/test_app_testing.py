"""The pytest plugin for those who write handlers, and aiohttp's own test client beside it."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from jackfield.app.config import build
from jackfield.app.service import DISPATCHER, HANDLERS, create_app
from jackfield.testing import JackfieldServer
from tests.support import handlers
from tests.support.outsider import eventually
from tests.support.rawsocket import RawSocket

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "echo"
ECHO = {"use": "tests.support.handlers:Echo", "path": "/echo"}


async def test_the_fixture_is_there_for_strangers(tmp_path: Path) -> None:
    """A test outside the repository has the fixture `jackfield_server` without asking for it."""
    shutil.copy(EXAMPLE / "echo.py", tmp_path)
    (tmp_path / "test_echo.py").write_text(
        """
import pytest

@pytest.mark.asyncio
async def test_it_says_everything_back(jackfield_server):
    service = await jackfield_server({"echo": {"use": "echo:Echo", "path": "/echo", "prefix": "> "}})
    async with service.ws_connect("/echo") as ws:
        await ws.send_str("hello")
        assert await ws.receive_str(timeout=5) == "> hello"
""",
        encoding="utf-8",
    )
    without_asyncio = ["-p", "no:asyncio", "-p", "no:aiohttp", "--collect-only"]
    for words, passed in (([], b"1 passed"), (without_asyncio, b"1 test collected")):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", ".",
            "-o", "asyncio_default_fixture_loop_scope=function", *words,
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert passed in output, output.decode()


async def test_settings_may_be_given_whole(jackfield_server: JackfieldServer, tmp_path: Path) -> None:
    """The fixture takes settings as `jackfield.app.config` builds them, but for the port, which is a free one."""
    settings = build({"server": {"port": 1}, "handlers": {"echo": ECHO}}, tmp_path)
    service = await jackfield_server(settings)
    assert service.port != 1
    async with service.ws_connect("/echo") as ws:
        await ws.send_str("hello")
        assert await ws.receive_str(timeout=5) == "hello"
    with pytest.raises(pytest.UsageError):
        await jackfield_server(settings, heartbeat="1s")


async def test_the_test_client_of_aiohttp_cancels_what_production_does_not(
    aiohttp_client, jackfield_server: JackfieldServer, tmp_path: Path
) -> None:
    """aiohttp's test server cancels a request whose link is lost and AppRunner does not (fact 11); a handler of
    ours sees neither: on both it learns of the loss where it waits for the peer."""
    sections = {"busy": {"use": "tests.support.handlers:Busy", "path": "/busy"}}
    client: TestClient = await aiohttp_client(create_app(build({"handlers": sections}, tmp_path)))
    service = await jackfield_server(sections)
    assert client.port is not None
    await learns_of_the_loss(client.app, client.port)
    await learns_of_the_loss(service.app, service.port)


async def learns_of_the_loss(app: web.Application, port: int) -> None:
    """A handler that is busy when its link is reset finds it out where it waits for the peer."""
    busy = app[HANDLERS]["busy"]
    assert isinstance(busy, handlers.Busy)
    opened = await RawSocket.connect(port)
    await opened.upgrade("/busy")
    await busy.entered.wait()
    (connection,) = app[DISPATCHER]._lives
    opened.reset()
    await eventually(lambda: asyncio.sleep(0, connection.source.lost))
    await asyncio.sleep(0.01)  # for a cancellation, if there were one, to arrive
    busy.gate.set()
    (end,) = await eventually(lambda: asyncio.sleep(0, busy.ends))
    assert isinstance(end, handlers.Disconnected)
    assert (end.code, end.clean) == (1006, False)


async def test_an_upload_cut_off_in_aiohttps_test_client_keeps_its_bytes(aiohttp_client, tmp_path: Path) -> None:
    """Under the test client, which cancels, a link that drops in mid-upload loses nothing that had arrived."""
    section = {"use": "upload", "path": "/upload", "directory": "in", "min_free": 0}
    client: TestClient = await aiohttp_client(create_app(build({"handlers": {"upload": section}}, tmp_path)))
    data = os.urandom(3_000_000)
    async with client.post("/upload", json={"name": "a", "size": len(data)}) as answer:
        url = (await answer.json())["url"]
    async with client.ws_connect(url, max_msg_size=0) as ws:
        assert (await ws.receive_json(timeout=5))["offset"] == 0
        await ws.send_bytes(data[:2_000_000])
        while (await ws.receive_json(timeout=5))["offset"] < 2_000_000:
            pass
        response = ws._response
        assert response.connection is not None
        response.connection.transport.abort()
    async with client.ws_connect(url, max_msg_size=0) as ws:
        assert (await ws.receive_json(timeout=5))["offset"] == 2_000_000
        await ws.send_bytes(data[2_000_000:])
        await ws.send_json({"type": "end"})
        while (await ws.receive_json(timeout=5))["type"] != "stored":
            pass
    assert (tmp_path / "in" / "a").read_bytes() == data
