"""A server that keeps the upload contract, except where a test writes it another part to play."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from jackfield.handlers.upload.client import Receipt
from tests.support.loopback import serving

TOKEN = "t0k3n" * 5
Answer = Callable[[web.Request], Awaitable[web.Response]]
Part = Callable[["Conversation"], Awaitable[None]]


def problem(status: int, code: str, **headers: str) -> Answer:
    """An answer with a problem document."""

    async def answer(_: web.Request) -> web.Response:
        body = {"type": "about:blank", "title": code, "status": status, "detail": f"because: {code}", "code": code}
        return web.json_response(
            body, status=status, content_type="application/problem+json",
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )  # fmt: skip

    return answer


def receipt(path: Path) -> Receipt:
    """What a client is told of a file that was sent whole as `x`."""
    data = path.read_bytes()
    return Receipt("x", len(data), hashlib.sha256(data).hexdigest())


class Scripted:
    """One upload at a time. Each socket plays the next of `parts`, each creation gives the next of `answers`; when
    they run out, everything is done as the contract says."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.answers: list[Answer] = []
        self.url = ""
        self.port = 0
        self.created: list[dict[str, Any]] = []
        self.cancelled: list[str] = []  # tokens
        self.uploads = 0  # how many were created, other than found
        self.token = ""
        self.refusal: Answer | None = None  # of every socket
        self.promised: dict[str, Any] = {}  # what the upload was created with
        self.open = False
        self.closed = False  # like a service that is not there
        self.restarts = 0
        self.offsets: list[int] = []  # what each `ready` said
        self.messages: list[int] = []  # the length of each binary message
        self.ends: list[dict[str, Any]] = []
        self.bytes = bytearray()
        self.receipt: dict[str, Any] | None = None
        self.window = 1024 * 1024
        self.message_size = 64 * 1024
        self.tells_digest = True

    @property
    def promises(self) -> list[dict[str, Any]]:
        """What was asked for at each creation, but for the token."""
        return [{key: asked[key] for key in asked if key != "token"} for asked in self.created]

    @property
    def sockets(self) -> int:
        """How many sockets were opened."""
        return len(self.offsets)

    def application(self) -> web.Application:
        """The routes of the contract."""
        application = web.Application()
        application.router.add_post("/upload", self._create)
        application.router.add_get("/upload/{token}", self._get)
        application.router.add_delete("/upload/{token}", self._cancel)
        return application

    async def _create(self, request: web.Request) -> web.Response:
        if self.closed:
            return await problem(503, "draining")(request)
        self.created.append(await request.json())
        if self.answers:
            return await self.answers.pop(0)(request)
        return await self.create(request)

    async def create(self, request: web.Request) -> web.Response:
        """Create it, or find what the token has."""
        asked = await request.json()
        if self.open and asked["token"] == self.token:
            if any(asked.get(key) != self.promised.get(key) for key in ("name", "size", "sha256")):
                return await problem(409, "token_conflict")(request)
            return web.json_response(self._state())
        self.open, self.receipt, self.token, self.promised = True, None, asked["token"], asked
        self.bytes.clear()
        self.uploads += 1
        return web.json_response(self._state(), status=201, headers={"Location": f"/upload/{self.token}"})

    def store(self, **instead: Any) -> None:
        """Keep the receipt of what has come."""
        digest = hashlib.sha256(self.bytes).hexdigest()
        self.receipt = {"name": "x", "size": len(self.bytes), "sha256": digest} | instead

    def _state(self) -> dict[str, Any]:
        """What is said of the upload."""
        path, state = f"/upload/{self.token}", "stored" if self.receipt else "open"
        return {"state": state, "token": self.token, "url": path, "offset": len(self.bytes), **(self.receipt or {})}

    async def _cancel(self, request: web.Request) -> web.Response:
        self.cancelled.append(request.match_info["token"])
        self.open = self.open and self.token != request.match_info["token"]
        return web.Response(status=204)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if self.closed:
            return await problem(503, "draining")(request)
        if not self.open or request.match_info["token"] != self.token:
            return await problem(404, "unknown_upload")(request)
        if self.refusal is not None:
            return await self.refusal(request)
        socket = web.WebSocketResponse(max_msg_size=0, compress=False, protocols=("upload.v1",))
        await socket.prepare(request)
        conversation = Conversation(self, request, socket)
        await (self.parts.pop(0) if self.parts else honest)(conversation)
        return socket


class Conversation:
    """One socket, told step by step what to do."""

    def __init__(self, server: Scripted, request: web.Request, socket: web.WebSocketResponse) -> None:
        self.server = server
        self.socket = socket
        self._request = request

    @property
    def transport(self) -> asyncio.Transport:
        """The connection below the socket."""
        found = self._request.transport
        assert isinstance(found, asyncio.Transport)
        return found

    async def say(self, **message: Any) -> None:
        """Send one message."""
        await self.socket.send_str(json.dumps(message))

    async def ready(self, **instead: Any) -> None:
        """Say what is there."""
        server = self.server
        digest = hashlib.sha256(server.bytes).hexdigest() if server.bytes and server.tells_digest else None
        server.offsets.append(len(server.bytes))
        await self.say(**{
            "type": "ready", "token": TOKEN, "name": "x", "offset": len(server.bytes), "size": None,
            "sha256": digest, "message_size": server.message_size, "window": server.window,
        } | instead)  # fmt: skip

    async def take(self, until: int | None = None, *, acks: bool = True) -> None:
        """Take bytes until there are `until`, or until the end is said (or the socket ends)."""
        while until is None or len(self.server.bytes) < until:
            message = await self.socket.receive()
            if message.type is WSMsgType.BINARY:
                self.server.messages.append(len(message.data))
                self.server.bytes += message.data
                if acks:
                    await self.ack()
            elif message.type is WSMsgType.TEXT:
                said = json.loads(message.data)
                if said["type"] == "end":
                    self.server.ends.append(said)
                    return
                assert said["type"] == "restart", said
                self.server.restarts += 1
                self.server.bytes.clear()
                await self.ready()
            else:
                return

    async def ack(self, durable: int | None = None) -> None:
        """Acknowledge all that came."""
        offset = len(self.server.bytes)
        await self.say(type="ack", offset=offset, durable=offset if durable is None else durable)

    async def stored(self, **instead: Any) -> None:
        """Store it, and say so."""
        self.server.store(**instead)
        assert self.server.receipt is not None
        await self.say(type="stored", token=TOKEN, **self.server.receipt)
        await self.socket.close()

    async def fail(self, status: int, code: str) -> None:
        """Say an error, and close with the code for it."""
        await self.say(type="error", status=status, code=code, detail=f"because: {code}")
        await self.socket.close(code=4000 + status)

    def drop(self) -> None:
        """Cut the connection: no Close frame, no FIN."""
        self.transport.abort()


async def honest(conversation: Conversation) -> None:
    """The part that the contract writes."""
    if conversation.server.receipt is not None:
        await conversation.stored()
        return
    await conversation.ready()
    ends = len(conversation.server.ends)
    await conversation.take()
    if len(conversation.server.ends) > ends:
        await conversation.stored()


@asynccontextmanager
async def scripted() -> AsyncIterator[Scripted]:
    """A scripted server on a free port of the loopback interface."""
    server = Scripted()
    async with serving(server.application()) as server.port:
        server.url = f"http://127.0.0.1:{server.port}"
        yield server


async def for_ever() -> None:
    """Wait for what never comes."""
    await asyncio.Event().wait()
