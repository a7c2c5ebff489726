"""HTTP/1.1 and WebSocket over blocking sockets, no more than the measuring client needs."""

import base64
import os
import socket
import ssl
import struct
from collections.abc import Iterator, Mapping
from typing import Final

import numpy

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
LIMIT: Final = 120  # seconds to wait for any answer
_CHUNK: Final = 64 * 1024


def header(opcode: int, length: int, key: bytes, *, fin: bool = True) -> bytes:
    """The header of a client's frame (RFC 6455, 5.2)."""
    first = (0x80 if fin else 0) | opcode
    if length < 126:
        return struct.pack("!BB", first, 0x80 | length) + key
    if length < 65536:
        return struct.pack("!BBH", first, 0xFE, length) + key
    return struct.pack("!BBQ", first, 0xFF, length) + key


def masked(payload: "numpy.ndarray[tuple[int], numpy.dtype[numpy.uint8]]", key: bytes) -> bytes:
    """The payload under a masking key (RFC 6455, 5.3)."""
    padded = numpy.zeros(-(-payload.size // 4), dtype=numpy.uint32)
    octets = padded.view(numpy.uint8)[: payload.size]
    octets[:] = payload
    numpy.bitwise_xor(padded, numpy.frombuffer(key, dtype=numpy.uint32), out=padded)
    return octets.tobytes()


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole frame of a client, under a random key."""
    key = os.urandom(4)
    return header(opcode, len(payload), key) + masked(numpy.frombuffer(payload, dtype=numpy.uint8), key)


def close_frame(code: int = 1000) -> bytes:
    """A client's Close frame."""
    return frame(CLOSE, struct.pack("!H", code))


class Link:
    """One TCP connection to a server on this machine, over TLS where a context is given."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", port))
        # The kernel's own limits: with Python's the descriptor would not block, and sendfile would have to be polled.
        for limit in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.socket.setsockopt(socket.SOL_SOCKET, limit, struct.pack("ll", LIMIT, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self._read = bytearray()

    def close(self) -> None:
        """Let go of it."""
        self.socket.close()

    # -- reading

    def _more(self) -> None:
        data = self.socket.recv(_CHUNK)
        if not data:
            raise ConnectionError(f"the server has left; unread: {bytes(self._read[:200])!r}")
        self._read += data

    def _take(self, size: int) -> bytes:
        while len(self._read) < size:
            self._more()
        taken = bytes(self._read[:size])
        del self._read[:size]
        return taken

    def drain(self) -> None:
        """Read what is there, and do not wait for more. Only for links without TLS."""
        try:
            data = self.socket.recv(_CHUNK, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError(f"the server has left; unread: {bytes(self._read[:200])!r}")
        self._read += data

    # -- HTTP

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Send the head of a request, and a body if it is a short one."""
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: localhost",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def response(self, *expected: int) -> tuple[dict[str, str], bytes]:
        """Headers, with names in lower case, and body of the next answer. Raises ConnectionError for another status."""
        first, *lines = self._until(b"\r\n\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self._take(int(headers.get("content-length", "0")))
        if int(first.split()[1]) not in expected:
            raise ConnectionError(f"{first}: {body[:200]!r}")
        return headers, body

    def _until(self, end: bytes) -> str:
        while (place := self._read.find(end)) < 0:
            self._more()
        return self._take(place + len(end))[: -len(end)].decode("latin-1")

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._until(b"\r\n"), 16):
            yield self._take(size + 2)[:-2]
        self._until(b"\r\n")

    # -- WebSocket

    def upgrade(self, path: str) -> None:
        """The opening handshake."""
        key = base64.b64encode(os.urandom(16)).decode()
        self.request("GET", path, {
            "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13",
        })  # fmt: skip
        self.response(101)

    def receive(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame that is no ping; servers here send every message in one."""
        while True:
            first, second = self._take(2)
            length = second & 0x7F
            if length >= 126:
                length = int.from_bytes(self._take(2 if length == 126 else 8), "big")
            payload = self._take(length)
            if first & 0x0F != PING:
                return first & 0x0F, payload
            self.socket.sendall(frame(PONG, payload))

    def until_close(self) -> int:
        """Read to the server's Close frame; its code."""
        while True:
            opcode, payload = self.receive()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big") if payload else 1005
