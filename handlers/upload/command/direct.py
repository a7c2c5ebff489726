"""Sending past aiohttp, by a descriptor of our own.

aiohttp and asyncio copy what they send three times, at 1.4 CPU seconds a GiB; this copies it once, when it is
masked, and takes 0.3. It is the command's and not the library's, because it shares a socket with aiohttp without
aiohttp's knowledge.
"""

import asyncio
import os
import socket
from contextlib import suppress

import aiohttp

from jackfield.handlers.upload.client.connection import Connection
from jackfield.handlers.upload.client.failures import Lost, write_timed_out
from jackfield.handlers.upload.command.frames import BINARY, PING, PONG, TEXT, BulkFrames, frame

LONGEST = 1024 * 1024  # bytes of a message that `Direct` makes
_SHARE = 8  # of such messages are in a window at least, so that acknowledgements come before it is full
_SHORT = 64 * 1024  # bytes; fewer are put together with what stands before and behind them


def connect(opened: aiohttp.ClientWebSocketResponse, limit: float) -> Connection:
    """Return what suits the socket; see `client.connection.Connect`. What is encrypted goes through aiohttp."""
    sock = opened.get_extra_info("socket")
    if sock is None or opened.get_extra_info("ssl_object") is not None:
        return Connection(opened, limit)
    return Direct(opened, limit, socket.socket(fileno=os.dup(sock.fileno())))


class Direct(Connection):
    """Makes its frames itself and gives them to the kernel, of whose socket it has a descriptor of its own.

    Frames go out one behind the other, and nothing ever follows a part of one: then the connection is cut,
    or bytes of the next frame would be taken for bytes of the file. So aiohttp only receives, and sends the
    Close frame.
    """

    def __init__(self, opened: aiohttp.ClientWebSocketResponse, limit: float, sock: socket.socket) -> None:
        super().__init__(opened, limit)
        sock.setblocking(False)
        self._sock = sock
        self._turn = asyncio.Lock()
        self._owed = b""  # the pong for the last ping
        self._answering: asyncio.Task[None] | None = None
        self._bulk: BulkFrames | None = None

    def message_size(self, liked: int, window: int) -> int:
        """See `Connection`. Longer ones than most clients' are easier on both sides."""
        return min(max(liked, window // _SHARE), window, LONGEST)

    async def send_text(self, text: str) -> None:
        """See `Connection`."""
        await self._out(frame(TEXT, text.encode()))

    async def send(self, data: memoryview) -> None:
        """See `Connection`. A message has at most `LONGEST` bytes."""
        if len(data) <= _SHORT:
            await self._out(frame(BINARY, data))
            return
        if self._bulk is None:
            self._bulk = BulkFrames(LONGEST)
        await self._out(self._bulk.frame(data))

    async def send_file(self, data: bytes, *, begin: str, end: str) -> None:
        """See `Connection`. The frames of a short file go to the kernel together."""
        if len(data) > _SHORT:
            await super().send_file(data, begin=begin, end=end)
            return
        content = frame(BINARY, data) if data else b""
        await self._out(frame(TEXT, begin.encode()) + content + frame(TEXT, end.encode()))

    async def ping(self) -> None:
        """See `Connection`."""
        await self._out(frame(PING, b""))

    async def pong(self, data: bytes) -> None:
        """See `Connection`. Does not wait for its turn to send: the caller has to go on receiving."""
        self._owed = frame(PONG, data)
        if self._answering is None or self._answering.done():
            self._answering = asyncio.create_task(self._answer())

    async def _answer(self) -> None:
        with suppress(ConnectionError, Lost):
            while owed := self._owed:
                self._owed = b""
                await self._out(owed)

    async def close(self) -> None:
        """See `Connection`."""
        try:
            if self._answering is not None:
                self._answering.cancel()
                await asyncio.wait({self._answering})
            await super().close()
        finally:
            self._sock.close()

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
            return self._sock.send(rest)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise ConnectionResetError(str(error)) from error

    async def _writable(self) -> None:
        """Wait until the kernel takes more."""
        loop = asyncio.get_running_loop()
        writable = asyncio.Event()
        loop.add_writer(self._sock, writable.set)
        try:
            async with asyncio.timeout(self._limit):
                await writable.wait()
        except TimeoutError:
            raise write_timed_out(self._limit) from None
        finally:
            loop.remove_writer(self._sock)

    def _cut(self) -> None:
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
