"""The service inside somebody's own application: below a prefix, behind their middlewares, with their shutdown."""

import asyncio
import io
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import ClientSession, WSServerHandshakeError, web
from aiohttp.test_utils import TestClient

import jackfield
from jackfield import CALLER, Caller, CannotStart, Connection, Handler, mount
from jackfield.app.config import ConfigError, build
from tests.support.handlers import sections
from tests.support.outsider import eventually

UPLOAD = {"use": "upload", "path": "/upload", "min_free": 0}


class Who(Handler):
    """Says whom it is told of."""

    closed = 0

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Counts its ends."""
        yield
        self.closed += 1

    async def serve(self, connection: Connection) -> None:
        """Once."""
        self.log.warning("asked")
        await connection.send(f"{connection.user} {connection.request.get('user')}")


def config(folder: Path, **handlers: Any) -> dict[str, Any]:
    """A mapping with these handlers besides an echo; uploads go below the folder."""
    if "upload" in handlers:
        handlers["upload"] = {**handlers["upload"], "directory": str(folder / "in")}
    return {"server": {"shutdown_timeout": "2s"}, "handlers": {**sections("echo"), **handlers}}


class Program:
    """Somebody's program that runs its application by an AppRunner."""

    def __init__(self, app: web.Application, session: ClientSession) -> None:
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        self.session = session
        self.url = ""

    async def start(self) -> "Program":
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        return self

    async def says_back(self, path: str) -> str:
        """What an echo there answers."""
        async with self.session.ws_connect(self.url + path) as socket:
            await socket.send_str("hello")
            return await socket.receive_str(timeout=10)


Run = Callable[[web.Application], Awaitable[Program]]


@pytest.fixture
async def run(session: ClientSession) -> AsyncIterator[Run]:
    """Starts programs, and ends them."""
    programs: list[Program] = []

    async def start(app: web.Application) -> Program:
        programs.append(Program(app, session))
        return await programs[-1].start()

    yield start
    await session.close()
    for program in programs:
        await program.runner.cleanup()


async def hello(_: web.Request) -> web.Response:
    """A page of theirs."""
    return web.Response(text="theirs")


def theirs() -> web.Application:
    """An application with a route."""
    app = web.Application()
    app.router.add_get("/", hello)
    return app


@pytest.mark.parametrize("prefix", ["", "/files", "/a/b"])
async def test_urls_carry_the_prefix(run: Run, tmp_path: Path, prefix: str) -> None:
    """Sockets, plain HTTP, pages and probes are below it, and every URL that is given leads there."""
    app = theirs()
    mount(app, config(tmp_path, upload=UPLOAD), prefix)
    program = await run(app)
    assert await program.says_back(f"{prefix}/echo") == "hello"
    receipt = await jackfield.upload(program.session, f"{program.url}{prefix}/upload", __file__)
    assert (tmp_path / "in" / receipt.name).read_bytes() == Path(__file__).read_bytes()
    async with program.session.post(f"{program.url}{prefix}/upload", json={"name": "x"}) as answer:
        assert answer.headers["Location"] == (await answer.json())["url"]
        assert answer.headers["Location"].startswith(f"{prefix}/upload/")
    async with program.session.get(f"{program.url}{prefix}/upload", headers={"Accept": "text/html"}) as answer:
        page = await answer.text()
    assert f"{prefix}/assets/upload/" in page
    async with program.session.get(f"{program.url}{prefix}/assets/upload/page.js") as answer:
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-cache")
    for probe in ("/healthz", "/readyz", "/metrics"):
        async with program.session.get(program.url + prefix + probe) as answer:
            assert answer.status == 200
    async with program.session.get(f"{program.url}{prefix}/index", headers={"Accept": "text/plain"}) as answer:
        assert f"\n{prefix}/upload  upload: " in await answer.text()
    async with program.session.get(program.url) as answer:
        assert await answer.text() == "theirs"


async def test_what_is_not_ours(run: Run, tmp_path: Path) -> None:
    """Below a prefix what is not there is told as everywhere; at the root other paths are theirs."""
    app = theirs()
    mount(app, config(tmp_path), "/ours")
    mount(app, config(tmp_path))
    program = await run(app)
    async with program.session.get(f"{program.url}/ours/nothing") as answer:
        assert (await answer.json())["code"] == "not_found"
    async with program.session.get(f"{program.url}/nothing") as answer:
        assert await answer.text() == "404: Not Found"
    async with program.session.delete(f"{program.url}/echo") as answer:
        assert (await answer.json())["code"] == "method_not_allowed"
    async with program.session.get(f"{program.url}/ours") as answer:
        assert [found["path"] for found in (await answer.json())["handlers"]] == ["/ours/echo"]


async def test_below_others_of_their_applications(run: Run, tmp_path: Path) -> None:
    """Applications that are put into one another after that put their prefixes before ours."""
    outer, middle, inner = theirs(), web.Application(), web.Application()
    mount(inner, config(tmp_path, upload=UPLOAD), "/c")
    mount(inner, config(tmp_path))
    middle.add_subapp("/b", inner)
    outer.add_subapp("/a", middle)
    program = await run(outer)
    assert await program.says_back("/a/b/c/echo") == "hello"
    assert await program.says_back("/a/b/echo") == "hello"
    async with program.session.post(f"{program.url}/a/b/c/upload", json={"name": "x"}) as answer:
        assert (await answer.json())["url"].startswith("/a/b/c/upload/")


async def test_the_way_to_write_a_configuration(tmp_path: Path) -> None:
    """A path, a mapping and settings are taken; what is wrong is said at once, and a prefix must be one, and free."""
    file = tmp_path / "config.yaml"
    file.write_text("handlers: {echo: {use: tests.support.handlers:Echo, path: /echo}}", encoding="utf-8")
    app = web.Application()
    for number, given in enumerate((file, str(file), config(tmp_path), build(config(tmp_path), tmp_path))):
        assert list(mount(app, given, f"/{number}")) == ["echo"]
    for prefix in ("files", "/files/", "/", "/{x}", "/..", "/a//b"):
        with pytest.raises(ValueError, match="prefix"):
            mount(app, config(tmp_path), prefix)
    with pytest.raises(ValueError, match="/0"):
        mount(app, config(tmp_path), "/0")
    with pytest.raises(ConfigError, match="unknown key"):
        mount(app, {"handlres": {}}, "/new")
    mount(app, config(tmp_path), "/new")


async def test_two_mounts_count_apart(run: Run, tmp_path: Path) -> None:
    """Each has its own metrics, sockets and limits."""
    app = web.Application()
    mount(app, {**config(tmp_path), "server": {"max_connections": 1}}, "/one")
    mount(app, config(tmp_path), "/two")
    program = await run(app)

    async def counted(prefix: str, open_now: str) -> bool:
        async with program.session.get(f"{program.url}{prefix}/metrics") as answer:
            return f'\njackfield_connections{{handler="echo"}} {open_now}\n' in await answer.text()

    async with program.session.ws_connect(f"{program.url}/one/echo"):
        with pytest.raises(WSServerHandshakeError):
            await program.says_back("/one/echo")
        assert await program.says_back("/two/echo") == "hello"
        await eventually(lambda: counted("/one", "1.0"))
        await eventually(lambda: counted("/two", "0.0"))


async def test_one_directory_is_not_for_two(run: Run, tmp_path: Path) -> None:
    """The second handler on a directory of uploads keeps the program from starting, and says which directory it is."""
    app = web.Application()
    for prefix in ("/one", "/two"):
        mount(app, config(tmp_path, upload=UPLOAD), prefix)
    with pytest.raises(CannotStart, match=str(tmp_path / "in")):
        await run(app)
    again = web.Application()
    mount(again, config(tmp_path, upload=UPLOAD))
    with pytest.raises(CannotStart):  # the first one still has it
        await run(again)


@pytest.mark.parametrize("theirs", [0, 10**9])
async def test_small_bodies_stay_small(run: Run, tmp_path: Path, theirs: int) -> None:
    """Where their application takes bodies of any length into memory, ours does not; a file may be as long as ever."""

    @web.middleware
    async def reads(request: web.Request, handler: Any) -> web.StreamResponse:
        if "read" in request.query:
            await request.read()
        return await handler(request)

    app = web.Application(client_max_size=theirs, middlewares=[reads])
    mount(app, config(tmp_path, upload=UPLOAD), "/in")
    program = await run(app)
    long = b'{"name": "' + b"x" * 2_000_000 + b'"}'
    for query, status in (("", 413), ("?read", 400)):  # what they have read is theirs
        headers = {"Content-Type": "application/json"}
        async with program.session.post(
            f"{program.url}/in/upload{query}", data=io.BytesIO(long), headers=headers
        ) as answer:
            assert answer.status == status
    async with program.session.put(f"{program.url}/in/upload/long", data=io.BytesIO(long)) as answer:
        assert answer.status == 201
    assert (tmp_path / "in/long").read_bytes() == long


def test_one_name_is_not_for_two_modules(tmp_path: Path) -> None:
    """The folders of two configurations with a module of the same name: the second mount says so, and which."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "of_both.py").write_text("from tests.support.handlers import Echo\n", encoding="utf-8")
        file = tmp_path / name / "config.yaml"
        file.write_text("handlers: {echo: {use: of_both:Echo, path: /echo}}", encoding="utf-8")
    app = web.Application()
    mount(app, tmp_path / "one/config.yaml", "/one")
    mount(app, tmp_path / "one/config.yaml", "/again")
    with pytest.raises(ConfigError, match=r"rename .*two/of_both\.py"):
        mount(app, tmp_path / "two/config.yaml", "/two")


async def test_their_authentication_is_in_front(run: Run, tmp_path: Path) -> None:
    """Their middleware refuses whom it wants, and names the others: by `request["user"]` or by a whole `Caller`."""

    @web.middleware
    async def log_in(request: web.Request, handler: Any) -> web.StreamResponse:
        name = request.cookies.get("session")
        if name is None:
            raise web.HTTPUnauthorized
        if name == "whole":
            request[CALLER] = Caller("somebody", "unknown", max_open=1)
        elif name == "object":
            request["user"] = {"name": name}
        else:
            request["user"] = name
        return await handler(request)

    app = web.Application(middlewares=[log_in])
    who = {"use": f"{__name__}:Who", "path": "/who"}
    mount(app, {**config(tmp_path, who=who), "server": {"auth": {"proxy_user": "X-User"}}}, "/in")
    program = await run(app)
    with pytest.raises(WSServerHandshakeError, match="401"):
        await program.says_back("/in/echo")
    for name, said in (("alice", "alice alice"), ("whole", "somebody somebody")):
        async with program.session.ws_connect(f"{program.url}/in/who", headers={"Cookie": f"session={name}"}) as found:
            assert await found.receive_str(timeout=10) == said
    with pytest.raises(WSServerHandshakeError, match="403"):  # a page of another site, with the visitor's cookie
        await program.session.ws_connect(
            f"{program.url}/in/who", headers={"Cookie": "session=alice", "Origin": "https://evil.example"}
        )
    with pytest.raises(WSServerHandshakeError, match="401"):  # who is no text is nobody, and ours wants somebody
        await program.session.ws_connect(f"{program.url}/in/who", headers={"Cookie": "session=object"})


@pytest.fixture
def unconfigured() -> Iterator[None]:
    """structlog as it is in a program that has not configured it."""
    configured, before = structlog.is_configured(), structlog.get_config()
    structlog.reset_defaults()
    yield
    if configured:
        structlog.configure(**before)


@pytest.mark.usefixtures("unconfigured")
async def test_nothing_of_the_process_is_touched(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Signals, logging, structlog and its variables stay as they were; lines go to `logging`, and none is printed."""
    root = logging.getLogger()
    before = (signal.getsignal(signal.SIGTERM), root.handlers[:], root.level, structlog.is_configured())
    kept: list[dict[str, Any]] = []

    @web.middleware
    async def mark(request: web.Request, handler: Any) -> web.StreamResponse:
        structlog.contextvars.bind_contextvars(request_id="7")
        try:
            return await handler(request)
        finally:
            kept.append(structlog.contextvars.get_contextvars())
            structlog.contextvars.clear_contextvars()

    app = web.Application(middlewares=[mark])
    handlers = mount(app, config(tmp_path, who={"use": f"{__name__}:Who", "path": "/who"}))
    program = await run(app)
    async with program.session.ws_connect(f"{program.url}/who") as socket:
        await socket.receive_str(timeout=10)
    await eventually(lambda: asyncio.sleep(0, kept))
    assert kept == [{"request_id": "7"}]
    assert "asked" in caplog.text
    assert "request_id='7'" in caplog.text
    assert (signal.getsignal(signal.SIGTERM), root.handlers[:], root.level, structlog.is_configured()) == before
    await program.runner.cleanup()
    assert capfd.readouterr().out == ""
    assert isinstance(handlers["who"], Who)
    assert handlers["who"].closed == 1


async def test_their_shutdown_drains_ours(run: Run, tmp_path: Path) -> None:
    """Sockets are closed 1012, what was uploaded is kept, and the program goes on with it when it has been started
    anew, in the same process too; the application that has ended says that it cannot be."""

    def make() -> web.Application:
        app = theirs()
        mount(app, config(tmp_path, upload=UPLOAD), "/files")
        return app

    program = await run(make())
    async with program.session.post(f"{program.url}/files/upload", json={"name": "x", "size": 6}) as answer:
        url = (await answer.json())["url"]
    async with (
        program.session.ws_connect(f"{program.url}/files/echo") as echo,
        program.session.ws_connect(program.url + url) as socket,
    ):
        assert (await socket.receive_json(timeout=10))["offset"] == 0
        await socket.send_bytes(b"abc")
        while (await socket.receive_json(timeout=10))["offset"] < 3:
            pass
        ending = asyncio.create_task(program.runner.cleanup())
        for each in (socket, echo):
            while (await each.receive(timeout=10)).type is web.WSMsgType.TEXT:
                pass
            assert each.close_code == 1012
        await ending
    with pytest.raises(CannotStart, match="make a new one"):
        await program.start()
    program = await run(make())
    async with program.session.ws_connect(program.url + url) as socket:
        assert (await socket.receive_json(timeout=10))["offset"] == 3
        await socket.send_bytes(b"def")
        await socket.send_json({"type": "end"})
        while (await socket.receive_json(timeout=10))["type"] != "stored":
            pass
    assert (tmp_path / "in" / "x").read_bytes() == b"abcdef"


async def test_the_test_client_of_aiohttp(aiohttp_client: Any, tmp_path: Path) -> None:
    """pytest-aiohttp's client runs it as well, and twice in one process: it cancels requests whose link is lost, and
    what was sent before that is kept all the same."""
    url = ""
    for number in range(2):
        app = theirs()
        mount(app, config(tmp_path, upload=UPLOAD), "/files")
        client: TestClient[web.Request, web.Application] = await aiohttp_client(app)
        if not url:
            async with client.post("/files/upload", json={"name": "x", "size": 6}) as answer:
                url = (await answer.json())["url"]
        socket = await client.ws_connect(url)
        assert (await socket.receive_json(timeout=10))["offset"] == 3 * number
        await socket.send_bytes(b"abc")
        while (await socket.receive_json(timeout=10))["offset"] < 3 * number + 3:
            pass
        connection = socket._response.connection
        assert connection is not None
        connection.transport.abort()  # type: ignore[union-attr]
        await socket.close()
        async with client.ws_connect("/files/echo") as socket:
            await socket.send_str("hello")
            assert await socket.receive_str(timeout=10) == "hello"
        await client.close()


async def test_a_start_that_fails_closes_what_was_open(run: Run, tmp_path: Path) -> None:
    """Where another part of their program cannot start, the directory is free again when they clean up."""

    async def fail(_: web.Application) -> None:
        raise RuntimeError("no database")

    app = web.Application()
    mount(app, config(tmp_path, upload=UPLOAD))
    app.on_startup.append(fail)
    runner = web.AppRunner(app)
    with pytest.raises(RuntimeError, match="no database"):
        await runner.setup()
    await runner.cleanup()
    app = web.Application()
    mount(app, config(tmp_path, upload=UPLOAD))
    await run(app)


async def test_what_they_opened_is_closed_after_ours(run: Run, tmp_path: Path) -> None:
    """A context of theirs that was there before the mount is still open when handlers close; handlers reach it."""
    order: list[str] = []

    async def database(_: web.Application) -> AsyncIterator[None]:
        yield
        order.append("theirs")

    class Ours(Who):
        @asynccontextmanager
        async def lifespan(self) -> AsyncIterator[None]:
            yield
            order.append("ours")

    globals()["Ours"] = Ours
    app = web.Application()
    app.cleanup_ctx.append(database)
    mount(app, config(tmp_path, ours={"use": f"{__name__}:Ours", "path": "/ours"}), "/x")
    await (await run(app)).runner.cleanup()
    assert order == ["ours", "theirs"]


@pytest.mark.parametrize("prefix", ["", "/x"])
async def test_an_exception_in_their_middleware(run: Run, tmp_path: Path, prefix: str) -> None:
    """Before ours it is their 500; behind a socket that has ended it hurts nobody, and the next one is served."""

    @web.middleware
    async def clumsy(request: web.Request, handler: Any) -> web.StreamResponse:
        if "early" in request.query:
            raise RuntimeError("before")
        await handler(request)
        raise RuntimeError("after")

    app = web.Application(middlewares=[clumsy])
    mount(app, config(tmp_path), prefix)
    program = await run(app)
    with pytest.raises(WSServerHandshakeError, match="500"):
        await program.says_back(f"{prefix}/echo?early")
    for _ in range(2):
        assert await program.says_back(f"{prefix}/echo") == "hello"


async def test_their_task_is_cancelled(tmp_path: Path, session: ClientSession) -> None:
    """A program that is cancelled and cleans up in `finally`, as `web.run_app` does, ends our sockets with 1012."""
    app = web.Application()
    mount(app, config(tmp_path), "/x")
    program = Program(app, session)
    started = asyncio.Event()

    async def main() -> None:
        await program.start()
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await program.runner.cleanup()

    task = asyncio.create_task(main())
    await started.wait()
    async with session.ws_connect(f"{program.url}/x/echo") as socket:
        task.cancel()
        assert (await socket.receive(timeout=10)).type is web.WSMsgType.CLOSE
        assert socket.close_code == 1012
    with pytest.raises(asyncio.CancelledError):
        await task
