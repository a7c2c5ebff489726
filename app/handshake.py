"""The opening handshake: checks of RFC 6455, 4, that aiohttp leaves out."""

import asyncio
import base64
import binascii
from typing import Final

from aiohttp import WSMsgType, hdrs, web

from jackfield.app import errors
from jackfield.app.errors import Failure
from jackfield.app.socket.frames import PING

_PROBE: Final = b"early?"
_PROBE_FRAME: Final = bytes((0x80 | PING, 0x80 | len(_PROBE), 0, 0, 0, 0)) + _PROBE


def _tokens(request: web.Request, name: str) -> set[str]:
    """The comma-separated words of a header, lower-cased."""
    return {word.strip().lower() for value in request.headers.getall(name, ()) for word in value.split(",")}


def wants_upgrade(request: web.Request) -> bool:
    """Whether the request asks for a WebSocket (RFC 6455, 4.2.1)."""
    return "websocket" in _tokens(request, hdrs.UPGRADE) and "upgrade" in _tokens(request, hdrs.CONNECTION)


def check_handshake(request: web.Request) -> None:
    """Refuse what aiohttp would let pass of RFC 6455, 4.2.1."""
    if request.method != hdrs.METH_GET or request.version < (1, 1):
        raise Failure(errors.BAD_REQUEST, "An upgrade is a GET of HTTP/1.1.")
    if hdrs.TRANSFER_ENCODING in request.headers or request.headers.get(hdrs.CONTENT_LENGTH, "0") != "0":
        raise Failure(errors.BAD_REQUEST, "An upgrade has no body.")  # it would be read as frames
    if request.headers.getall(hdrs.SEC_WEBSOCKET_VERSION, []) != ["13"]:
        raise Failure(
            errors.UPGRADE_REQUIRED, "Version 13 of the protocol is spoken here.", {"Sec-WebSocket-Version": "13"}
        )
    keys = request.headers.getall(hdrs.SEC_WEBSOCKET_KEY, [])
    try:
        valid = len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == 16
    except (binascii.Error, ValueError):
        valid = False
    if not valid:
        raise Failure(errors.BAD_REQUEST, "Sec-WebSocket-Key must be 16 bytes in base64, once.")


async def came_early(request: web.Request, ws: web.WebSocketResponse) -> bool:
    """Whether bytes came in one go with the handshake (RFC 6455, 4.1 forbids it): aiohttp has taken those.

    A ping of our own is put behind them: where there are none, it is the first message.
    """
    request.protocol.data_received(_PROBE_FRAME)
    try:
        async with asyncio.timeout(0):  # what is there is given without waiting
            message = await ws.receive()
    except TimeoutError:
        return True
    return (message.type, message.data) != (WSMsgType.PING, _PROBE)
