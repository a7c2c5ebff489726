"""Receives the service's messages, and notices when it is silent; for sockets of one upload and of many."""

import asyncio
import json
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from aiohttp import WSMsgType

from jackfield.app.errors import ABNORMAL, Failure
from jackfield.handlers.upload.client.connection import Connection
from jackfield.handlers.upload.client.deadline import Deadline
from jackfield.handlers.upload.client.failures import Lost, Rejected, from_close
from jackfield.handlers.upload.wire.messages import Ack, Error, Ready, Stored, parse_server

Result = TypeVar("Result")

_SILENCE = 15.0  # seconds without a frame, in spite of pings, until the connection counts as dead


class Listener:
    """Hears the messages of one socket, and notices when the service has fallen silent."""

    def __init__(self, socket: Connection, deadline: Deadline) -> None:
        self._socket = socket
        self._deadline = deadline
        self._heard = time.monotonic()  # when the last frame came, a pong too

    async def next(self) -> Ready | Ack | Stored | Error:
        """Return the next message. Raises what the socket's end means."""
        while True:
            received = await self._socket.receive()
            self._heard = time.monotonic()
            match received.type:
                case WSMsgType.TEXT:
                    message = _parsed(received.data)
                    if message is not None:
                        return message
                case WSMsgType.PING:
                    await self._socket.pong(received.data)
                case WSMsgType.CLOSE | WSMsgType.CLOSING | WSMsgType.CLOSED | WSMsgType.ERROR:
                    raise _ended(self._socket.close_code, received.extra)

    async def watch(self) -> None:
        """Raise Lost when the service is silent although it was asked. Never returns."""
        limit = min(_SILENCE, self._deadline.limit / 2)  # leaves time to try it anew
        tick = limit / 6
        while True:
            began = time.monotonic()
            await asyncio.sleep(tick)
            now = time.monotonic()
            if now - began > 2 * tick:  # this process was stopped, so it could not hear
                self._deadline.extend(now - began)
                self._heard = now
            if now - self._heard > limit:
                raise Lost(f"nothing was heard for {limit:g} s")
            if now - self._heard > limit / 3:
                await self._ping(tick)

    async def _ping(self, limit: float) -> None:
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(limit):  # it has to wait where the connection takes nothing
                await self._socket.ping()


def _parsed(text: str) -> Ready | Ack | Stored | Error | None:
    """Return the message; None for a type that only newer clients know. Raises Rejected."""
    try:
        return parse_server(text)
    except Failure as failure:
        if _is_newer(text):
            return None
        detail = f"the service says what is no message of upload.v1: {text[:80]!r} ({failure.detail})"
        raise Rejected("not_understood", detail) from None


def _is_newer(text: str) -> bool:
    with suppress(ValueError, RecursionError):
        fields = json.loads(text)
        kind = fields.get("type") if isinstance(fields, dict) else None
        return isinstance(kind, str) and kind not in ("ready", "ack", "stored", "error")
    return False


def _ended(number: int, reason: str | None) -> Exception:
    if number == ABNORMAL:
        return Lost("the connection was lost")
    return from_close(number, "", f"the service closed the connection: {number} {reason or ''}".rstrip())


async def beside(main: Coroutine[Any, Any, Result], *work: Coroutine[Any, Any, None]) -> Result:
    """Run `main`, and `work` beside it for as long.

    One fault ends all of it and is raised; where several came, one that says more than Lost. It is no TaskGroup:
    that cancels the caller, so that a fault could not be told from a caller that is cancelled at the same moment.
    """
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(each) for each in (main, *work)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        faults = [fault for task in tasks if not task.cancelled() and (fault := task.exception())]
    for fault in sorted(faults, key=lambda fault: isinstance(fault, Lost)):
        raise fault
    result: Result = tasks[0].result()
    return result
