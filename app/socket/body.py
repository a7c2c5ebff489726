"""The body of one request, received as a socket's bytes are: into slabs, in turns with sockets, within their budget."""

import asyncio
from contextlib import suppress
from typing import Final

from jackfield.app.errors import ABNORMAL, NORMAL, Disconnected
from jackfield.app.socket.buffers import Buffers
from jackfield.app.socket.frames import BINARY, Header
from jackfield.app.socket.shared import Shared
from jackfield.app.socket.stream import Stream

_ENDLESS: Final = 2**62  # bytes, where the length is not known


class BodyStream(Stream):
    """To the stream it is the payload of one frame that has no mask.

    Behind its last byte `Disconnected` is raised, a clean one. What follows it is not received: it is the next request.
    """

    __slots__ = ("complete",)

    def __init__(
        self, inner: asyncio.Protocol, transport: asyncio.Transport, size: int | None, buffers: Buffers, shared: Shared
    ) -> None:
        super().__init__(inner, transport, 0, buffers, shared)
        self.complete = False  # its last byte was received
        self._message = BINARY
        self._left = _ENDLESS if size is None else size
        self._frame = Header(fin=True, opcode=BINARY, mask=bytes(4), length=self._left, size=0, compressed=False)

    @property
    def coming(self) -> int | None:
        """Bytes that are still to come; None where that is not known."""
        return self._left if self._left < _ENDLESS // 2 else None

    # -- receiving

    def attach(self, transport: asyncio.Transport) -> None:
        """From now on the bytes come from here."""
        self._transport = transport

    def feed(self, data: bytes) -> None:
        """These come next. They are taken when there is memory; until then reading is paused."""
        self._spent += len(data)
        self._keep(data, 0, behind=True)
        self._read_on()
        if not self._left:
            self.end_of_body()

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `Stream`: the kernel puts all of it where it belongs."""
        self._zero_copy = not self._discarding
        if self._discarding:
            return self._buffers.incoming[: self._left]
        most = self._slabs.reserve() or self._slabs.reserve_fallback()
        return self._slabs.next(min(most, self._left))

    def buffer_updated(self, nbytes: int) -> None:
        """See `Stream`."""
        if not self._discarding:
            super().buffer_updated(nbytes)
            return
        self.received += nbytes
        self._left -= nbytes
        if not self._left:
            self.end_of_body()
        self.wake()

    def _complete(self) -> None:
        self.end_of_body()

    def end_of_body(self) -> None:
        """That was the last byte."""
        if self._end is None:
            self.complete = True
            self._frame = None
            self._slabs.close()
            self._pause()
            self._finish(Disconnected(NORMAL))

    def cut(self) -> None:
        """The link is lost before the last byte."""
        self._finish(Disconnected(ABNORMAL, clean=False))

    def _resume(self) -> bool:
        return not self.complete and super()._resume()

    # -- the end

    def close(self) -> None:
        """Nothing more of it is used: what still comes is thrown away."""
        self.discard()
        self._slabs.close()
        self._buffers.leave(self._resume)

    async def linger(self, most: int, seconds: float) -> None:
        """Until the rest of it was thrown away, or so many bytes of it, or the link is lost, or the time is over."""
        enough = self.received + most
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._end is None and self.received < enough:
                    await self.arrival()
