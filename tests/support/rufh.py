"""A client of Resumable Uploads for HTTP, written from draft-ietf-httpbis-resumable-upload-11 alone."""

import base64
import hashlib
from urllib.parse import quote, urlsplit

from tests.support.outsider import Answer, Outsider, eventually
from tests.support.rawhttp import Answered, RawRequest
from tests.support.tus import reached

DRAFT = {"Upload-Draft-Interop-Version": "8"}
PARTIAL = "application/partial-upload"


def disposition(name: str) -> str:
    """What names the file (RFC 6266)."""
    return f"inline; filename=\"file\"; filename*=UTF-8''{quote(name, safe='')}"


def digest_field(data: bytes, algorithm: str = "sha-256") -> str:
    """The value of `Repr-Digest` and `Content-Digest`."""
    found = hashlib.new(algorithm.replace("-", ""), data).digest()
    return f"{algorithm}=:{base64.b64encode(found).decode()}:"


def creation(name: str, size: int | None, *, complete: bool, length: int | None = None) -> dict[str, str]:
    """The headers of a creation whose content has `size` bytes; None: chunked."""
    return {
        **DRAFT,
        "Upload-Complete": "?1" if complete else "?0",
        "Content-Disposition": disposition(name),
        **({"Transfer-Encoding": "chunked"} if size is None else {"Content-Length": str(size)}),
        **({} if length is None else {"Upload-Length": str(length)}),
    }


def path_of(said: Answered) -> str:
    """Of the upload resource that an answer names."""
    return urlsplit(said.headers["location"]).path


async def create(client: Outsider, name: str, data: bytes, *, complete: bool, length: int | None = None) -> Answer:
    """`POST`; whatever comes of it."""
    headers = creation(name, len(data), complete=complete, length=length)
    return await client.http("POST", "/upload", data, headers)


async def begin(client: Outsider, name: str, size: int, data: bytes) -> tuple[RawRequest, str]:
    """An optimistic creation of `size` bytes, of which these are sent; and the upload's path, from the 104."""
    request = await RawRequest.begin(client, "POST", "/upload", creation(name, size, complete=True))
    supported = await request.said()
    assert supported.status == 104, supported
    await request.send(data)
    await eventually(lambda: reached(client, path_of(supported), len(data)))
    return request, path_of(supported)


async def append(client: Outsider, path: str, offset: int, data: bytes, *, complete: bool, **headers: str) -> Answer:
    """`PATCH`; whatever comes of it."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    fields = {
        **DRAFT, "Content-Type": PARTIAL, "Upload-Offset": str(offset),
        "Upload-Complete": "?1" if complete else "?0", **more,
    }  # fmt: skip
    return await client.http("PATCH", path, data, fields)


async def head(client: Outsider, path: str) -> Answer:
    """Offset retrieval; it must succeed, and say what the draft wants."""
    answer = await client.http("HEAD", path, headers=DRAFT)
    assert answer.status in (200, 204), answer
    assert answer.headers["Upload-Complete"] in ("?0", "?1")
    assert answer.headers["Cache-Control"] == "no-store"
    return answer


async def offset(client: Outsider, path: str) -> int:
    """Bytes that are there."""
    return int((await head(client, path)).headers["Upload-Offset"])
