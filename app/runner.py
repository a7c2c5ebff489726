"""aiohttp's runner, whose connections take turns with each other while they bring bodies.

aiohttp stops parsing a body where its reader has enough, and goes on from within the reader's
own call. So a reader that keeps up never waits, and whatever has come is parsed in one go: of chunks of one byte that
takes a tenth of a second, in which nobody else is served. Here it goes on in a later turn of the loop.
"""

from asyncio import get_running_loop
from typing import Any, Final

from aiohttp import web

from jackfield.app.socket.shared import Turns

READ_AHEAD: Final = 4 * 1024
"""Bytes of a body that aiohttp reads ahead; it stops at twice as many, or at a sixteenth of as many chunks. To parse
and read so many chunks takes a millisecond or two."""


class _Connection(web.RequestHandler):
    """One connection of HTTP."""

    __slots__ = ("_resting", "_turns")

    def __init__(self, manager: web.Server, turns: Turns, **options: Any) -> None:
        super().__init__(manager, **options)
        self._turns = turns
        self._resting = False  # its turn to go on is still to come

    def resume_reading(self, resume_parser: bool = True) -> None:
        """The reader of the body wants more."""
        if self._reading_paused and not self._resting:
            self._resting = True
            self._turns.rest(lambda: self._go_on(resume_parser))

    def _go_on(self, resume_parser: bool) -> None:
        self._resting = False
        if self.transport is not None:
            super().resume_reading(resume_parser)


class _Server(web.Server):
    """Makes the connections."""

    def __init__(self, other: web.Server) -> None:
        super().__init__(
            other.request_handler, request_factory=other.request_factory,
            handler_cancellation=other.handler_cancellation, loop=get_running_loop(),
            **(other._kwargs | {"read_bufsize": READ_AHEAD}),
        )  # fmt: skip
        self._turns = Turns()

    def __call__(self) -> _Connection:
        return _Connection(self, self._turns, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs the service's application."""

    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server())
