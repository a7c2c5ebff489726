"""A client for tests that says every byte itself, so that it can do what a good one never does."""

import asyncio
import base64
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

_FIN: Final = 0x80
_MASKED: Final = 0x80
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_NO_KEY: Final = bytes(4)  # under a key of zeros the payload is its own mask
_LIMIT: Final = 10.0  # seconds that the service may take to answer


@dataclass(frozen=True, slots=True)
class Closed:
    """How the service ended the socket: the code of its Close frame, 1005 without one, 1006 for a lost link."""

    code: int
    reason: str = ""


class RawClient:
    """One socket. It reads, and answers pings, only inside `receive` and `closed`: without these it does not read.

    Whatever is sent after `cut_after` bytes is lost, and the link is dropped there.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut_after: int | None) -> None:
        self._reader = reader
        self._writer = writer
        self._left = cut_after  # bytes that still come through; None: all
        self._message = b""  # the fragments that have come

    async def send(self, message: str | bytes) -> None:
        """One message in one frame."""
        await self._write(_frame(message))

    async def send_part(self, message: str | bytes, size: int) -> None:
        """The first `size` bytes of the frame of a message, its header among them; `send_raw` may go on."""
        await self._write(_frame(message)[:size])

    async def send_raw(self, data: bytes) -> None:
        """Bytes as they are."""
        await self._write(data)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """A Close frame; `closed` is the service's answer."""
        await self._write(_masked(_CLOSE, code.to_bytes(2, "big") + reason.encode()))

    def drop(self) -> None:
        """End the link without a Close frame: a FIN, if the service has sent nothing that was not read."""
        self._writer.close()

    def reset(self) -> None:
        """End it by an RST: what was sent and not read there may be lost."""
        raw: socket.socket = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def receive(self, timeout: float = _LIMIT) -> str | bytes | Closed:
        """The next message, or how the service has ended the socket. Raises TimeoutError after so many seconds."""
        async with asyncio.timeout(timeout):
            try:
                return await self._receive()
            except (OSError, asyncio.IncompleteReadError):
                return Closed(1006)

    async def closed(self, timeout: float = _LIMIT) -> Closed:
        """How the service ends the socket; messages before that are passed over."""
        async with asyncio.timeout(timeout):
            while not isinstance(found := await self.receive(timeout), Closed):
                pass
        return found

    async def _receive(self) -> str | bytes | Closed:
        kind = 0
        while True:
            first, second = await self._reader.readexactly(2)
            length = second & 0x7F
            if length > 125:
                length = int.from_bytes(await self._reader.readexactly(2 if length == 126 else 8), "big")
            payload = await self._reader.readexactly(length)
            opcode = first & 0x0F
            if opcode == _CLOSE:
                return Closed(int.from_bytes(payload[:2], "big") if payload else 1005, payload[2:].decode())
            if opcode == _PING:
                await self._write(_masked(_PONG, payload))
            elif opcode != _PONG:
                kind = opcode or kind
                self._message += payload
                if first & _FIN:
                    message, self._message = self._message, b""
                    return message.decode() if kind == _TEXT else message

    async def _write(self, data: bytes) -> None:
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        self._writer.write(data)
        with contextlib.suppress(ConnectionError):  # the service has left: `receive` says how
            await self._writer.drain()
        if self._left == 0:
            self.drop()

    async def shake_hands(self, host: str, path: str) -> None:
        """The opening handshake. Raises ConnectionError for any answer but 101."""
        key = base64.b64encode(os.urandom(16)).decode()
        self._writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        async with asyncio.timeout(_LIMIT):
            status, *_ = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
        if status.split()[1] != "101":
            raise ConnectionError(f"{path} was answered {status.partition(' ')[2]}")


@asynccontextmanager
async def connect(port: int, path: str, receive_buffer: int, cut_after: int | None) -> AsyncIterator[RawClient]:
    """A client whose kernel takes about `receive_buffer` bytes that it has not read; its link ends with the block."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    raw.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    except OSError:
        raw.close()
        raise
    reader, writer = await asyncio.open_connection(sock=raw)
    try:
        client = RawClient(reader, writer, None)
        await client.shake_hands(f"127.0.0.1:{port}", path)
        client._left = cut_after
        yield client
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _frame(message: str | bytes) -> bytes:
    return _masked(_TEXT, message.encode()) if isinstance(message, str) else _masked(_BINARY, message)


def _masked(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        length = bytes([_MASKED | size])
    elif size < 2**16:
        length = bytes([_MASKED | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([_MASKED | 127]) + size.to_bytes(8, "big")
    return bytes([_FIN | opcode]) + length + _NO_KEY + payload
