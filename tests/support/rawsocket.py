"""A WebSocket client with nothing in between: every bit on the wire is the test's own.

What the service sends is held to RFC 6455 as it is read: unmasked, no reserved bits, control frames whole
and short, reasons in UTF-8.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Self

DEADLINE = 30.0  # seconds to wait for anything the service must say
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Opcode(IntEnum):
    """RFC 6455, 5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it was read."""

    opcode: int
    payload: bytes
    fin: bool = True


@dataclass(frozen=True, slots=True)
class Closed:
    """The service's Close frame; code 1005 stands for one without a code."""

    code: int
    reason: str = ""


@dataclass
class Refusal(Exception):
    """The answer to a handshake that was not 101. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def code(self) -> str:
        """The code word of its problem document."""
        assert self.headers["content-type"].startswith("application/problem+json"), self.headers
        return str(json.loads(self.body)["code"])


def mask(payload: bytes, key: bytes) -> bytes:
    """The payload under a masking key (RFC 6455, 5.3)."""
    if not any(key) or not payload:
        return payload
    stream = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(payload), "big")


def header(opcode: int, length: int, *, fin: bool = True, rsv: int = 0, key: bytes | None, form: int = 0) -> bytes:
    """A frame's header; `form` forces a length of 7, 16 or 64 bits, 0 takes the shortest."""
    form = form or (7 if length < 126 else 16 if length < 65536 else 64)
    masked = 0x80 if key is not None else 0
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    tail = key or b""
    if form == 7:
        return bytes([first, masked | length]) + tail
    if form == 16:
        return struct.pack("!BBH", first, masked | 126, length) + tail
    return struct.pack("!BBQ", first, masked | 127, length) + tail


def frame(opcode: int, payload: bytes = b"", *, masked: bool = True, **bits: Any) -> bytes:
    """A whole frame; `bits` as in `header`. The masking key is random."""
    key = os.urandom(4) if masked else None
    return header(opcode, len(payload), key=key, **bits) + (mask(payload, key) if key else payload)


def fragments(opcode: int, parts: Iterable[bytes]) -> list[bytes]:
    """One message in as many frames as there are parts."""
    pieces = list(parts)
    last = len(pieces) - 1
    return [
        frame(opcode if number == 0 else Opcode.CONTINUATION, piece, fin=number == last)
        for number, piece in enumerate(pieces)
    ]


def close_payload(code: int, reason: bytes = b"") -> bytes:
    """What a Close frame with this code carries."""
    return struct.pack("!H", code) + reason


class RawSocket:
    """A TCP connection to the service on which a test speaks WebSocket. Create it with `connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.headers: dict[str, str] = {}  # the handshake's answer, names in lower case
        self._half_closed = False  # we have sent our FIN
        self._socket: socket.socket = writer.get_extra_info("socket")
        self._ours: tuple[str, int] = self._socket.getsockname()
        # A service that was killed meanwhile has no name any more; then the first word to it fails.
        self._theirs: tuple[str, int] = writer.get_extra_info("peername") or ("127.0.0.1", 0)

    @classmethod
    async def connect(cls, port: int, *, receive_buffer: int = 0) -> Self:
        """Open the TCP connection only; `receive_buffer` bytes bound what the kernel takes for us."""
        raw = socket.socket()
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        except OSError:
            raw.close()
            raise
        return cls(*await asyncio.open_connection(sock=raw, limit=2**16))

    async def upgrade(
        self, path: str, headers: Mapping[str, str | None] | None = None, version: str = "HTTP/1.1"
    ) -> Self:
        """Shake hands. A header given as None is left out. Raises `Refusal` for any answer but 101."""
        key = base64.b64encode(os.urandom(16)).decode()
        wanted: dict[str, str | None] = {
            "Host": f"127.0.0.1:{self._theirs[1]}", "Upgrade": "websocket", "Connection": "Upgrade",
            "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13", **(headers or {}),
        }  # fmt: skip
        lines = [
            f"GET {path} {version}",
            *(f"{name}: {value}" for name, value in wanted.items() if value is not None),
        ]
        self.write("\r\n".join([*lines, "", ""]).encode())
        status = await self._answer()
        if status != 101:
            length = int(self.headers.get("content-length", "0"))
            async with asyncio.timeout(DEADLINE):
                raise Refusal(status, self.headers, await self.reader.readexactly(length))
        proof = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
        assert self.headers["sec-websocket-accept"] == proof
        return self

    async def _answer(self) -> int:
        async with asyncio.timeout(DEADLINE):
            head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first.split()[1])

    # --- sending -------------------------------------------------------------------------------------

    def write(self, data: bytes | memoryview) -> None:
        """Put bytes on the wire as they are."""
        self.writer.write(data)

    async def send(self, data: bytes | memoryview) -> None:
        """The same, and wait while the service is slow to take them."""
        self.writer.write(data)
        await self.writer.drain()

    async def text(self, text: str) -> None:
        """One text message in one frame."""
        await self.send(frame(Opcode.TEXT, text.encode()))

    async def json(self, **members: Any) -> None:
        """One JSON object as a text message."""
        await self.text(json.dumps(members))

    async def binary(self, payload: bytes) -> None:
        """One binary message in one frame."""
        await self.send(frame(Opcode.BINARY, payload))

    async def close(self, code: int | None = 1000, reason: bytes = b"") -> None:
        """A Close frame; None for one without a code."""
        await self.send(frame(Opcode.CLOSE, close_payload(code, reason) if code is not None else b""))

    async def dribble(self, pieces: Iterable[bytes]) -> None:
        """Each piece in a segment of its own, sent only once the service has read the one before."""
        for piece in pieces:
            self.write(piece)
            await self.delivered()

    async def delivered(self) -> None:
        """Wait until the service's process has read every byte that was sent."""
        async with asyncio.timeout(DEADLINE):
            while self._transport.get_write_buffer_size() or self._in_kernel():
                await asyncio.sleep(0.001)

    def _in_kernel(self) -> int:
        """Bytes sent and not yet read by the service, as the kernel counts them in both its queues."""
        ends = {(self._ours[1], self._theirs[1]): 0, (self._theirs[1], self._ours[1]): 1}
        waiting = 0
        for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
            local, remote, _, queues = line.split()[1:5]
            ports = int(local.rpartition(":")[2], 16), int(remote.rpartition(":")[2], 16)
            if ports in ends:
                waiting += int(queues.split(":")[ends[ports]], 16)
        return waiting

    # --- going away ----------------------------------------------------------------------------------

    @property
    def _transport(self) -> asyncio.WriteTransport:
        return self.writer.transport

    def half_close(self) -> None:
        """FIN: no more bytes from us, and we go on reading."""
        self._half_closed = True
        self.writer.write_eof()

    def drop(self) -> None:
        """Close TCP without a Close frame."""
        self._transport.abort()

    def reset(self) -> None:
        """RST instead of FIN."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def dispose(self) -> None:
        """Let go of everything, whatever state it is in."""
        self._transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    # --- reading -------------------------------------------------------------------------------------

    async def frame(self, deadline: float = DEADLINE) -> Frame:
        """The next frame; raises IncompleteReadError or ConnectionError where the link has ended."""
        async with asyncio.timeout(deadline):
            first, second = await self.reader.readexactly(2)
            assert first & 0x70 == 0, "reserved bits from the service"
            assert second & 0x80 == 0, "a masked frame from the service"
            length = second & 0x7F
            if length > 125:
                length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8), "big")
            found = Frame(first & 0x0F, await self.reader.readexactly(length), bool(first & 0x80))
        assert found.opcode in set(Opcode), found
        assert found.opcode < Opcode.CLOSE or (found.fin and length <= 125), found
        return found

    async def next(self, deadline: float = DEADLINE) -> str | bytes | Closed:
        """The next message or Close; pings are answered and pongs passed over on the way."""
        message = b""
        kind = 0
        while True:
            found = await self.frame(deadline)
            if found.opcode == Opcode.CLOSE:
                return closed(found)
            if found.opcode == Opcode.PING:
                if not self._half_closed:
                    self.write(frame(Opcode.PONG, found.payload))
            elif found.opcode != Opcode.PONG:
                kind = found.opcode or kind
                message += found.payload
                if found.fin:
                    return message.decode() if kind == Opcode.TEXT else message

    async def closed(self, deadline: float = DEADLINE) -> Closed:
        """The Close that must come next, with no message before it."""
        found = await self.next(deadline)
        assert isinstance(found, Closed), found
        return found

    async def ended(self, deadline: float = DEADLINE) -> None:
        """Wait until the service has closed TCP, whatever it says before."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(deadline):
                while await self.reader.read(2**16):
                    pass


def closed(found: Frame) -> Closed:
    """What a Close frame says; its reason must be UTF-8."""
    if not found.payload:
        return Closed(1005)
    return Closed(int.from_bytes(found.payload[:2], "big"), found.payload[2:].decode())
