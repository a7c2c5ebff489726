"""What HTTP says of an upload."""

import email.utils
import math
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from jackfield.handlers.upload.store.contract import Kept
from jackfield.handlers.upload.uploads.registry import Uploads
from jackfield.handlers.upload.uploads.upload import OpenUpload


def headers(offset: int, size: int | None, until: float) -> dict[str, str]:
    """What every answer about an upload says of it; `until` in seconds since 1970."""
    found = {
        "Cache-Control": "no-store",
        "Upload-Offset": str(offset),
        "Upload-Expires": email.utils.formatdate(math.ceil(until), usegmt=True),
    }
    return found if size is None else {**found, "Upload-Length": str(size)}


def open_fields(upload: OpenUpload, until: float) -> dict[str, Any]:
    """What JSON says of an open upload."""
    promise = upload.promise
    return {
        "state": "open", "name": promise.name, "size": promise.expected, "offset": upload.offset,
        "expires": rfc3339(until),
    }  # fmt: skip


def stored_fields(kept: Kept) -> dict[str, Any]:
    """The receipt in JSON."""
    receipt = kept.receipt
    return {
        "state": "stored", "name": receipt.name, "size": receipt.size, "offset": receipt.size,
        "expires": rfc3339(kept.until), "sha256": receipt.sha256,
    }  # fmt: skip


def opened(upload: OpenUpload, until: float) -> web.Response:
    """How far it is, to whoever asks."""
    return web.json_response(open_fields(upload, until), headers=headers(upload.offset, upload.promise.expected, until))


async def receipt(uploads: Uploads, token: str) -> dict[str, Any]:
    """The same of an upload that has been stored just now."""
    kept = await uploads.find(token)
    assert isinstance(kept, Kept), "its receipt is on the disk"
    return stored_fields(kept)


def stored(kept: Kept) -> web.Response:
    """The receipt, to whoever asks for it."""
    size = kept.receipt.size
    return web.json_response(stored_fields(kept), headers=headers(size, size, kept.until))


async def interim(request: web.Request, head: str) -> None:
    """Send an answer before the answer (RFC 9110, 15.2): a status, and lines that end in CRLF."""
    await request.writer.write(f"HTTP/1.1 {head}\r\n".encode("latin-1"))
    request.writer.output_size = 0  # nothing of the answer itself was sent


def rfc3339(when: float) -> str:
    """A time in seconds since 1970, as JSON has it."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
