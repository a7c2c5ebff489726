"""Closing and pinging a socket: for the dispatcher alone, never for a handler."""

import asyncio
import select
from typing import Any

from aiohttp import WSMsgType

from jackfield.app.errors import ABNORMAL, NO_CODE, Close, Disconnected
from jackfield.app.socket.connection import Connection
from jackfield.app.socket.frames import cut_reason

CLOSE_LIMIT = 5.0  # seconds to wait for the peer's half of the closing handshake


async def finish(connection: Connection[Any], end: Close | Disconnected, last_words: str | None) -> None:
    """Close as `end` says, after the last words where there are any, and wait a little for the peer."""
    connection.source.discard()
    connection.forget_unsent()
    connection._open = False  # what a task of the handler still sends must not follow our Close frame
    if isinstance(end, Disconnected):
        if end.code == ABNORMAL:
            connection.transport.abort()
            return
        end = Close(1000 if end.code == NO_CODE else end.code)
    try:
        async with asyncio.timeout(CLOSE_LIMIT):
            if last_words is not None:
                await connection._send(last_words)
            if connection.source.eof or connection.source.broken:
                await _send_close_frame(connection, end)
            else:
                await connection._ws.close(code=end.code, message=cut_reason(end.reason))
    except (TimeoutError, ConnectionError, Disconnected):
        abort(connection)
    connection.transport.close()
    if connection.backlog:  # `close` would wait for ever for a peer that does not read
        asyncio.get_running_loop().call_later(CLOSE_LIMIT, abort, connection)


async def _send_close_frame(connection: Connection[Any], end: Close) -> None:
    """Close without waiting for the peer's Close frame: it has shut its side, or broken the protocol.

    Our side is shut behind our frame, and what still comes is discarded until the peer shuts its side:
    closing at once would reset the link, and our frame could be lost with it.
    """
    if connection._ws.closed:  # aiohttp found the fault before us, and has said so
        return
    await connection._ws.send_frame(end.code.to_bytes(2, "big") + cut_reason(end.reason), WSMsgType.CLOSE)
    if connection.transport.can_write_eof() and not connection.source.eof:
        connection.transport.write_eof()
        await connection.source.shut()


def abort(connection: Connection[Any]) -> None:
    """Reset the link, without a Close frame."""
    connection.transport.abort()


def is_reset(connection: Connection[Any]) -> bool:
    """Whether the peer has reset the link: the event loop does not notice that of a socket it does not read."""
    poll = select.poll()
    poll.register(connection.transport.get_extra_info("socket").fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


async def ping(connection: Connection[Any]) -> None:
    """Ask the peer for a sign of life; never waits."""
    if not connection.backlog:
        try:
            await connection._ws.ping()
        except ConnectionError:
            return  # the receiver notices it as well, and reports it
