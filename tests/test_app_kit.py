"""What helps to write a handler: `jackfield new` makes one that works, `serve --reload` shows each change."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
import yaml

from jackfield.app.cli import main
from tests.support.service import COMMAND, PATIENCE, running_service

pytestmark = pytest.mark.slow

HANDLER = """
from jackfield import Connection, Handler

class Greet(Handler):
    async def serve(self, connection: Connection) -> None:
        await connection.send({text!r})
        async for _ in connection:
            pass
"""
CONFIG = """
server: {port: 0, shutdown_timeout: 1s}
logging: {format: json}
handlers:
  greet: {use: greet:Greet, path: /greet}
"""


def test_a_new_handler_works_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three files that are written: the test passes, and the service serves the handler."""
    monkeypatch.chdir(tmp_path)
    assert main(["new", "chat_room"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"chat_room.py", "test_chat_room.py", "config.yaml"}
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_chat_room.py"],
        cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=PATIENCE * 3, check=False,
    )  # fmt: skip
    assert "1 passed" in tests.stdout, tests.stdout
    section = yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))["handlers"]
    with running_service(tmp_path, pingpong=None, upload=None, **section) as service:
        found = asyncio.run(_first(f"{service.url}/chat_room"))
    assert found == "hello"


async def _first(url: str) -> str:
    """The first thing that is said on a socket."""
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        return await socket.receive_str(timeout=PATIENCE)


CONFIGURATIONS = {
    "": "handlers:\n  chat:\n    use: chat:Chat\n    path: /chat\n",
    "server: {port: 0}": "server: {port: 0}\nhandlers:\n  chat:\n    use: chat:Chat\n    path: /chat\n",
    "handlers:  # all\n    a:  # first\n        use: upload\n        path: /a\n\n# end\nlogging: {}\n": (
        "handlers:  # all\n    a:  # first\n        use: upload\n        path: /a\n"
        "    chat:\n      use: chat:Chat\n      path: /chat\n\n# end\nlogging: {}\n"
    ),
    "handlers:\nlogging: {}\n": "handlers:\n  chat:\n    use: chat:Chat\n    path: /chat\nlogging: {}\n",
}


@pytest.mark.parametrize("before", CONFIGURATIONS)
def test_the_section_is_put_where_it_belongs(tmp_path: Path, before: str) -> None:
    """All that stands in the configuration stays as it is, comments too."""
    config = tmp_path / "config.yaml"
    config.write_text(before, encoding="utf-8")
    assert main(["new", "chat", "--config", str(config)]) == 0
    assert config.read_text(encoding="utf-8") == CONFIGURATIONS[before]


@pytest.mark.parametrize(
    ("name", "before", "why"),
    [
        ("Chat", "", "small letters"), ("class", "", "small letters"), ("app", "", "the service's own"),
        ("json", "", "there is a module json already"), ("chat", "handlers: {}", "Add this to it"),
        ("chat", "handlers: {chat: {}}", "has a handler chat already"), ("chat", "[", "no configuration"),
    ],
)  # fmt: skip
def test_nothing_is_written_where_it_cannot_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, before: str, why: str
) -> None:
    """A name that cannot be, or is taken, and a configuration that is written otherwise: one error, and no file."""
    (tmp_path / "config.yaml").write_text(before, encoding="utf-8")
    assert main(["new", name, "--config", str(tmp_path / "config.yaml")]) == 1
    assert why in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert (tmp_path / "config.yaml").read_text(encoding="utf-8") == before


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of the same name stays as it is, and nothing else is written."""
    (tmp_path / "test_chat.py").write_text("mine", encoding="utf-8")
    assert main(["new", "chat", "--config", str(tmp_path / "config.yaml")]) == 1
    assert "test_chat.py is there already" in capsys.readouterr().err
    assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == ["mine"]


class Reloading:
    """`jackfield serve --reload` as a process, and what it says."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def line(self, wanted: Callable[[str], bool]) -> str:
        """The next such line of its log."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            while line := (await self.process.stderr.readline()).decode():
                if wanted(line):
                    return line
        raise AssertionError("it has ended")

    async def url(self) -> str:
        """Where it listens when it has been started the next time."""
        return str(json.loads(await self.line(lambda line: '"listening"' in line))["url"])


@pytest.fixture
async def reloading(tmp_path: Path) -> AsyncIterator[Reloading]:
    """One that serves a handler of this folder."""
    (tmp_path / "greet.py").write_text(HANDLER.format(text="one"), encoding="utf-8")
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        COMMAND, "serve", "--reload", cwd=tmp_path, stderr=PIPE, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    )
    yield Reloading(process)
    if process.returncode is None:
        process.terminate()
    await process.communicate()


async def test_a_change_is_served(reloading: Reloading, tmp_path: Path) -> None:
    """A handler that is edited is served anew, its sockets closed 1012; one that is broken is waited for until it is
    mended; SIGTERM ends all of it."""
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{await reloading.url()}/greet") as socket:
            assert await socket.receive_str(timeout=PATIENCE) == "one"
            (tmp_path / "greet.py").write_text("def", encoding="utf-8")
            assert (await socket.receive(timeout=PATIENCE)).type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code == 1012
        await reloading.line(lambda line: "greet.py changed" in line)
        await reloading.line(lambda line: "SyntaxError" in line)
        (tmp_path / "greet.py").write_text(HANDLER.format(text="two, longer"), encoding="utf-8")
        async with session.ws_connect(f"{await reloading.url()}/greet") as socket:
            assert await socket.receive_str(timeout=PATIENCE) == "two, longer"
    reloading.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE):
        assert await reloading.process.wait() == 0
