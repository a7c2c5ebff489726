"""The handlers of docs/handlers.md, copied from the page and plugged into a real service."""

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

import jackfield as package
from jackfield import testing
from jackfield.app import handler as seam
from jackfield.app import mount as mounting
from jackfield.handlers.upload import client as uploads
from tests.support.documents import PROJECT, blocks, read, section
from tests.support.outsider import Outsider, content, eventually
from tests.support.rawsocket import Closed, RawSocket, Refusal
from tests.support.service import PATIENCE, Service, jackfield, running_service

PAGE = "docs/handlers.md"


def copy(folder: Path) -> None:
    """Each Python block, into the file that its first line names."""
    for block in blocks(PAGE, "python"):
        first, _, text = block.text.partition("\n")
        (folder / first.removeprefix("# ")).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with all handlers of the page."""
    folder = tmp_path_factory.mktemp("examples")
    copy(folder)
    (folder / "page").mkdir()
    (folder / "page/index.html").write_text("<html>$path</html>", encoding="utf-8")
    (block,) = blocks(PAGE, "yaml")
    handlers = yaml.safe_load(block.text)["handlers"] | {
        "shop": {"use": "errors_of_mine:Shop", "path": "/shop"},
        "rooms": {"use": "rooms:Rooms", "path": "/rooms"},
        "digest": {"use": "digest:Digest", "path": "/digest"},
        "ticker": {"use": "ticker:Ticker", "path": "/ticker"},
    }
    with running_service(folder, **handlers) as running:
        yield running


@pytest.fixture
async def client(examples: Service) -> AsyncIterator[Outsider]:
    """A client of that service."""
    async with Outsider(examples) as outsider:
        yield outsider


async def test_the_first_example_is_guessed(client: Outsider) -> None:
    """The number lies between 1 and the configured 10, is found by halving, and the socket then closes 1000."""
    opened = await client.connect("/guess")
    await opened.text("seven")
    assert await opened.next() == "a number, please"
    least, most, said = 1, 10, ""
    while said != "yes":
        middle = (least + most) // 2
        await opened.text(str(middle))
        said = str(await opened.next())
        least, most = (middle + 1, most) if said == "higher" else (least, middle - 1)
    assert (await opened.closed()).code == 1000


async def test_a_word_of_ones_own_is_said_and_closes(client: Outsider) -> None:
    """A handler's own kind has its close code, its last words come before it, and Close closes as it says."""
    opened = await client.connect("/shop")
    await opened.text("tea")
    assert await opened.next() == "out_of_stock: There is no tea left."
    assert (await opened.closed()).code == 4409
    opened = await client.connect("/shop")
    await opened.text("bye")
    assert await opened.closed() == Closed(1000, "come again")


async def test_rooms_admit_list_and_tell(client: Outsider) -> None:
    """Sub-paths, a refusal before the upgrade, a route, a page and two people in one room."""
    with pytest.raises(Refusal) as refusal:
        await client.connect("/rooms/cellar")
    assert (refusal.value.status, refusal.value.code) == (404, "no_such_room")
    one, other = await client.connect("/rooms/lobby"), await client.connect("/rooms/lobby")
    await listed(client, 2)
    await one.text("hello")
    assert await other.next() == "hello"
    await other.close()
    await other.closed()
    await listed(client, 1)
    assert b"<html>/rooms</html>" in (await client.get("/rooms/lobby", accept="text/html")).body


async def listed(client: Outsider, people: int) -> None:
    """The handler's route counts so many people."""

    async def is_so() -> bool:
        return bool((await client.get("/rooms")).json() == {"lobby": people})

    await eventually(is_so)


async def test_a_room_loses_nothing_in_silence(client: Outsider) -> None:
    """A listener that does not read is closed 1013 behind all it has heard without a gap; one that reads hears all."""
    speaker, reader = await client.connect("/rooms/lobby"), await client.connect("/rooms/lobby")
    deaf = await RawSocket.connect(client.service.port, receive_buffer=4096)
    try:
        await deaf.upgrade("/rooms/lobby")
        await listed(client, 3)
        for begin in range(0, 2000, 10):
            for number in range(begin, begin + 10):
                await speaker.text(f"{number:06}".ljust(10_000, "."))
            for number in range(begin, begin + 10):
                assert str(await reader.next())[:6] == f"{number:06}"
        await listed(client, 2)  # the one that does not read had more to hear than its queue holds
        heard = 0
        while isinstance(found := await deaf.next(), str):
            assert found[:6] == f"{heard:06}"
            heard += 1
        assert found == Closed(1013, "It reads more slowly than others write to it.")
    finally:
        await deaf.dispose()


async def test_a_ticker_is_ended_with_its_client(client: Outsider) -> None:
    """The example that waits for its queue alone does not stay when its client has left."""
    opened = await client.connect("/ticker")
    await opened.close()
    assert (await opened.closed()).code == 1000
    await opened.ended()


async def test_bulk_is_digested(client: Outsider) -> None:
    """A handler with buffers gets all bytes of a frame that is larger than a message may be."""
    data = content(6 * 2**20)
    opened = await client.connect("/digest")
    await opened.binary(data)
    await opened.text("that was all")
    assert await opened.next() == hashlib.sha256(data).hexdigest()


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    """They are run by pytest as their reader would, with Jackfield's own plugin."""
    copy(tmp_path)
    (tmp_path / "page").mkdir()
    options = ["asyncio_mode=auto", "asyncio_default_fixture_loop_scope=function"]
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *(word for option in options for word in ("-o", option)), "."],
        cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=PATIENCE * 5, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout
    assert "6 passed" in answer.stdout


def test_the_examples_are_listed(examples: Service) -> None:
    """`jackfield schema` has the options of a handler that lies beside config.yaml."""
    schema = json.loads(jackfield("schema", folder=examples.folder).stdout)
    assert "highest" in schema["$defs"]["guess"]["properties"]


def _used(path: Path) -> Iterator[tuple[str, str]]:
    """The members of a connection, or of its stream, that a module uses."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value).rpartition(".")[2].removeprefix("_")
            if owner in ("connection", "stream"):
                yield owner, node.attr


def test_what_the_upload_handler_uses_is_in_the_tables() -> None:
    """The seam is whole: each member of a connection and of its stream that it uses is public, and on the page."""
    modules = [PROJECT / "handlers/upload/handler.py", *(PROJECT / "handlers/upload/sockets").glob("*.py")]
    used = {member for path in modules for member in _used(path)}
    assert ("stream", "align") in used
    assert used - set(re.findall(r"`(?:await |async with )?(connection|stream)\.(\w+)", read(PAGE))) == set()


INTERNAL = {
    "awaited", "room", "queue", "wake", "close",  # of outboxes
    "key", "scheme", "shake_hands",
}  # fmt: skip
"""Members without an underscore that are for the service itself. A connection has many: what handlers use is above."""

CLASSES = [
    package.Handler, package.Topic, package.Member, package.Outbox, package.Delivery,
    package.Caller, package.Batch, package.Kind, package.Failure, package.Disconnected, testing.RunningService,
    testing.RawClient, testing.Closed, testing.Clock,
]  # fmt: skip


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_member_is_on_the_page(kind: type) -> None:
    """What a class of ours has for its users is named in the reference."""
    ours = [base for base in kind.__mro__ if base.__module__.startswith("jackfield")]
    members = {name for base in ours for name in (*vars(base), *getattr(base, "__annotations__", ()))}
    public = {name for name in members if not name.startswith("_")} - INTERNAL
    assert public - set(re.findall(r"\w+", section(PAGE, "Reference"))) == set()


def test_every_name_for_handlers_is_exported_and_on_the_page() -> None:
    """What the seam has is what `jackfield` gives to other people's programs, and the page names all of it."""
    assert {*seam.__all__, *uploads.__all__, *mounting.__all__} == set(package.__all__)
    assert all(getattr(package, name) is getattr(seam, name) for name in seam.__all__)
    assert set(seam.__all__) - set(re.findall(r"\w+", read(PAGE))) == set()
