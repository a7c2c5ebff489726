"""Sockets of many files that do anything at any moment, several of them with the same tokens: nothing is mixed up,
nobody waits for an answer without end, and nothing is left behind."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest

from jackfield.app.service import DISPATCHER
from jackfield.handlers.upload.handler import Upload
from jackfield.handlers.upload.store.disk import Disk
from jackfield.testing import JackfieldServer, RunningService
from tests.support.manyfiles import binary, text
from tests.support.outsider import UploadSocket, content, digest, eventually
from tests.support.rawsocket import Closed, Opcode, Refusal, close_payload, frame
from tests.support.service import upload

SIZES = (0, 1, 300, 300, 20_000, 70_000, 200_000)
ENDS = ("close", "close", "close in a message", "half-close", "drop", "reset")
PATIENCE = 120  # seconds that a busy machine may take for one answer


@dataclass(frozen=True)
class File:
    """What everybody sends who has this token."""

    token: str
    name: str
    data: bytes
    promised: bool

    @property
    def create(self) -> bytes:
        """Its request."""
        return text(
            type="create", name=self.name, token=self.token, **({"size": len(self.data)} if self.promised else {})
        )

    def rest(self, offset: int, chance: random.Random) -> list[bytes]:
        """Its bytes from there on, in any framing."""
        step = chance.choice([1000, 65_536, 200_000])
        return [binary(self.data[at : at + step]) for at in range(offset, len(self.data), step)]


def drawn(chance: random.Random, number: int) -> File:
    """One of any size, promised or not."""
    token = f"{chance.getrandbits(192):048x}"
    return File(token, f"fuzz/{number}.{token[:8]}", content(chance.choice(SIZES) + number), chance.random() < 0.5)


def said(chance: random.Random, files: list[File]) -> list[bytes]:
    """One request and what belongs to it: whole, begun again, cut short, resumed, or refused."""
    file = chance.choice(files)
    pieces, end = file.rest(0, chance), text(type="end")
    return chance.choice([
        [file.create, *pieces, end],
        [file.create, *pieces, end],
        [file.create, *pieces, end],
        [file.create, *pieces, text(type="restart"), *pieces, end],
        [file.create, *pieces[: len(pieces) // 2]],
        [file.create, *pieces],
        [text(type="resume", token=file.token)],
        [text(type="create", name="../x"), *pieces, end],
        [text(type="create", name="another", token=file.token), *pieces, end],
    ])  # fmt: skip


class Anybody:
    """One client. `receipts` are those it was given, by the token."""

    def __init__(self, chance: random.Random, files: list[File], service: RunningService) -> None:
        self._chance = chance
        self._files = files
        self._service = service
        self._requests = 0
        self._answers = 0
        self.receipts: dict[str, str] = {}

    async def live(self) -> None:
        """From the handshake to the end, whichever it is; where it listens it is answered."""
        chance = self._chance
        one = await UploadSocket.connect(self._service.port)
        try:
            await one.upgrade("/upload")
            listening = asyncio.create_task(self._listen(one))
            with contextlib.suppress(ConnectionError):
                for _ in range(chance.choice([1, 5, 30])):
                    await self._say(one)
            end = chance.choice(ENDS)
            with contextlib.suppress(ConnectionError):
                await self._end(one, end)
            closed = await listening
            assert closed is None or closed.code != 1011, closed
            if end == "close":
                assert closed == Closed(1000)
                assert self._requests - self._answers <= 1, "all but one that was not ended have their answer"
        finally:
            await one.dispose()

    async def _say(self, one: UploadSocket) -> None:
        self._requests += 1
        for data in said(self._chance, self._files):
            await one.send(data)
        if self._chance.random() < 0.1:
            url = f"{self._service.url}/upload/{self._chance.choice(self._files).token}"
            async with self._service.session.delete(url, headers={"Connection": "close"}) as answer:
                assert answer.status in (204, 404, 409)

    async def _end(self, one: UploadSocket, end: str) -> None:
        match end:
            case "close":
                await one.send(frame(Opcode.CLOSE, close_payload(1000)))
            case "close in a message":
                await one.send(frame(Opcode.BINARY, fin=False) + frame(Opcode.CLOSE, close_payload(1000)))
            case "half-close":
                one.half_close()
            case "drop":
                one.drop()
            case _:
                one.reset()

    async def _listen(self, one: UploadSocket) -> Closed | None:
        """Until the service closes the socket, or the link is cut."""
        try:
            while not isinstance(message := await one.next(PATIENCE), Closed):
                self._hear(cast("str", message))
        except (ConnectionError, asyncio.IncompleteReadError):
            return None
        return message

    def _hear(self, message: str) -> None:
        fields: dict[str, Any] = json.loads(message)
        if fields["type"] == "stored":
            self.receipts[fields["token"]] = fields["sha256"]
        self._answers += fields["type"] in ("stored", "error")


class Resumer:
    """Goes on with what others have begun, on a socket of its own or on one of many, and believes the service alone."""

    def __init__(self, chance: random.Random, files: list[File], service: RunningService) -> None:
        self._chance = chance
        self._files = files
        self._service = service
        self.receipts: dict[str, str] = {}

    async def live(self) -> None:
        """Ten times, whatever becomes of each."""
        for _ in range(10):
            file = self._chance.choice(self._files)
            one = await UploadSocket.connect(self._service.port)
            with contextlib.suppress(Refusal, ConnectionError, asyncio.IncompleteReadError):
                if self._chance.random() < 0.5:
                    await one.upgrade(f"/upload/{file.token}")
                else:
                    await one.upgrade("/upload")
                    await one.json(type="resume", token=file.token)
                await self._go_on(one, file)
            await one.dispose()

    async def _go_on(self, one: UploadSocket, file: File) -> None:
        said = await one.said(PATIENCE)
        if said["type"] == "ready":
            offset = said["offset"]
            assert said["sha256"] in (None, digest(file.data[:offset])), "bytes that nobody has sent there"
            for data in file.rest(offset, self._chance):
                await one.send(data)
            await one.json(type="end")
        while said["type"] in ("ready", "ack"):
            said = await one.said(PATIENCE)
        assert said.get("code") in (None, "superseded", "cancelled", "unknown_upload"), said
        if said["type"] == "stored":
            self.receipts[file.token] = said["sha256"]


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call takes up to 5 ms, so that more happens meanwhile."""
    call, chance = Disk.call, random.Random(0)

    def slowly(disk: Disk, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
        time.sleep(chance.random() * 0.005)
        return call(disk, function, *arguments, **options)

    monkeypatch.setattr(Disk, "call", slowly)


@pytest.mark.usefixtures("slow_disk")
@pytest.mark.parametrize("seed", range(12))
async def test_whatever_sockets_of_many_do(jackfield_server: JackfieldServer, seed: int) -> None:
    """Every receipt is that of what was sent under its token, and when all have left nothing is held: no memory, no
    session, no task."""
    service = await jackfield_server({"upload": upload(max_open=100_000)}, heartbeat=10)
    before = len(asyncio.all_tasks())
    chance = random.Random(seed)
    files = [drawn(chance, number) for number in range(6)]
    clients = [
        kind(random.Random(f"{seed}.{number}"), files, service)
        for number, kind in enumerate([Anybody, Anybody, Resumer] * 6)
    ]
    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(client.live())
    expected = {file.token: digest(file.data) for file in files}
    for client in clients:
        assert client.receipts.items() <= expected.items()
    await eventually(lambda: _nothing_is_held(service, before), 120)


async def _nothing_is_held(service: RunningService, tasks: int) -> bool:
    handler = cast("Upload", service.handlers["upload"])
    assert handler.buffers is not None
    held = [upload for upload in handler.uploads._open.values() if upload.session is not None or upload.ended]
    dispatcher = service.app[DISPATCHER]
    left = len(dispatcher.sessions), handler.buffers.used, dispatcher._shared.budget.used, len(held)
    return left == (0, 0, 0, 0) and len(asyncio.all_tasks()) <= tasks
