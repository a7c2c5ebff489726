"""One HTTP request bit by bit, on a connection of its own, and every answer to it, those before the last too."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.outsider import Outsider
from tests.support.rawsocket import DEADLINE, RawSocket


@dataclass(frozen=True)
class Answered:
    """One answer on a bare connection; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code word of its problem document."""
        assert self.headers["content-type"].startswith("application/problem+json"), self
        return str(json.loads(self.body)["code"])


async def answer(opened: RawSocket, deadline: float = DEADLINE, *, method: str = "") -> Answered:
    """The next answer on it, 1xx too; `method` is the request's, where it was HEAD."""
    async with asyncio.timeout(deadline):
        head = await opened.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        bare = status < 200 or status == 204 or method == "HEAD"
        body = await opened.reader.readexactly(0 if bare else int(headers.get("content-length", "0")))
    return Answered(status, headers, body)


class RawRequest:
    """Make it with `begin`; then `send` bytes of the body, `drop` the link, or read what is `said`."""

    def __init__(self, socket: RawSocket, method: str) -> None:
        self.socket = socket
        self._method = method

    @classmethod
    async def begin(
        cls, client: Outsider, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> "RawRequest":
        """Send the head, and these first bytes of the body."""
        socket = await client.tcp()
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{client.service.port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        await socket.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return cls(socket, method)

    async def send(self, data: bytes) -> None:
        """More of the body, read by the service when this returns."""
        await self.socket.send(data)
        await self.socket.delivered()

    def drop(self) -> None:
        """The link is gone."""
        self.socket.drop()

    async def said(self) -> Answered:
        """The next answer, an interim one too."""
        return await answer(self.socket, method=self._method)

    async def answer(self) -> Answered:
        """The final answer."""
        while (said := await self.said()).status < 200:
            pass
        return said
