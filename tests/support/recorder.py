"""What a client sends on a socket, frame by frame, as it came out of the kernel."""

import asyncio
import hashlib
from typing import NamedTuple

from jackfield.app.socket.frames import BINARY, TEXT, parse_header, unmask
from tests.support.scripted import TOKEN, Conversation


class Sent(NamedTuple):
    """A frame: its payload is clear, and of the last one it is what has come so far."""

    opcode: int
    key: bytes
    payload: bytes


class Recorder(asyncio.Protocol):
    """Listens to a scripted conversation in the place of aiohttp, which goes on speaking.

    It reads nothing until it is told to `go_on`.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._data = bytearray()
        self._over = False
        self._news = asyncio.Event()
        self._transport = conversation.transport
        self._transport.pause_reading()
        self._transport.set_protocol(self)

    def go_on(self) -> None:
        """Read all that comes."""
        self._transport.resume_reading()

    async def taste(self) -> int:
        """Read a little, and return how many bytes have come in all."""
        self._news.clear()
        self._transport.resume_reading()
        await self._news.wait()
        self._transport.pause_reading()
        return len(self._data)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._data += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._over = True
        self._news.set()

    @property
    def frames(self) -> list[Sent]:
        """Those that have come. Raises what the service would say of one that is not as RFC 6455 wants it."""
        found, rest = [], memoryview(bytes(self._data))
        while header := parse_header(rest):
            end = header.size + header.length
            found.append(Sent(header.opcode, header.mask, unmask(rest[header.size : end], header.mask, 0)))
            rest = rest[end:]
        assert not rest
        return found

    @property
    def file(self) -> bytes:
        """All that came in binary frames."""
        return b"".join(sent.payload for sent in self.frames if sent.opcode == BINARY)

    async def store(self) -> None:
        """Read on until the client has said `end`, and give it a receipt."""
        self.go_on()
        while not any(sent.opcode == TEXT for sent in self.frames[-1:]):
            self._news.clear()
            await self._news.wait()
        digest = hashlib.sha256(self.file).hexdigest()
        await self._conversation.say(type="stored", token=TOKEN, name="x", size=len(self.file), sha256=digest)

    async def over(self) -> None:
        """Read on until there is nothing more to come."""
        self.go_on()
        while not self._over:
            self._news.clear()
            await self._news.wait()
