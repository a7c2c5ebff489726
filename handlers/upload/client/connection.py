"""One socket to the service as an upload uses it: words and bytes go out, messages come in."""

import asyncio
import json
import os
import socket
from contextlib import suppress
from typing import Any

import aiohttp

from jackfield.handlers.upload.client.failures import Lost, stuck
from jackfield.handlers.upload.client.frames import BINARY, PING, PONG, TEXT, BulkFrames, frame

CLOSING = 2.0  # seconds for the closing handshake; by then the outcome is known
LONGEST = 1024 * 1024  # bytes of a message that `Direct` makes
_SHARE = 8  # of such messages are in a window at least, so that acknowledgements come before it is full
_SHORT = 64 * 1024  # bytes; fewer are put together with what stands before and behind them


def connection(opened: aiohttp.ClientWebSocketResponse, limit: float) -> "Connection":
    """What suits the socket. It counts as dead when nothing of a message is taken for `limit` seconds."""
    plug = opened.get_extra_info("socket")
    if plug is None or opened.get_extra_info("ssl_object") is not None:
        return Connection(opened, limit)
    return Direct(opened, limit, socket.socket(fileno=os.dup(plug.fileno())))


class Connection:
    """Sends through aiohttp: the way for a connection that is encrypted."""

    def __init__(self, opened: aiohttp.ClientWebSocketResponse, limit: float) -> None:
        self._opened = opened
        self._limit = limit

    @property
    def close_code(self) -> int:
        """How it ended; 1006 where no Close frame came."""
        return self._opened.close_code or 1006

    def message_size(self, liked: int, window: int) -> int:
        """How many bytes a message had best have, where the service likes messages of `liked` bytes."""
        return min(liked, window)

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
            raise stuck(self._limit) from None

    async def send_file(self, data: bytes, *, begin: dict[str, Any], end: dict[str, Any]) -> None:
        """Send a whole file with the words before and behind it; as `say` and `send`."""
        await self.say(**begin)
        if data:
            await self.send(memoryview(data))
        await self.say(**end)

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


class Direct(Connection):
    """Makes its frames itself and gives them to the kernel, of whose socket it has a descriptor of its own.

    aiohttp and asyncio copy what they send three times, at 1.4 CPU seconds a GiB; this copies it once, when it is
    masked, and takes 0.3. Frames go out one behind the other, and nothing ever follows a part of one: then the
    connection is cut, or bytes of the next frame would be taken for bytes of the file. So aiohttp only
    receives, and sends the Close frame.
    """

    def __init__(self, opened: aiohttp.ClientWebSocketResponse, limit: float, plug: socket.socket) -> None:
        super().__init__(opened, limit)
        plug.setblocking(False)
        self._plug = plug
        self._turn = asyncio.Lock()
        self._owed = b""  # the pong for the last ping
        self._answering: asyncio.Task[None] | None = None
        self._bulk: BulkFrames | None = None

    def message_size(self, liked: int, window: int) -> int:
        """See `Connection`. Longer ones than most clients' are easier on both sides."""
        return min(max(liked, window // _SHARE), window, LONGEST)

    async def say(self, **message: Any) -> None:
        """See `Connection`."""
        await self._out(_words(message))

    async def send(self, data: memoryview) -> None:
        """See `Connection`. A message has at most `LONGEST` bytes."""
        if len(data) <= _SHORT:
            await self._out(frame(BINARY, data))
            return
        if self._bulk is None:
            self._bulk = BulkFrames(LONGEST)
        await self._out(self._bulk.frame(data))

    async def send_file(self, data: bytes, *, begin: dict[str, Any], end: dict[str, Any]) -> None:
        """See `Connection`. The frames of a short file go to the kernel together."""
        if len(data) > _SHORT:
            await super().send_file(data, begin=begin, end=end)
            return
        content = frame(BINARY, data) if data else b""
        await self._out(_words(begin) + content + _words(end))

    async def ping(self) -> None:
        """See `Connection`."""
        await self._out(frame(PING, b""))

    async def pong(self, data: bytes) -> None:
        """See `Connection`. Nobody waits until it is its turn: who hears has to go on hearing."""
        self._owed = frame(PONG, data)
        if self._answering is None or self._answering.done():
            self._answering = asyncio.create_task(self._answer())

    async def _answer(self) -> None:
        with suppress(ConnectionError, Lost):
            while owed := self._owed:
                self._owed = b""
                await self._out(owed)

    async def leave(self) -> None:
        """See `Connection`."""
        try:
            if self._answering is not None:
                self._answering.cancel()
                await asyncio.wait({self._answering})
            await super().leave()
        finally:
            self._plug.close()

    async def _out(self, whole: bytes | memoryview) -> None:
        """Give a frame to the kernel, as much at a time as it takes."""
        rest = memoryview(whole)
        async with self._turn:
            try:
                while rest := rest[self._given(rest) :]:
                    await self._writable()
            except BaseException:
                if len(rest) < len(whole):
                    self._cut()
                raise

    def _given(self, rest: memoryview) -> int:
        try:
            return self._plug.send(rest)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise ConnectionResetError(str(error)) from error

    async def _writable(self) -> None:
        """Wait until the kernel takes more."""
        loop = asyncio.get_running_loop()
        writable = asyncio.Event()
        loop.add_writer(self._plug, writable.set)
        try:
            async with asyncio.timeout(self._limit):
                await writable.wait()
        except TimeoutError:
            raise stuck(self._limit) from None
        finally:
            loop.remove_writer(self._plug)

    def _cut(self) -> None:
        with suppress(OSError):
            self._plug.shutdown(socket.SHUT_RDWR)


def _words(message: dict[str, Any]) -> bytes:
    return frame(TEXT, json.dumps(message).encode())
