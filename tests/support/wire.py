"""Doubles for both sides of a receiver: the transport that feeds it, and aiohttp's protocol behind it."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

import jackfield.app.socket.buffers
import jackfield.app.socket.slabs
import jackfield.app.socket.stream
from jackfield.app.socket.buffers import Buffers
from jackfield.app.socket.messages import Messages
from jackfield.app.socket.receiver import Receiver
from jackfield.app.socket.shared import Shared
from jackfield.app.socket.stream import Stream

SLAB = 2048
"""What a slab has within `small_slabs()`."""


@contextmanager
def small_slabs() -> Iterator[None]:
    """The receiver's sizes a hundredth of what they are, so that short inputs meet every boundary."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jackfield.app.socket.buffers, "SLAB", SLAB)
        patch.setattr(jackfield.app.socket.slabs, "SLAB", SLAB)
        patch.setattr(jackfield.app.socket.slabs, "PAGE", 64)
        patch.setattr(jackfield.app.socket.stream, "PAGE", 64)
        patch.setattr(jackfield.app.socket.stream, "_LARGE", 300)
        patch.setattr(jackfield.app.socket.slabs, "_NEARLY_FULL", 256)
        patch.setattr(jackfield.app.socket.slabs, "_FALLBACK", 64)
        yield


class Wire(asyncio.Transport):
    """What the kernel has for one receiver, and gives as the loops do: not while reading is paused."""

    def __init__(self, shared: Shared | None = None) -> None:
        super().__init__()
        self.paused = False
        self.unread = bytearray()
        self.inner = Inner()
        self.pings: list[bytes] = []
        self.receiver: Receiver | None = None
        self.shared = shared or Shared()

    def messages(self, max_text: int = 2**16, max_message: int = 2**22, *, deflate: bool = False) -> Messages:
        """Receive whole messages from here on."""
        made = Messages(self.inner, self, max_text, max_message, self.shared, deflate=deflate)
        self._plug(made)
        return made

    def stream(self, buffers: Buffers, max_text: int = 2**16) -> Stream:
        """Receive a stream from here on."""
        made = Stream(self.inner, self, max_text, buffers, self.shared)
        self._plug(made)
        return made

    def _plug(self, receiver: Receiver) -> None:
        self.receiver = receiver
        receiver.owner = self

    def give(self, most: int) -> int:
        """One turn of the loop: give the receiver up to `most` bytes; how many it took."""
        if self.paused or not self.unread:
            return 0
        receiver = self.receiver
        if isinstance(receiver, Stream):
            receiver.get_buffer(-1)  # uvloop may ask once more, and find that nothing has come
            buffer = receiver.get_buffer(-1)
            assert len(buffer), "asyncio takes an empty buffer for a fault and cuts the link"
            assert not self.paused, "uvloop crashes where reading is paused while it asks"
            size = min(most, len(buffer), len(self.unread))
            buffer[:size] = self.unread[:size]
            receiver.buffer_updated(size)
        else:
            size = min(most, len(self.unread))
            cast("Messages", receiver).data_received(bytes(self.unread[:size]))
        del self.unread[:size]
        return size

    def feed(self, data: bytes, sizes: Iterable[int] = ()) -> None:
        """Give all of it, in pieces of these sizes and then whole, as far as it is taken."""
        self.unread += data
        for size in sizes:
            self.give(size)
        while self.give(2**30):
            pass

    def on_end(self) -> None:
        """See `Owner`."""

    def on_backlog(self) -> None:
        """See `Owner`."""

    def on_pings(self, payloads: list[bytes]) -> None:
        """See `Owner`."""
        self.pings += payloads

    def pause_reading(self) -> None:
        """See asyncio."""
        self.paused = True

    def resume_reading(self) -> None:
        """See asyncio."""
        self.paused = False

    def is_closing(self) -> bool:
        """See asyncio."""
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """There is no TLS."""
        return default


class Inner(asyncio.Protocol):
    """aiohttp's protocol: what it was handed, and whether it knows that the link is lost."""

    def __init__(self) -> None:
        self.data = b""
        self.lost = False

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self.lost = True
