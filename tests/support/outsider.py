"""A client of the service written from the contract alone: HTTP as it comes, uploads bit by bit."""

import asyncio
import hashlib
import json
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from tests.support.rawsocket import DEADLINE, Closed, RawSocket
from tests.support.service import Service

T = TypeVar("T")
STAGING = ".incoming"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """Its JSON object."""
        assert self.headers["Content-Type"].startswith("application/json"), self.headers
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    def problem(self) -> str:
        """The code word of its problem document, whose form is held to the contract."""
        assert self.headers["Content-Type"].startswith("application/problem+json"), self
        found = json.loads(self.body)
        assert {"type", "title", "status", "detail", "code"} <= found.keys(), found
        assert found["status"] == self.status
        for member in ("type", "title", "detail", "code"):
            assert isinstance(found[member], str), found
            assert found[member], found
        return str(found["code"])


def content(size: int) -> bytes:
    """Bytes without a pattern, the same for the same size."""
    return random.Random(size).randbytes(size)


def digest(data: bytes) -> str:
    """Lower-case hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def fresh_name(suffix: str = ".bin") -> str:
    """A file name nobody else uses."""
    return uuid.uuid4().hex + suffix


async def eventually(ask: Callable[[], Awaitable[T]], deadline: float = DEADLINE) -> T:
    """Ask again and again until the answer is true; for what sends no event."""
    ends = time.monotonic() + deadline
    while not (found := await ask()):
        assert time.monotonic() < ends, "it never came true"
        await asyncio.sleep(0.01)
    return found


class UploadSocket(RawSocket):
    """A socket that carries an upload. `acks` keeps every ack that was read, in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self.acks: list[dict[str, Any]] = []
        self.ready: dict[str, Any] = {}

    async def said(self, deadline: float = DEADLINE) -> dict[str, Any]:
        """The next message, whatever it is; an ack is kept."""
        text = await self.next(deadline)
        assert isinstance(text, str), text
        found: dict[str, Any] = json.loads(text)
        if found["type"] == "ack":
            self.acks.append(found)
        return found

    async def message(self, kind: str, deadline: float = DEADLINE) -> dict[str, Any]:
        """The next message, which must be of this kind; acks before it are kept on the way."""
        while (found := await self.said(deadline))["type"] != kind:
            assert found["type"] == "ack", found
        return found

    async def outcome(self) -> str:
        """How it ended: `stored`, or an error's code word."""
        while (found := await self.said())["type"] == "ack":
            pass
        return str(found.get("code", found["type"]))

    async def acked(self, offset: int, deadline: float = DEADLINE) -> dict[str, Any]:
        """The first ack of this offset or more."""
        while (found := await self.message("ack", deadline))["offset"] < offset:
            pass
        return found

    async def durable(self, offset: int, deadline: float = DEADLINE) -> dict[str, Any]:
        """The first ack that calls this offset, or more, durable."""
        while (found := await self.message("ack", deadline))["durable"] < offset:
            pass
        return found

    async def end(self, **members: Any) -> None:
        """Say that the last byte was sent."""
        await self.json(type="end", **members)

    async def receipt(self, data: bytes, deadline: float = DEADLINE) -> dict[str, Any]:
        """The receipt for these bytes and the Close 1000 behind it."""
        found = await self.message("stored", deadline)
        assert (found["size"], found["sha256"]) == (len(data), digest(data)), found
        assert (await self.closed()).code == 1000
        return found

    async def finish(self, data: bytes) -> dict[str, Any]:
        """`end`, and its receipt."""
        await self.end()
        return await self.receipt(data)

    async def failed(self, code: str, close: int, deadline: float = DEADLINE) -> dict[str, Any]:
        """The error message with this word and the Close with this code behind it."""
        found = await self.message("error", deadline)
        assert (found["code"], found["status"]) == (code, close - 4000), found
        assert isinstance(found["detail"], str)
        assert (await self.closed()).code == close
        return found

    async def closed(self, deadline: float = DEADLINE) -> Closed:
        """The Close that must come next, but for acks."""
        while not isinstance(found := await self.next(deadline), Closed):
            last = json.loads(found)
            assert last["type"] == "ack", found
            self.acks.append(last)
        return found

    async def closed_plainly(self, reason: str, deadline: float = DEADLINE) -> None:
        """The Close that is a plain upload's receipt; `stored` may be said before it."""
        while not isinstance(found := await self.next(deadline), Closed):
            assert json.loads(found)["type"] in ("ack", "stored"), found
        assert found == Closed(1000, reason)


class Outsider:
    """One client and all its connections. `at` is the path of the upload handler that is meant."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._sockets: list[RawSocket] = []
        self._session = aiohttp.ClientSession(skip_auto_headers=["Accept", "Content-Type"])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drop whatever is still open."""
        for opened in self._sockets:
            await opened.dispose()
        await self._session.close()

    # --- HTTP ----------------------------------------------------------------------------------------

    async def http(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request, its path and headers untouched."""
        url = URL(self.service.url + path, encoded=True)
        async with self._session.request(
            method, url, data=body, headers=headers or {}, allow_redirects=False,
            timeout=aiohttp.ClientTimeout(DEADLINE),
        ) as answer:  # fmt: skip
            return Answer(answer.status, answer.headers, await answer.read())

    async def get(self, path: str, **headers: str) -> Answer:
        """A plain GET; `accept="text/html"` sends that header."""
        return await self.http("GET", path, headers={name.replace("_", "-"): headers[name] for name in headers})

    async def post_json(self, body: Any, at: str = "/upload") -> Answer:
        """Ask for an upload with this JSON, whatever it is."""
        return await self.http("POST", at, json.dumps(body).encode(), {"Content-Type": "application/json"})

    async def post_plain(self, name: bytes, at: str = "/upload") -> Answer:
        """Ask for a plain upload with this body."""
        return await self.http("POST", at, name, {"Content-Type": "text/plain"})

    async def create(self, name: str = "", at: str = "/upload", **promises: Any) -> str:
        """Create an upload; its URL path."""
        answer = await self.post_json({"name": name or fresh_name(), **promises}, at)
        assert answer.status == 201, answer
        return str(answer.json()["url"])

    async def create_plain(self, name: str = "", at: str = "/upload") -> str:
        """Create a plain upload; its URL path."""
        answer = await self.post_plain((name or fresh_name()).encode(), at)
        assert answer.status == 201, answer
        return f"{at}/{answer.body.decode()}"

    async def ask(self, url: str) -> dict[str, Any]:
        """What the service says of an upload."""
        answer = await self.get(url)
        assert answer.status == 200, answer
        return answer.json()

    async def is_stored(self, url: str) -> bool:
        """Whether the service calls it stored."""
        return bool((await self.ask(url))["state"] == "stored")

    async def is_gone(self, url: str) -> bool:
        """Whether the service knows nothing of it any more."""
        return (await self.get(url)).status == 404

    # --- sockets -------------------------------------------------------------------------------------

    async def connect(self, path: str, headers: Mapping[str, str | None] | None = None) -> RawSocket:
        """A WebSocket on this path."""
        opened = await RawSocket.connect(self.service.port)
        self._sockets.append(opened)
        return await opened.upgrade(path, headers)

    async def tcp(self) -> RawSocket:
        """A TCP connection on which nothing was said yet."""
        opened = await RawSocket.connect(self.service.port)
        self._sockets.append(opened)
        return opened

    async def unread(
        self, url: str, headers: Mapping[str, str | None] | None = None, receive_buffer: int = 0
    ) -> UploadSocket:
        """A socket on an upload from which nothing, not even `ready`, was read."""
        opened = await UploadSocket.connect(self.service.port, receive_buffer=receive_buffer)
        self._sockets.append(opened)
        await opened.upgrade(url, headers)
        return opened

    async def open(self, url: str, headers: Mapping[str, str | None] | None = None) -> UploadSocket:
        """A socket on an open upload, its `ready` read."""
        opened = await self.unread(url, headers)
        opened.ready = await opened.message("ready")
        return opened

    async def send_whole(self, data: bytes, name: str = "", at: str = "/upload") -> dict[str, Any]:
        """Create, send and finish; the receipt."""
        sending = await self.open(await self.create(name, at))
        await sending.binary(data)
        return await sending.finish(data)

    # --- files ---------------------------------------------------------------------------------------

    def directory(self, at: str = "/upload") -> Path:
        """Where the handler on this path publishes."""
        return self.service.directory(at.strip("/"))

    def stored(self, receipt: Mapping[str, Any], at: str = "/upload") -> bytes:
        """The file that a receipt names."""
        return (self.directory(at) / str(receipt["name"])).read_bytes()

    def published(self, at: str = "/upload") -> list[str]:
        """All that stands under a final name."""
        folder = self.directory(at)
        return sorted(
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if path.is_file() and path.relative_to(folder).parts[0] != STAGING
        )

    def parts(self, at: str = "/upload") -> set[str]:
        """The files of uploads that are open there, whoever has left them."""
        return {path.name for path in (self.directory(at) / STAGING).glob("*.part")}

    def staged(self, at: str = "/upload") -> int:
        """Bytes in staging, without those that are of no upload: the service's clock, and who has stored how much."""
        files = (path for path in (self.directory(at) / STAGING).rglob("*") if path.name not in ("lock", "used"))
        return sum(path.stat().st_size for path in files if path.is_file())


async def pour(outsider: Outsider, count: int) -> list[str]:
    """Store so many small files over one socket; their names."""
    opened = await outsider.unread("/upload")
    names: list[str] = []

    async def send() -> None:
        for number in range(count):
            await opened.json(type="create", name=f"{number}.bin", size=4)
            await opened.binary(b"data")
            await opened.end()

    sending = asyncio.create_task(send())
    while len(names) < count:
        said = await opened.said(60)
        assert said["type"] in ("ready", "ack", "stored"), said
        if said["type"] == "stored":
            names.append(said["name"])
    await sending
    return names
