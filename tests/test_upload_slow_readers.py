"""Clients of a socket of many files that do not read their answers: nobody else waits for what they hold."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

import jackfield.app.socket.closing
import jackfield.handlers.upload.sockets.answers as answers_module
import jackfield.handlers.upload.sockets.many as many_module
from jackfield.app.service import DISPATCHER
from jackfield.handlers.upload.handler import Upload
from jackfield.handlers.upload.sockets.many import MAX_UNANSWERED
from jackfield.handlers.upload.store.group import SmallFile
from jackfield.handlers.upload.store.small import Grouping
from jackfield.handlers.upload.wire.many import ManyConversation
from jackfield.handlers.upload.wire.messages import Receipt
from jackfield.testing import JackfieldServer, RunningService
from tests.support.manyfiles import binary, file, text
from tests.support.outsider import UploadSocket, content, digest, eventually
from tests.support.rawsocket import Closed
from tests.support.service import upload
from tests.support.squeeze import squeeze

KIB, MIB = 2**10, 2**20
ANSWERS = 64 * KIB  # that may wait in these tests: a sixteenth of the real limit, and of the time to reach it
REFUSED = text(type="create", name="../" + "a" * 100)
BULK = binary(content(700 * KIB))

Pour = Callable[[RunningService, bytes, bytes], Awaitable[UploadSocket]]


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few answers may wait, the kernel takes little of them, and nobody waits long for a peer that is gone."""
    squeeze(monkeypatch)
    monkeypatch.setattr(answers_module, "HIGH_WATER", ANSWERS)
    monkeypatch.setattr(answers_module, "LOW_WATER", ANSWERS // 2)
    monkeypatch.setattr(answers_module, "STALLED", 0.2)
    monkeypatch.setattr(jackfield.app.socket.closing, "CLOSE_LIMIT", 0.5)


@pytest.fixture
async def pour() -> AsyncIterator[Pour]:
    """Opens a socket into which `first` is sent, and then `again` without end, and of which nothing is read."""
    opened: list[UploadSocket] = []
    pouring: list[asyncio.Task[None]] = []

    async def endlessly(one: UploadSocket, first: bytes, again: bytes) -> None:
        await one.send(first)
        while True:
            await one.send(again)

    async def begin(service: RunningService, first: bytes, again: bytes) -> UploadSocket:
        one = await UploadSocket.connect(service.port, receive_buffer=1)
        opened.append(one)
        await one.upgrade("/upload")
        one.writer.transport.set_write_buffer_limits(0)
        cast("asyncio.ReadTransport", one.writer.transport).pause_reading()
        pouring.append(asyncio.create_task(endlessly(one, first, again)))
        return one

    yield begin
    for task in pouring:
        task.cancel()
    await asyncio.gather(*pouring, return_exceptions=True)
    for one in opened:
        with contextlib.suppress(OSError):  # it may be closed already
            one.reset()
        await one.dispose()


def memory(service: RunningService) -> int:
    """Bytes of memory that are out for received bytes."""
    buffers = cast("Upload", service.handlers["upload"]).buffers
    assert buffers is not None
    return buffers.used


async def until_paused(service: RunningService) -> None:
    """Until no socket of the upload handler is received from any more, and what had come is used."""

    async def paused() -> bool:
        streams = [life.stream for life in service.app[DISPATCHER].sessions]
        return all(stream._stopped and not stream.waiting for stream in streams)

    await eventually(paused, 120)


async def stores(service: RunningService, name: str, size: int) -> None:
    """An upload on a socket of its own goes through."""
    data = content(size)
    one = await UploadSocket.connect(service.port)
    try:
        await one.upgrade("/upload")
        await one.send(text(type="create", name=name) + binary(data) + text(type="end"))
        while (said := await one.said(60))["type"] != "stored":
            assert said["type"] in ("ready", "ack")
        assert said["sha256"] == digest(data)
    finally:
        await one.dispose()


@pytest.mark.parametrize("sockets", [40, pytest.param(200, marks=pytest.mark.torture)])
async def test_those_who_do_not_read_hold_no_memory(
    jackfield_server: JackfieldServer, pour: Pour, sockets: int
) -> None:
    """They send refused files and bulk in turns. With the memory of the defaults an upload of 8 MiB goes through."""
    service = await jackfield_server({"upload": upload()}, max_connections=1000)
    for _ in range(sockets):
        await pour(service, REFUSED * 800, REFUSED + BULK)
    await until_paused(service)
    assert memory(service) <= 8 * MIB
    await stores(service, "beside", 8 * MIB)


async def test_small_files_whose_answers_are_not_read(
    jackfield_server: JackfieldServer, pour: Pour, tmp_path: Path
) -> None:
    """No long tokens and no refusals are needed for it: whoever only sends files is not waited for either."""
    service = await jackfield_server({"upload": upload(memory="16MiB", max_open=10_000)})
    small = b"".join(file(f"{number}.{'x' * 240}", content(20 * KIB)) for number in range(20))
    for _ in range(20):
        await pour(service, b"", small)
    await until_paused(service)
    assert memory(service) <= 2 * MIB
    await stores(service, "beside", 8 * MIB)


async def test_a_lost_link_wakes_who_waits_for_it(jackfield_server: JackfieldServer, pour: Pour) -> None:
    """The client is reset while its answers wait: the socket ends then, and not with its idle time."""
    service = await jackfield_server({"upload": upload(idle_timeout="10m")})
    one = await pour(service, REFUSED * 800, REFUSED + BULK)
    await until_paused(service)
    assert await open_sockets(service) == 1
    one.reset()
    await until_gone(service)


async def until_gone(service: RunningService) -> None:
    """Until no socket is left, and nothing that it held."""

    async def gone() -> bool:
        return await open_sockets(service) == 0

    await eventually(gone, 60)
    assert memory(service) == 0
    assert service.app[DISPATCHER]._shared.budget.used == 0


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """No file is stored until it is set."""
    gate = asyncio.Event()
    publish = Grouping.publish

    async def wait(self: Grouping, file: SmallFile) -> Receipt:
        await gate.wait()
        return await publish(self, file)

    monkeypatch.setattr(Grouping, "publish", wait)
    return gate


@pytest.mark.parametrize("sent", [2 * MAX_UNANSWERED, 40])
async def test_who_leaves_is_not_waited_for_by_what_is_being_stored(
    jackfield_server: JackfieldServer,
    held_up: asyncio.Event,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sent: int,
) -> None:
    """A link is lost while files are being stored on a disk that stands still, and with more requests than may be
    unanswered: the socket and its memory are given back all the same, within two heartbeats where it is not read. What
    was ended is stored when the disk goes on.
    """
    monkeypatch.setattr(many_module, "AFTER_LOSS", 0.0)
    service = await jackfield_server({"upload": upload(max_open=10_000)}, heartbeat=4)
    one = await UploadSocket.connect(service.port)
    await one.upgrade("/upload")
    await one.send(b"".join(file(f"small/{number}", b"x") for number in range(sent)))
    uploads = cast("Upload", service.handlers["upload"]).uploads

    async def stands_still() -> bool:
        return len(uploads) == min(sent, MAX_UNANSWERED)

    await eventually(stands_still, 60)
    one.reset()
    await until_gone(service)
    held_up.set()

    async def all_stored() -> bool:
        return not len(uploads)

    await eventually(all_stored, 60)
    assert len(list((cast("Upload", service.handlers["upload"]).options.directory / "small").iterdir())) == min(
        sent, MAX_UNANSWERED
    )
    await one.dispose()


async def open_sockets(service: RunningService) -> int:
    """How many there are, as the metrics have it."""
    async with service.session.get(service.url + "/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(
        int(float(line.split()[-1])) for line in lines if line.startswith('jackfield_connections{handler="upload"')
    )


async def test_to_read_a_little_now_and_then_is_not_enough(jackfield_server: JackfieldServer, pour: Pour) -> None:
    """The idle time counts from when too many answers waited: single ones that are read do not renew it."""
    service = await jackfield_server({"upload": upload(idle_timeout=1)})
    one = await pour(service, REFUSED * 800, REFUSED + BULK)

    async def read() -> None:
        cast("asyncio.ReadTransport", one.writer.transport).resume_reading()
        while await one.reader.read(64):
            await asyncio.sleep(0.3)

    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):  # it is a reset where more was sent than was read
            await read()


async def test_a_fault_of_who_sends_the_answers_ends_the_socket(
    jackfield_server: JackfieldServer, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """It is closed 1011: a socket that says nothing more would be waited for without end."""

    def broken(self: ManyConversation, limit: int) -> list[str]:
        raise ZeroDivisionError

    service = await jackfield_server({"upload": upload()})
    monkeypatch.setattr(ManyConversation, "sendable", broken)
    one = await UploadSocket.connect(service.port)
    await one.upgrade("/upload")
    while not isinstance(said := await one.next(), Closed):
        assert isinstance(said, str)
        assert '"internal_error"' in said
    assert said.code == 1011
    await one.dispose()
