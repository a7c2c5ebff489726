"""One socket to the service as an upload uses it: words and bytes go out, messages come in."""

import asyncio
import json
import os
import socket
from contextlib import suppress
from typing import Any

import aiohttp

from handlers.upload.client.failures import Lost
from handlers.upload.client.frames import BINARY, PING, PONG, TEXT, BulkFrames, frame

CLOSING = 2.0  # seconds for the closing handshake; by then the outcome is known
_FEW = 64 * 1024  # bytes that are masked sooner than numpy is imported
_STEP = 256 * 1024  # bytes that the service takes within `limit`, or the connection counts as dead


def connection(opened: aiohttp.ClientWebSocketResponse, limit: float) -> "Connection":
    """What suits the socket. It counts as dead when nothing of a message is taken for `limit` seconds."""
    plug = opened.get_extra_info("socket")
    if plug is None or opened.get_extra_info("ssl_object") is not None:
        return Connection(opened, limit)
    return Direct(opened, limit, socket.socket(fileno=os.dup(plug.fileno())))


class Connection:
    """Sends through aiohttp: the way for a connection that is encrypted."""

    longest = 0  # bytes of a message that work best here, however short a message the service likes best

    def __init__(self, opened: aiohttp.ClientWebSocketResponse, limit: float) -> None:
        self._opened = opened
        self._limit = limit

    @property
    def close_code(self) -> int:
        """How it ended; 1006 where no Close frame came."""
        return self._opened.close_code or 1006

    async def receive(self) -> aiohttp.WSMessage:
        """Return the next message, ping and pong too; at the end one that says so."""
        return await self._opened.receive()

    async def say(self, **message: Any) -> None:
        """Send one message of the protocol. Raises ConnectionError, here as below, when there is no link any more."""
        await self._opened.send_str(json.dumps(message))

    async def send(self, data: memoryview) -> None:
        """Send bytes, in one message. Raises Lost when nothing of it is taken for too long."""
        try:
            async with asyncio.timeout(self._limit):
                await self._opened.send_bytes(data)  # type: ignore[arg-type] # any buffer will do
        except TimeoutError:
            raise self._stuck() from None

    async def ping(self) -> None:
        """Ask for a sign of life."""
        await self._opened.ping()

    async def pong(self, data: bytes) -> None:
        """Give one."""
        await self._opened.pong(data)

    async def leave(self) -> None:
        """Close politely, but never wait for a peer that takes nothing: then cut the connection."""
        plug = self._opened.get_extra_info("socket")
        try:
            async with asyncio.timeout(CLOSING):
                await self._opened.close()
        except TimeoutError:
            if plug is not None:
                with suppress(OSError):
                    plug.shutdown(socket.SHUT_RDWR)

    def _stuck(self) -> Lost:
        return Lost(f"no bytes were taken for {self._limit:g} s")


class Direct(Connection):
    """Makes its frames itself and gives them to the kernel, of whose socket it has a descriptor of its own.

    aiohttp and asyncio copy what they send three times, at 1.4 CPU seconds a GiB; this copies it once, when it is
    masked, and takes 0.3. Frames go out one after the other. aiohttp receives, and closes: its Close
    frame is the only one that it sends, and never inside one of ours.
    """

    longest = 1024 * 1024

    def __init__(self, opened: aiohttp.ClientWebSocketResponse, limit: float, plug: socket.socket) -> None:
        super().__init__(opened, limit)
        plug.setblocking(False)
        self._plug = plug
        self._turn = asyncio.Lock()
        self._unfinished = False  # a part of a frame has gone out, and the rest has not
        self._bulk: BulkFrames | None = None

    async def say(self, **message: Any) -> None:
        """See `Connection`."""
        await self._out(frame(TEXT, json.dumps(message).encode()))

    async def send(self, data: memoryview) -> None:
        """See `Connection`. A message has at most `longest` bytes."""
        if len(data) <= _FEW:
            await self._out(frame(BINARY, data))
            return
        if self._bulk is None:
            self._bulk = await asyncio.to_thread(BulkFrames, self.longest)
        await self._out(self._bulk.frame(data))

    async def ping(self) -> None:
        """See `Connection`."""
        await self._out(frame(PING, b""))

    async def pong(self, data: bytes) -> None:
        """See `Connection`."""
        await self._out(frame(PONG, data))

    async def leave(self) -> None:
        """See `Connection`. A Close frame inside another one would be taken for bytes of the file."""
        if self._unfinished:
            with suppress(OSError):
                self._plug.shutdown(socket.SHUT_RDWR)
        try:
            await super().leave()
        finally:
            self._plug.close()

    async def _out(self, whole: bytes | memoryview) -> None:
        """Give a frame to the kernel."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            self._unfinished = True
            for start in range(0, len(whole), _STEP):
                try:
                    async with asyncio.timeout(self._limit):
                        await loop.sock_sendall(self._plug, whole[start : start + _STEP])
                except TimeoutError:
                    raise self._stuck() from None
                except OSError as error:
                    raise ConnectionResetError(str(error)) from error
            self._unfinished = False
