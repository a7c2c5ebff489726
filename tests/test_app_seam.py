"""The seam: what a handler may override, and that nothing else need be touched to plug one in or out."""

import asyncio
import hashlib
import os
import random
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import aiohttp
import pytest
import yaml
from aiohttp import WSCloseCode, WSMsgType

from jackfield.app.config import build
from jackfield.app.errors import CannotStart
from jackfield.app.service import HANDLERS, create_app
from jackfield.testing import JackfieldServer, RunningService
from tests.support import handlers
from tests.support.service import COMMAND, Service, configuration, running_service

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "docs" / "examples" / "echo"
FULL = {"use": "tests.support.handlers:Full", "path": "/full"}


class Example(Service):
    """A service that is run with the example's own files, copied as they are."""

    def _configure(self) -> Path:
        shutil.copytree(EXAMPLE, self.folder, dirs_exist_ok=True)
        return self.folder / "config.yaml"


async def test_a_handler_of_ten_lines_beside_the_configuration(tmp_path: Path) -> None:
    """Ten copied lines and two of YAML, outside the repository, are a handler of the real service."""
    environment = {"JACKFIELD_SERVER__PORT": "0", "JACKFIELD_HANDLERS__ECHO__PREFIX": "> "}
    service = Example(tmp_path, configuration(), environment=environment)
    try:
        service.start()
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{service.url}/echo") as ws:
            await ws.send_str("hello")
            await ws.send_bytes(b"\0\xff")
            assert await ws.receive_str(timeout=5) == "> hello"
            assert await ws.receive_bytes(timeout=5) == b"\0\xff"
        assert service.stop() == 0
        service.assert_clean()
    finally:
        if service.running:
            service.kill()


def test_the_example_is_as_short_as_is_said() -> None:
    """The example has at most ten lines of Python, and two lines in its section of YAML."""
    lines = [line for line in (EXAMPLE / "echo.py").read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= 10
    config = yaml.safe_load((EXAMPLE / "config.yaml").read_text(encoding="utf-8"))
    assert config == {"handlers": {"echo": {"use": "echo:Echo", "path": "/echo"}}}


async def test_a_handler_is_taken_out_by_deleting_its_folder(tmp_path: Path) -> None:
    """Without handlers/upload/ and its section the service and its commands work as before."""
    tree, folder = tmp_path / "tree", tmp_path / "service"
    for package in ("jackfield", "app", "handlers"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tree / package, symlinks=True, ignore=ignored)
    shutil.rmtree(tree / "handlers" / "upload")
    folder.mkdir()
    # Without `site`, which would lead an editable installation back to the tree it was made from.
    python = [sys.executable, "-S"]
    environment = {"PYTHONPATH": os.pathsep.join([str(tree), sysconfig.get_path("purelib")])}

    def jackfield(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*python, COMMAND, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=20,
        )  # fmt: skip

    with running_service(folder, prefix=python, environment=environment, upload=None) as service:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{service.url}/pingpong") as ws:
            assert await ws.receive_str(timeout=5) == "ping"
    usage = jackfield("--help")
    assert usage.returncode == 0
    assert " ping " in usage.stdout
    assert " upload " not in usage.stdout
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration()), encoding="utf-8")
    refused = jackfield("check")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "handlers.upload.use: there is no module jackfield.handlers.upload" in refused.stderr


async def test_a_handler_opens_before_the_first_request_and_closes_after_the_last(
    jackfield_server: JackfieldServer,
) -> None:
    """The lifespan surrounds all sockets; handlers open in the configuration's order and close in reverse."""
    service = await jackfield_server({"full": FULL, "other": {**FULL, "path": "/other"}})
    full = service.handlers["full"]
    assert isinstance(full, handlers.Full)
    assert full.life == ["opened"]
    async with service.ws_connect("/full/attic") as ws:
        assert await ws.receive_str(timeout=5) == "hello, attic None"
        stopping = asyncio.create_task(service.stop())
        assert await ws.receive_str(timeout=5) == "farewell: draining"
        assert full.life == ["opened", "admitted"]
        assert (await ws.receive(5)).type is WSMsgType.CLOSE
    await stopping
    assert full.life == ["opened", "admitted", "closed"]


async def test_a_handler_that_cannot_open_stops_the_start(tmp_path: Path) -> None:
    """CannotStart of one lifespan ends the start, and closes the handlers that were open."""
    sections = {"full": FULL, "broken": {**FULL, "path": "/broken", "broken": True}}
    app = create_app(build({"handlers": sections}, tmp_path))
    runner = aiohttp.web.AppRunner(app)
    with pytest.raises(CannotStart, match="the cupboard is bare"):
        await runner.setup()
    full = app[HANDLERS]["full"]
    assert isinstance(full, handlers.Full)
    assert full.life == ["opened", "closed"]


async def test_a_handler_says_whether_it_is_ready(jackfield_server: JackfieldServer) -> None:
    """`/readyz` is 503 while one handler is not ready, and names it; `/healthz` stays 200."""
    service = await jackfield_server({"full": FULL})
    full = service.handlers["full"]
    assert isinstance(full, handlers.Full)
    for ready, status, waiting in ((True, 200, []), (False, 503, ["full"]), (True, 200, [])):
        full.is_ready = ready
        async with service.session.get(f"{service.url}/readyz") as answer:
            assert (answer.status, (await answer.json())["not_ready"]) == (status, waiting)
        async with service.session.get(f"{service.url}/healthz") as answer:
            assert answer.status == 200


async def test_a_handler_has_plain_routes_beside_its_socket(jackfield_server: JackfieldServer) -> None:
    """`routes()` are relative to the handler's path; `get()` answers what no page does; a fault is 500."""
    service = await jackfield_server({"full": FULL})
    for path, text in (("/full/about/tea", "about tea"), ("/full/attic", "room attic")):
        async with service.session.get(service.url + path) as answer:
            assert (answer.status, await answer.text()) == (200, text)
    async with service.session.get(f"{service.url}/full") as answer:
        assert (answer.status, answer.headers["Upgrade"]) == (426, "websocket")
    async with service.session.post(f"{service.url}/full") as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (500, "internal_error")


async def test_a_handler_brings_a_page(jackfield_server: JackfieldServer) -> None:
    """The page is for those who accept HTML, knows its own path, and its files come as they are."""
    service = await jackfield_server({"full": FULL})
    html = {"Accept": "text/html"}
    for path in ("/full", "/full/attic"):
        async with service.session.get(service.url + path, headers=html) as answer:
            text = await answer.text()
    assert "<title>/full</title>" in text
    for path, content in (("/assets/full/page.js", 'export const price = "$5";'), ("/assets/app/style.css", "{")):
        assert path in text
        async with service.session.get(service.url + path) as answer:
            assert content in await answer.text()


async def test_a_handler_admits_or_refuses_before_the_upgrade(jackfield_server: JackfieldServer) -> None:
    """What `admit` raises is the status and headers of the refusal; what it returns is `connection.admitted`."""
    service = await jackfield_server({"full": {**FULL, "greeting": "welcome"}})
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await _enter(service, "/full/secret")
    assert refused.value.status == 404
    assert refused.value.headers is not None
    assert refused.value.headers["X-Hint"] == "elsewhere"
    assert await _enter(service, "/full/attic") == "welcome, attic None"
    assert await _enter(service, "/full") == "welcome, hall None"


async def _enter(service: RunningService, path: str) -> str:
    async with service.ws_connect(path) as ws:
        return await ws.receive_str(timeout=5)


async def test_one_of_the_handlers_subprotocols_is_agreed_to(jackfield_server: JackfieldServer) -> None:
    """The first that the client offers and the handler knows; none where they have none in common."""
    service = await jackfield_server({"full": FULL})
    for offered, agreed in ((("full.v1", "full.v2"), "full.v1"), (("x", "full.v2"), "full.v2"), (("x",), None)):
        async with service.ws_connect("/full", protocols=offered) as ws:
            assert ws.protocol == agreed
            assert await ws.receive_str(timeout=5) == f"hello, hall {agreed}"


async def test_a_handler_has_the_last_word(jackfield_server: JackfieldServer) -> None:
    """What `last_words` gives for a failure is sent before the Close frame that carries it."""
    service = await jackfield_server({"full": FULL})
    async with service.ws_connect("/full") as ws:
        await ws.receive_str(timeout=5)
        await ws.send_str("because")
        assert await ws.receive_str(timeout=5) == "farewell: bad_message"
        close = await ws.receive(5)
        assert (close.type, close.data, close.extra) == (WSMsgType.CLOSE, 4400, "because")


async def test_compression_is_for_handlers_that_ask_for_it(jackfield_server: JackfieldServer) -> None:
    """A client that offers permessage-deflate gets it of a handler with `compress`, and of no other."""
    names = ("Echo", "Deflating", "Bulk")
    service = await jackfield_server(
        {name.lower(): {"use": f"tests.support.handlers:{name}", "path": f"/{name.lower()}"} for name in names}
    )
    for name in names:
        async with service.ws_connect(f"/{name.lower()}", compress=15) as ws:
            assert bool(ws.compress) is (name == "Deflating")
    async with service.ws_connect("/deflating", compress=15) as ws:
        for text in ("hello " * 1000, "hello " * 10_000, ""):
            await ws.send_str(text)
            assert await ws.receive_str(timeout=5) == text
    async with service.ws_connect("/deflating", compress=0) as ws:
        await ws.send_bytes(b"as it is")
        assert await ws.receive_bytes(timeout=5) == b"as it is"


async def test_a_handler_may_take_bytes_as_they_arrive(jackfield_server: JackfieldServer) -> None:
    """With `buffers` a message larger than all of its memory comes through, bytes and texts in order; whole messages
    are not to be had there, nor a stream elsewhere."""
    service = await jackfield_server(handlers.sections("bulk", "scripted", "pouring"))
    bulk, data = service.handlers["bulk"], random.Random(1).randbytes(20 * handlers.MIB)
    assert bulk.buffers is not None
    async with service.ws_connect("/bulk") as ws:
        await ws.send_bytes(data)
        await ws.send_str("so far")
        assert await ws.receive_str(timeout=10) == f"so far: {len(data)} {hashlib.sha256(data).hexdigest()}"
        assert bulk.buffers.used == 0
    misused: list[str] = []

    async def misuse(connection: handlers.Connection) -> None:
        with pytest.raises(TypeError, match="buffers") as told:
            await (connection.take() if connection.request.path == "/scripted" else connection.receive())
        misused.append(str(told.value))

    for path in ("scripted", "pouring"):
        handler = service.handlers[path]
        assert isinstance(handler, handlers.Scripted)
        handler.script = misuse
        async with service.ws_connect(f"/{path}") as ws:
            assert (await ws.receive(5)).data == 1000
    assert len(misused) == 2


@pytest.mark.parametrize(
    ("message", "code"), [("x" * 100, None), ("x" * 101, 1009), (b"x" * 1000, None), (b"x" * 1001, 1009)]
)
async def test_a_handler_bounds_its_messages(
    jackfield_server: JackfieldServer, message: str | bytes, code: int | None
) -> None:
    """A message of `max_message` bytes, or a text of `max_text`, is taken; one byte more closes 1009."""
    service = await jackfield_server({"short": {"use": "tests.support.handlers:Short", "path": "/short"}})
    async with service.ws_connect("/short") as ws:
        if isinstance(message, str):
            await ws.send_str(message)
        else:
            await ws.send_bytes(message)
        answer = await ws.receive(5)
        if code is None:
            assert answer.data == message
        else:
            assert (answer.type, answer.data) == (WSMsgType.CLOSE, WSCloseCode.MESSAGE_TOO_BIG)
