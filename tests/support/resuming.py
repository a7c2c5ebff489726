"""A client that never gives up: it resumes after every crash, and holds the service to each promise it made.

What it checks, message by message: `ready.offset` never lies below a `durable` that was sent, the digest in
`ready` is that of its own bytes, acks never go back, and a receipt is true at the moment it is read.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.support.outsider import Outsider, UploadSocket, digest
from tests.support.rawsocket import Closed, Opcode, frame, header

_LOST: Final = (ConnectionError, EOFError, aiohttp.ClientConnectionError)

PIECE: Final = 64 * 1024
_NO_MASK: Final = bytes(4)  # a legal masking key that spares us the work

Wire = Iterator[tuple[bytes, int]]  # bytes for the socket, and how many of the file's are in them


def one_frame(data: memoryview, _: random.Random) -> Wire:
    """All of it in one frame, as a browser sends a file."""
    yield header(Opcode.BINARY, len(data), key=_NO_MASK), 0
    for start in range(0, len(data), PIECE):
        piece = data[start : start + PIECE]
        yield bytes(piece), len(piece)


def messages(data: memoryview, _: random.Random) -> Wire:
    """A message for each 64 KiB, masked in earnest."""
    for start in range(0, len(data), PIECE):
        piece = bytes(data[start : start + PIECE])
        yield frame(Opcode.BINARY, piece), len(piece)


def fragments(data: memoryview, _: random.Random) -> Wire:
    """One message of many fragments, the last of them empty."""
    opcode = Opcode.BINARY
    for start in range(0, len(data), 131_000):
        piece = bytes(data[start : start + 131_000])
        yield header(opcode, len(piece), fin=False, key=_NO_MASK) + piece, len(piece)
        opcode = Opcode.CONTINUATION
    yield frame(opcode), 0


def ragged(data: memoryview, dice: random.Random) -> Wire:
    """Messages of any length, empty ones too, with pings between them."""
    start = 0
    while start < len(data):
        piece = bytes(data[start : start + dice.choice((0, 1, 125, 126, 4096, 65_536, 200_000))])
        yield frame(Opcode.PING, b"?") + header(Opcode.BINARY, len(piece), key=_NO_MASK) + piece, len(piece)
        start += len(piece)


FRAMINGS: Final = (one_frame, messages, fragments, ragged)


@dataclass
class Job:
    """One file on its way. `allowed` says how many of its bytes may be sent by now."""

    name: str
    data: bytes
    framing: Callable[[memoryview, random.Random], Wire] = messages
    plain: bool = False
    promises: dict[str, Any] = field(default_factory=dict)
    allowed: Callable[[], int] = lambda: 2**63
    pause: float = 0  # seconds after each piece
    url: str = ""
    durable: int = 0  # the most that any ack has called so
    lives: int = 0  # sockets it took
    blind: int = 0  # times it was sent under a token that was never learned: each may have become a file
    receipt: dict[str, Any] | None = None

    def check_ready(self, ready: dict[str, Any]) -> None:
        """Hold `ready` to what was promised before."""
        offset = ready["offset"]
        assert self.durable <= offset <= len(self.data), f"{self.name}: {ready} after durable {self.durable}"
        assert ready["sha256"] in (None, digest(self.data[:offset])), f"{self.name}: {ready}"

    def take(self, receipt: dict[str, Any], stored: bytes) -> None:
        """Believe a receipt only when the file is there, whole, at this moment."""
        assert (receipt["size"], receipt["sha256"]) == (len(self.data), digest(self.data)), receipt
        assert digest(stored) == receipt["sha256"], f"a false receipt: {receipt}"
        self.receipt = {key: receipt[key] for key in ("name", "size", "sha256")}

    def check_ack(self, ack: dict[str, Any], before: dict[str, Any]) -> None:
        """Hold an ack to the one before it."""
        assert before["offset"] <= ack["offset"] <= len(self.data), (self.name, before, ack)
        assert before["durable"] <= ack["durable"] <= ack["offset"], (self.name, before, ack)
        self.durable = max(self.durable, ack["durable"])


@contextlib.contextmanager
def surviving() -> Iterator[None]:
    """Pass over what a client sees of a service that is killed. A time-out is not passed over: nothing may hang."""
    with contextlib.suppress(*_LOST):
        yield


class Resuming:
    """Brings one job to its receipt, over as many lives of the service as it takes."""

    def __init__(self, outsider: Outsider, job: Job, up: asyncio.Event, dice: random.Random) -> None:
        self._outsider = outsider
        self._job = job
        self._up = up  # set while a service listens
        self._dice = dice

    async def run(self) -> None:
        """Until the receipt; raises AssertionError for a promise that was not kept."""
        job = self._job
        while job.receipt is None:
            await self._up.wait()
            with surviving():
                job.url = job.url or await self._create()
                await self.turn()
            await asyncio.sleep(0.01)  # a service dies a little before anyone says so

    async def _create(self) -> str:
        job = self._job
        if job.plain:
            return await self._outsider.create_plain(job.name)
        return await self._outsider.create(job.name, **job.promises)

    async def turn(self) -> None:
        """One socket: from `ready` as far as it goes. What it raises when the service is gone, `surviving` knows."""
        job = self._job
        job.lives += 1
        opened = await self._outsider.unread(job.url)
        try:
            first = await opened.said()
            if first["type"] == "stored":
                self._take(first)
                return
            job.check_ready(first)
            opened.ready = first
            await self._converse(opened, first)
        finally:
            await opened.dispose()

    async def _converse(self, opened: UploadSocket, ready: dict[str, Any]) -> None:
        sending = asyncio.create_task(self._send(opened, ready["offset"]))
        try:
            await self._listen(opened, {"offset": ready["offset"], "durable": 0})
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, opened: UploadSocket, offset: int) -> None:
        """The bytes from here on, as far as they are allowed, and the end behind the last."""
        job = self._job
        for wire, size in job.framing(memoryview(job.data)[offset:], self._dice):
            if offset + size > job.allowed():
                return  # the next life goes on
            await opened.send(wire)
            offset += size
            await asyncio.sleep(job.pause)
        if job.allowed() < len(job.data):
            return
        if job.plain:
            await opened.close()
        else:
            await opened.end()

    async def _listen(self, opened: UploadSocket, last: dict[str, Any]) -> None:
        """Acks, until the receipt has come."""
        job = self._job
        while True:
            found = await opened.next()
            if isinstance(found, Closed):
                assert job.plain, found
                assert found.code == 1000, found
                self._take(await self._outsider.ask(job.url))
                return
            message: dict[str, Any] = json.loads(found)
            if message["type"] == "stored":
                self._take(message)
                return
            assert message["type"] == "ack", f"{job.name}: {message}"
            job.check_ack(message, last)
            last = message

    def _take(self, receipt: dict[str, Any]) -> None:
        self._job.take(receipt, self._outsider.stored(receipt))

    async def ask_again(self) -> None:
        """The same receipt, from a new socket and from a GET."""
        job = self._job
        opened = await self._outsider.unread(job.url)
        try:
            told = await opened.message("stored")
        finally:
            await opened.dispose()
        for answer in (told, await self._outsider.ask(job.url)):
            assert job.receipt == {key: answer[key] for key in ("name", "size", "sha256")}
