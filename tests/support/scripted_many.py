"""A server of many files on one socket that keeps the contract of tokens, and breaks off where a test says so."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web

from tests.support.loopback import serving


class ManyServer:
    """Stores each token once; `stored` has what was asked for, with the bytes, in the order of storing."""

    def __init__(self) -> None:
        self.url = ""
        self.stored: dict[str, tuple[dict[str, Any], bytes]] = {}
        self.opened: set[str] = set()  # tokens of uploads that were begun and are not stored
        self.cancelled: list[str] = []
        self.sockets = 0
        self.creates = 0  # requests, over all sockets
        self.mute = 0  # on so many sockets, from the first on, no answer comes through
        self.cut_at: list[int] = []  # numbers of requests at which the socket is cut
        self.errors: dict[str, tuple[int, str]] = {}  # by name: said after `ready`
        self.superseded: set[str] = set()  # names that another socket has taken, once, when they come to their end
        self.refusals: dict[str, tuple[int, str]] = {}  # by name: said instead of `ready`

    def application(self) -> web.Application:
        """The routes of the contract."""
        application = web.Application()
        application.router.add_get("/upload", self._serve)
        application.router.add_delete("/upload/{token}", self._cancel)
        return application

    async def _cancel(self, request: web.Request) -> web.Response:
        self.cancelled.append(request.match_info["token"])
        self.opened.discard(request.match_info["token"])
        return web.Response(status=204)

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0, compress=False, protocols=("upload.v1",))
        await socket.prepare(request)
        self.sockets += 1
        await _Serving(self, request, socket, mute=self.sockets <= self.mute).run()
        return socket


class _Serving:
    """One socket."""

    def __init__(self, server: ManyServer, request: web.Request, socket: web.WebSocketResponse, *, mute: bool) -> None:
        self._server = server
        self._request = request
        self._socket = socket
        self._mute = mute
        self._current: dict[str, Any] | None = None
        self._data = b""

    async def run(self) -> None:
        """Until the client leaves, or the test says so."""
        async for message in self._socket:
            if message.type is WSMsgType.BINARY:
                self._data += message.data
                continue
            said = json.loads(message.data)
            if said["type"] == "create":
                self._server.creates += 1
                if self._server.creates in self._server.cut_at:
                    assert self._request.transport is not None
                    self._request.transport.abort()
                    return
                await self._create(said)
            elif self._current is not None:
                await self._end()

    async def _create(self, asked: dict[str, Any]) -> None:
        self._current, self._data = None, b""
        token = asked["token"]
        if asked["name"] in self._server.refusals:
            await self._fail(token, *self._server.refusals[asked["name"]])
        elif token not in self._server.stored:
            self._current = asked
            self._server.opened.add(token)
            await self._say(type="ready", token=token, name=asked["name"], offset=0, size=asked["size"], sha256=None,
                            message_size=1, window=1)  # fmt: skip
        elif self._server.stored[token][0] == asked:
            await self._stored(token)
        else:
            await self._fail(token, 409, "token_conflict")

    async def _end(self) -> None:
        asked, self._current = self._current, None
        assert asked is not None
        token = asked["token"]
        assert hashlib.sha256(self._data).hexdigest() == asked["sha256"]
        if asked["name"] in self._server.errors:
            await self._fail(token, *self._server.errors[asked["name"]])
            return
        if asked["name"] in self._server.superseded:
            self._server.superseded.discard(asked["name"])
            await self._fail(token, 409, "superseded")
            return
        self._server.stored[token] = asked, self._data
        self._server.opened.discard(token)
        await self._stored(token)

    async def _stored(self, token: str) -> None:
        asked = self._server.stored[token][0]
        await self._say(type="stored", token=token, name=asked["name"], size=asked["size"], sha256=asked["sha256"])

    async def _fail(self, token: str, status: int, code: str) -> None:
        await self._say(type="error", token=token, status=status, code=code, detail=f"because: {code}")

    async def _say(self, **message: Any) -> None:
        if not self._mute:
            await self._socket.send_str(json.dumps(message))


@asynccontextmanager
async def many_server() -> AsyncIterator[ManyServer]:
    """One on a free port of the loopback interface."""
    server = ManyServer()
    async with serving(server.application()) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server
