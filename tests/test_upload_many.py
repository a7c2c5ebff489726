"""A socket of many files whose disk or whose client is slow: who waits for whom, and that nobody waits for ever."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import jackfield.app.socket.closing
import jackfield.app.socket.sending
import jackfield.handlers.upload.sockets.answers as answers_module
from jackfield.app.service import DISPATCHER
from jackfield.handlers.upload.handler import Upload
from jackfield.handlers.upload.store.group import Group
from jackfield.testing import JackfieldServer, RunningService
from tests.support.manyfiles import answers, begin, binary, file, resume, send_file, text
from tests.support.outsider import UploadSocket, content, eventually
from tests.support.rawsocket import Closed
from tests.support.service import upload
from tests.support.squeeze import squeeze

pytestmark = pytest.mark.usefixtures("brief_goodbyes")

Open = Callable[..., Awaitable[UploadSocket]]


@pytest.fixture
def brief_goodbyes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a peer that does not take its Close."""
    monkeypatch.setattr(jackfield.app.socket.closing, "CLOSE_LIMIT", 0.5)


class Gate:
    """Groups of small files wait here before they are published, in their worker thread."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()

    async def wait_until_reached(self) -> None:
        """Until a group is here."""
        assert await asyncio.to_thread(self.reached.wait, 10)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A disk that takes its time with small files, until the gate is opened."""
    made, publish = Gate(), Group.prepare

    def slowly(self: Group) -> Any:
        made.reached.set()
        assert made.opened.wait(30)
        return publish(self)

    monkeypatch.setattr(Group, "prepare", slowly)
    yield made
    made.opened.set()


@pytest.fixture
async def connect() -> AsyncIterator[Open]:
    """Opens sockets, and drops them in the end."""
    opened: list[UploadSocket] = []

    async def one(service: RunningService, path: str = "/upload", receive_buffer: int = 0) -> UploadSocket:
        opened.append(await UploadSocket.connect(service.port, receive_buffer=receive_buffer))
        return await opened[-1].upgrade(path)

    yield one
    for each in opened:
        await each.dispose()


async def test_who_waits_for_a_slow_disk_is_not_idle(
    jackfield_server: JackfieldServer, gate: Gate, connect: Open
) -> None:
    """`idle_timeout` does not run while the service owes an answer; once it is given it runs anew."""
    service = await jackfield_server({"upload": upload(idle_timeout=0.5)}, shutdown_timeout="20s")
    opened = await connect(service)
    await opened.send(file("a", b"a"))
    await opened.message("ready")
    stored = asyncio.create_task(opened.message("stored"))
    await asyncio.wait([stored], timeout=1.8)
    assert not stored.done()
    gate.opened.set()
    assert (await stored)["name"] == "a"
    await send_file(opened, "b", b"b")
    await opened.failed("idle", 4408)


async def test_a_take_over_behind_the_end_has_one_answer(
    jackfield_server: JackfieldServer, gate: Gate, connect: Open
) -> None:
    """One that is taken over while it is being stored is `superseded` here and `stored` there, and once each."""
    service = await jackfield_server({"upload": upload()}, shutdown_timeout="20s")
    old, new = await connect(service), await connect(service)
    ready = await begin(old, "a")
    await old.send(binary(b"a") + text(type="end"))
    await gate.wait_until_reached()
    await new.json(type="resume", token=ready["token"])
    failed = await old.message("error")
    assert (failed["code"], failed["token"]) == ("superseded", ready["token"])
    gate.opened.set()
    assert (await new.said())["type"] == "stored"
    await send_file(old, "b", b"b")


async def test_the_end_of_the_service_waits_for_a_slow_disk(
    jackfield_server: JackfieldServer, gate: Gate, connect: Open
) -> None:
    """What was ended is stored and its receipt is sent before the close 1012."""
    service = await jackfield_server({"upload": upload()}, shutdown_timeout="20s")
    opened = await connect(service)
    await opened.send(file("a", b"a") + file("b", b"b"))
    await gate.wait_until_reached()
    stopping = asyncio.create_task(service.stop())
    await eventually(_is(lambda: service.app[DISPATCHER].draining))
    gate.opened.set()
    assert [answer["name"] for answer in await answers(opened, 2)] == ["a", "b"]
    assert (await opened.closed()).code == 1012
    await opened.close(1012)
    await stopping


async def test_ended_ones_crowd_nobody_out(jackfield_server: JackfieldServer, gate: Gate, connect: Open) -> None:
    """With two places and a slow disk five that are being stored take none: another one's upload is created."""
    service = await jackfield_server({"upload": upload(max_open=2)})
    opened, other = await connect(service), await connect(service)
    uploads = cast("Upload", service.handlers["upload"]).uploads
    await opened.send(b"".join(file(name, b"x") for name in "abcde"))
    await gate.wait_until_reached()
    await eventually(_is(lambda: len(uploads) == 5))
    await other.json(type="create", name="f")
    assert (await other.message("ready"))["name"] == "f"
    gate.opened.set()
    assert [answer["name"] for answer in await answers(opened, 5)] == list("abcde")


def _is(question: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return question()

    return ask


@pytest.fixture
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes little for a client that does not read, and what is sent for good may wait a moment only."""
    squeeze(monkeypatch)
    monkeypatch.setattr(jackfield.app.socket.sending, "SEND_LIMIT", 0.2)
    monkeypatch.setattr(answers_module, "STALLED", 0.2)


@pytest.mark.usefixtures("small_buffers")
async def test_who_reads_late_is_served(jackfield_server: JackfieldServer, connect: Open, tmp_path: Path) -> None:
    """With less than 1 MiB of answers unread all of 600 files are stored, however long nobody reads."""
    service = await jackfield_server({"upload": upload()}, shutdown_timeout="20s")
    opened = await connect(service, receive_buffer=1)
    opened.writer.transport.set_write_buffer_limits(0)
    names = [f"{number}.{'x' * 240}" for number in range(600)]  # whose answers fill every buffer on the way
    async with asyncio.timeout(30):
        for name in names:
            await opened.send(file(name, b"x"))
        while not (tmp_path / "upload" / names[-1]).exists():
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)  # more than a send may take
    # With the small buffer TCP would wait for a timer of its own, which doubles, after every few bytes.
    opened.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
    assert [answer["name"] for answer in await answers(opened, len(names))] == names


@pytest.mark.usefixtures("small_buffers")
async def test_who_never_reads_is_not_waited_for(jackfield_server: JackfieldServer, connect: Open) -> None:
    """With more than 1 MiB of answers unread nothing is read any more, and after `idle_timeout` the link is cut."""
    service = await jackfield_server({"upload": upload(idle_timeout=0.5)})
    opened = await connect(service, receive_buffer=1)
    opened.writer.transport.set_write_buffer_limits(0)
    refused = text(type="create", name="../a") * 100

    async def pour() -> None:
        while True:
            await opened.send(refused)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(pour(), 30)


@pytest.mark.usefixtures("small_buffers")
async def test_a_newcomer_does_not_wait_for_one_who_does_not_read(
    jackfield_server: JackfieldServer, connect: Open
) -> None:
    """A take-over is at once, also from a socket that is not read because nobody reads its answers."""
    service = await jackfield_server({"upload": upload()}, shutdown_timeout="20s")
    opened, new = await connect(service, receive_buffer=1), await connect(service)
    opened.writer.transport.set_write_buffer_limits(0)
    ready = await begin(opened, "a")

    async def pour() -> None:
        while True:
            await opened.send(text(type="restart") * 1000)  # of no bytes: the disk has no part in it

    pouring = asyncio.create_task(pour())
    await asyncio.wait([pouring], timeout=1)
    await new.json(type="resume", token=ready["token"])
    assert (await new.message("ready", 50))["offset"] == 0  # sooner than the other is found idle
    pouring.cancel()


async def test_a_fault_of_ours_is_no_promise(
    jackfield_server: JackfieldServer, connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception nobody foresaw closes 1011, is logged, and later files are stored; the one that failed is let go of,
    so that it may expire, and can be gone on with."""

    def broken(self: Group) -> Any:
        raise ZeroDivisionError

    service = await jackfield_server({"upload": upload()}, shutdown_timeout="20s")
    opened, again = await connect(service), await connect(service)
    with monkeypatch.context() as patch:
        patch.setattr(Group, "prepare", broken)
        await opened.send(file("a", content(10)))
        token = (await opened.message("ready"))["token"]
        while not isinstance(said := await opened.next(), Closed):
            pass
        assert said.code == 1011
    await send_file(again, "b", b"b")
    (left,) = cast("Upload", service.handlers["upload"]).uploads._open.values()
    assert left.session is None
    assert (await resume(again, token))["offset"] == 10
    await again.json(type="end")
    assert (await again.message("stored"))["name"] == "a"
