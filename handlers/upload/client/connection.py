"""One socket to the service as an upload uses it: texts and bytes go out, messages come in."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

import aiohttp

from jackfield.handlers.upload.client.failures import write_timed_out

CLOSING = 2.0  # seconds for the closing handshake; by then the outcome is known


class Connection:
    """Sends through aiohttp. It counts as dead when nothing of a message is taken for `limit` seconds."""

    def __init__(self, opened: aiohttp.ClientWebSocketResponse, limit: float) -> None:
        self._opened = opened
        self._limit = limit

    @property
    def close_code(self) -> int:
        """How it ended; 1006 where no Close frame came."""
        return self._opened.close_code or 1006

    def message_size(self, liked: int, window: int) -> int:
        """Bytes a message should have, where the service prefers `liked`."""
        return min(liked, window)

    async def receive(self) -> aiohttp.WSMessage:
        """Return the next message, ping and pong too; at the end one that says so."""
        return await self._opened.receive()

    async def send_text(self, text: str) -> None:
        """Send a text message. Raises ConnectionError, here as below, when there is no link any more."""
        await self._opened.send_str(text)

    async def send(self, data: memoryview) -> None:
        """Send bytes, in one message. Raises Lost when nothing of it is taken for too long."""
        try:
            async with asyncio.timeout(self._limit):
                await self._opened.send_bytes(data)  # type: ignore[arg-type] # any buffer will do
        except TimeoutError:
            raise write_timed_out(self._limit) from None

    async def send_file(self, data: bytes, *, begin: str, end: str) -> None:
        """Send a whole file with the texts before and behind it; as `send_text` and `send`."""
        await self.send_text(begin)
        if data:
            await self.send(memoryview(data))
        await self.send_text(end)

    async def ping(self) -> None:
        """Send a ping."""
        await self._opened.ping()

    async def pong(self, data: bytes) -> None:
        """Answer a ping."""
        await self._opened.pong(data)

    async def close(self) -> None:
        """Do the closing handshake; cut the connection if the peer does not read."""
        sock = self._opened.get_extra_info("socket")
        try:
            async with asyncio.timeout(CLOSING):
                await self._opened.close()
        except TimeoutError:
            if sock is not None:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


Connect = Callable[[aiohttp.ClientWebSocketResponse, float], Connection]
"""Makes of an opened socket, and seconds after which one that takes nothing is dead, what an upload uses."""
