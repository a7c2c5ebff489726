"""A hook that is a URL: a POST of the event, signed as Standard Webhooks say."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

_TYPE: Final = "application/cloudevents+json"
_KEPT: Final = 64 * 1024  # bytes of an answer that are looked at
_DETAIL: Final = 500  # characters of its `detail`


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back: the status, and `detail` of a JSON body where it has one."""

    status: int
    detail: str


def signature(secret: bytes, identifier: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = b"%b.%d.%b" % (identifier.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


def read_secret(path: Path) -> bytes:
    """The secret in a file: base64, with or without `whsec_` before it. Raises OSError or ValueError."""
    text = path.read_text(encoding="ascii").strip().removeprefix("whsec_")
    try:
        secret = base64.b64decode(text, validate=True)
    except binascii.Error:
        secret = b""
    if not secret:
        raise ValueError(f"{path} has no secret: base64, as in whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    return secret


async def post(
    session: aiohttp.ClientSession, url: str, secret_file: Path | None, identifier: str, event: bytes, limit: float
) -> Answered:
    """Send it; the secret is read each time, so that it may change.

    Raises aiohttp.ClientError, OSError (TimeoutError after `limit` seconds), or ValueError.
    """
    now = int(time.time())
    headers = {"Content-Type": _TYPE, "webhook-id": identifier, "webhook-timestamp": str(now)}
    if secret_file is not None:
        secret = await asyncio.to_thread(read_secret, secret_file)
        headers["webhook-signature"] = signature(secret, identifier, now, event)
    async with asyncio.timeout(limit):
        try:
            return await _post(session, url, headers, event)
        except aiohttp.ServerDisconnectedError:  # as when it has just closed a connection that was kept for the next
            return await _post(session, url, headers, event)


async def _post(session: aiohttp.ClientSession, url: str, headers: dict[str, str], event: bytes) -> Answered:
    unlimited = aiohttp.ClientTimeout(None)
    async with session.post(url, data=event, headers=headers, allow_redirects=False, timeout=unlimited) as answer:
        return Answered(answer.status, _detail(await answer.content.read(_KEPT)))


def _detail(body: bytes) -> str:
    try:
        said = json.loads(body)["detail"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return ""
    return "".join(char for char in said if char.isprintable())[:_DETAIL] if isinstance(said, str) else ""
