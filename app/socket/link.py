"""The link of one socket: how it ended, who waits for that, and back-pressure of what is sent."""

import asyncio
from typing import Final, Protocol

from jackfield.app.errors import ABNORMAL, Close, Disconnected


class Owner(Protocol):
    """The connection, as its link needs it."""

    def on_end(self) -> None:
        """The link has an `end`."""

    def on_backlog(self) -> None:
        """More or fewer bytes wait to be read by the peer than before."""

    def on_pings(self, payloads: list[bytes]) -> None:
        """The peer has sent these pings, and waits for pongs."""


class _Nobody:
    """Before there is a connection."""

    def on_end(self) -> None: ...

    def on_backlog(self) -> None: ...

    def on_pings(self, payloads: list[bytes]) -> None: ...


_NOBODY: Final = _Nobody()


class Link(asyncio.BaseProtocol):
    """What a transport tells of its link, aside from the bytes that come.

    `inner` is aiohttp's protocol, which still sends long messages. `eof` says that the peer has shut its side, so
    that no Close frame will come any more; `lost` that there is no link any more.
    """

    __slots__ = (
        "_discarding", "_end", "_inner", "_loop", "_transport", "_waiter", "_writable", "congested", "eof", "lost",
        "owner",
    )  # fmt: skip

    def __init__(self, inner: asyncio.Protocol, transport: asyncio.Transport) -> None:
        self._inner = inner
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self.owner: Owner = _NOBODY  # set by the connection
        self.eof = False
        self.lost = False
        self.congested = False  # the transport is above its high-water mark
        self._end: Close | Disconnected | None = None  # set once: the first of a Close frame, a fault, a lost link
        self._waiter: asyncio.Future[bool] | None = None
        self._writable: asyncio.Future[None] | None = None  # done when the transport is below its low-water mark
        self._discarding = False  # set when the socket is closed: only a Close frame is looked for

    @property
    def end(self) -> Close | Disconnected | None:
        """How the peer ended the socket; raised to the handler behind all that came before."""
        return self._end

    @property
    def left(self) -> Disconnected | None:
        """The peer's Close frame, once it has come."""
        end = self._end
        return end if isinstance(end, Disconnected) and end.code != ABNORMAL else None

    @property
    def broken(self) -> bool:
        """Whether the peer broke the protocol: from there on its bytes have no meaning."""
        return isinstance(self._end, Close)

    # -- waiting, by the handler's task

    def arrival(self) -> "asyncio.Future[bool]":
        """Done as soon as there may be something new: then look again. Only one task may wait."""
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def wake(self, *, late: bool = False) -> None:
        """End the wait of `arrival`, with the result `late`."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(late)

    async def writable(self) -> None:
        """Wait until the transport calls `resume_writing`, or the link is lost."""
        if self._writable is None:
            self._writable = self._loop.create_future()
        await asyncio.shield(self._writable)  # several may wait: cancelling one must not cancel the others

    async def shut(self) -> None:
        """Until the peer has shut its side, or the link is lost."""
        while not self.eof:
            await self.arrival()

    # -- the end

    def refuse(self, close: Close) -> None:
        """Take no more: the peer has broken the protocol."""
        self._finish(close)

    def _finish(self, end: Close | Disconnected) -> None:
        if self._end is None:
            self._end = end
            self.owner.on_end()
        self.wake()

    def eof_received(self) -> bool:
        """Keep our side open: a peer may shut its side and still read the answer."""
        self.eof = True
        self._finish(Disconnected(ABNORMAL, clean=False))
        return not self._discarding and self._transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: Exception | None) -> None:
        """What came before is still delivered; then it is said that the link is gone."""
        self.eof = self.lost = True
        self._finish(Disconnected(ABNORMAL, clean=False))
        self._inner.connection_lost(exc)
        self._decongest()

    # -- sending

    def pause_writing(self) -> None:
        """The peer reads slowly; aiohttp wants to know as well."""
        self.congested = True
        self._inner.pause_writing()
        self.owner.on_backlog()

    def resume_writing(self) -> None:
        """See `pause_writing`."""
        self._inner.resume_writing()
        self._decongest()

    def _decongest(self) -> None:
        self.congested = False
        self.owner.on_backlog()
        if self._writable is not None:
            waiter, self._writable = self._writable, None
            waiter.set_result(None)
