"""The pytest plugin for those who write handlers, and aiohttp's own test client beside it."""

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from jackfield.app.config import build
from jackfield.app.service import DISPATCHER, HANDLERS, create_app
from jackfield.testing import Clock, Closed, JackfieldServer
from tests.support import handlers
from tests.support.handlers import sections
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
    (connection,) = app[DISPATCHER].sessions
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


# -- faults, as those who write handlers find them in `jackfield.testing`


async def test_half_a_frame_is_no_message(jackfield_server: JackfieldServer) -> None:
    """What a client sends of a frame is no message until the rest has come."""
    service = await jackfield_server(sections("echo"))
    async with service.raw("/echo") as client:
        await client.send_part("hello", 8)
        await client.send_raw(b"llo")
        assert await client.receive() == "hello"
        await client.send(bytes(70_000))
        assert await client.receive() == bytes(70_000)
        await client.send_part("hello", 8)
        client.drop()
    await service.ended()


async def test_a_link_is_dropped_after_so_many_bytes(jackfield_server: JackfieldServer) -> None:
    """What fits comes through, and then the link is gone."""
    service = await jackfield_server(sections("busy"))
    busy = service.handler("busy", handlers.Busy)
    busy.gate.set()
    async with service.raw("/busy", cut_after=25) as client:
        await client.send("hello")
        assert await client.receive() == "hello"
        await client.send("a message that is longer")
        await service.ended()
        (end,) = busy.ends
        assert isinstance(end, handlers.Disconnected)
        assert not end.clean


@pytest.mark.parametrize("way", ["drop", "reset", "close"])
async def test_a_handler_that_ends_is_waited_for(jackfield_server: JackfieldServer, way: str) -> None:
    """Whichever way a client leaves; the service's end is told as well."""
    service = await jackfield_server(sections("echo"))
    async with service.raw("/echo") as client:
        if way == "close":
            await client.close(4000, "enough")
            assert await client.closed() == Closed(4000)
        else:
            getattr(client, way)()
        await service.ended()
    async with service.raw("/echo") as client:
        await service.stop()
        assert (await client.closed()).code == 1012


async def test_a_handler_that_outlives_its_client_is_found_out(jackfield_server: JackfieldServer) -> None:
    """The error says which one, that its client has left, and the line in which it waits."""
    service = await jackfield_server(sections("stubborn"))
    async with service.raw("/stubborn"):
        pass
    with pytest.raises(AssertionError, match="have not ended") as found:
        await service.ended(timeout=1)
    assert "/stubborn" in str(found.value)
    assert "whose client has left" in str(found.value)
    assert "await asyncio.Event().wait()" in str(found.value)


async def test_a_client_that_does_not_read(jackfield_server: JackfieldServer) -> None:
    """It takes some kilobytes; what is behind that waits, and is there when it reads."""
    service = await jackfield_server(sections("scripted"))
    scripted = service.handler("scripted", handlers.Scripted)
    waiting: list[int] = []

    async def serve(connection: handlers.Connection) -> None:
        for number in range(20):
            if not await connection.offer(f"{number}".ljust(1_000_000)):
                waiting.append(number)

    scripted.script = serve
    async with service.raw("/scripted") as client:
        await eventually(lambda: asyncio.sleep(0, waiting))
        assert str(await client.receive()).strip() == "0"
        assert (await client.closed()).code == 1000


async def test_a_clock_that_is_moved(jackfield_server: JackfieldServer, jackfield_clock: Clock) -> None:
    """An hour passes at once: a handler's time limit is over, and clocks tell so."""
    service = await jackfield_server(sections("scripted"))
    scripted = service.handler("scripted", handlers.Scripted)

    async def serve(connection: handlers.Connection) -> None:
        await connection.send("waiting")
        await connection.receive(timeout=3600)

    scripted.script = serve
    before = time.time()
    async with service.raw("/scripted") as client:
        assert await client.receive() == "waiting"
        await jackfield_clock.advance(3600)
        assert (await client.closed()).code == 4408
    assert time.time() - before >= 3600
    await service.ended()
