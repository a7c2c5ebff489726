"""One socket, as a handler sees it: receive, iterate, stream, send. It is closed in `closing`."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any, Final, Generic

from aiohttp import web
from typing_extensions import TypeVar

from jackfield.app.callers import CALLER
from jackfield.app.errors import TIMED_OUT, Close, Disconnected, Failure
from jackfield.app.socket.messages import Messages
from jackfield.app.socket.sending import Sender
from jackfield.app.socket.shared import Budget
from jackfield.app.socket.stream import Batch, Stream

_BURST: Final = 32  # messages that a handler may take in a row before others have their turn

Admitted = TypeVar("Admitted", default=Any)


class Connection(Sender, Generic[Admitted]):
    """One accepted socket. `admitted` is what the handler's `admit` returned.

    Waiting for the peer raises Disconnected when it is gone, and what `interrupt` was given, so Failure
    `draining` when the service ends. `send` raises it once: a handler may still say a last word. A handler
    that waits for something else is cancelled when the socket has ended, unless it is `shielded`.
    """

    __slots__ = ("admitted", "id", "request")

    def __init__(
        self,
        request: web.Request,
        ws: web.WebSocketResponse,
        source: Messages | Stream,
        admitted: Admitted,
        budget: Budget,
    ) -> None:
        assert request.transport is not None
        super().__init__(request.transport, ws, source, budget)
        self.id = secrets.token_hex(4)
        self.request = request
        self.admitted = admitted
        source.owner = self

    @property
    def user(self) -> str | None:
        """Who has opened it: the name of the token, or whom a proxy named; None where nobody is named."""
        return self.request[CALLER].user

    @property
    def remote(self) -> str:
        """The address it comes from, behind the proxies that are trusted; `unix` by the Unix socket."""
        return self.request[CALLER].remote

    @property
    def subprotocol(self) -> str | None:
        """What was agreed to in the handshake."""
        return self._ws.ws_protocol

    @property
    def stream(self) -> Stream:
        """The incoming bytes of a handler that has `buffers`; take with `await connection.take(...)`.

        Raises TypeError for any other handler.
        """
        if not isinstance(self.source, Stream):
            raise TypeError("only a handler with `buffers` has a stream: use `connection.receive()`")
        return self.source

    # -- receiving

    async def receive(self, timeout: float | None = None) -> str | bytes:
        """The next whole message, text or binary. After `timeout` seconds without one: Failure, close 4408.

        Raises TypeError for a handler with `buffers`, whose sockets are streams: use `take` there.
        """
        source = self.source
        if not isinstance(source, Messages):
            raise TypeError("a handler with `buffers` has no whole messages: use `connection.take()`")
        late = False
        await self._yield_sometimes()
        while self._interruption is None:
            if (message := self._ready(source)) is not None:
                return message
            if late:
                raise _timed_out(timeout)
            late = await source.arrival(timeout)
        self._notified = asyncio.current_task()
        raise self._interruption

    def _ready(self, source: Messages) -> str | bytes | None:
        try:
            return source.ready()
        except (Close, Disconnected):
            self._notified = asyncio.current_task()
            raise

    async def _yield_sometimes(self) -> None:
        """Taking queued messages never waits, so every `_BURST` messages the event loop gets a turn."""
        self._taken += 1
        if self._taken % _BURST == 0:
            await asyncio.sleep(0)

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Messages, text or binary, until the peer leaves with a Close frame."""
        while True:
            try:
                message = await self.receive()
            except Disconnected as end:
                if end.clean:
                    return
                raise
            yield message

    async def take(
        self, least: int = 1, patience: float = 0.0, timeout: float | None = None, most: int | None = None
    ) -> Batch | str:
        """The next bytes or text of a stream (see `Stream.next`).

        After `timeout` seconds in which we read and nothing came: Failure, close 4408.
        """
        stream = self.stream
        await self._yield_sometimes()
        if self._interruption is None and (item := stream.ready(least, most)) is not None:
            return item
        while True:
            try:
                async with asyncio.timeout(timeout):
                    return await self.interruptible(stream.next(least, patience, most))
            except TimeoutError:
                if not stream.paused:
                    raise _timed_out(timeout) from None
            except (Close, Disconnected):
                self._notified = asyncio.current_task()
                raise


def _timed_out(seconds: float | None) -> Failure:
    return Failure(TIMED_OUT, f"Nothing came within {seconds:g} s.")
