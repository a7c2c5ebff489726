"""Requests of tus 1.0.0, as a client sends them that was written from the specification."""

import base64
import hashlib
from collections.abc import Mapping
from urllib.parse import urlsplit

from tests.support.outsider import Answer, Outsider, eventually
from tests.support.rawhttp import RawRequest

V1 = {"Tus-Resumable": "1.0.0"}
BYTES = {**V1, "Content-Type": "application/offset+octet-stream"}


def metadata(**values: str) -> str:
    """The value of `Upload-Metadata`."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())


def checksum(algorithm: str, data: bytes) -> str:
    """The value of `Upload-Checksum`."""
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


async def create(client: Outsider, size: int | None, at: str = "/upload", **headers: str) -> str:
    """A new upload, of so many bytes or of a length that is told later; its path."""
    length = {"Upload-Defer-Length": "1"} if size is None else {"Upload-Length": str(size)}
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await client.http("POST", at, headers={**V1, **length, **more})
    assert answer.status == 201, answer
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    return urlsplit(answer.headers["Location"]).path


async def patch(client: Outsider, path: str, offset: int, data: bytes, **headers: str) -> Answer:
    """Append; whatever comes of it."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await client.http("PATCH", path, data, {**BYTES, "Upload-Offset": str(offset), **more})
    assert answer.headers["Tus-Resumable"] == "1.0.0", answer
    return answer


async def head(client: Outsider, path: str) -> Answer:
    """How far it is; it must be there."""
    answer = await client.http("HEAD", path, headers=V1)
    assert answer.status == 200, answer
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert answer.headers["Cache-Control"] == "no-store"
    return answer


async def offset(client: Outsider, path: str) -> int:
    """Bytes that are there."""
    return int((await head(client, path)).headers["Upload-Offset"])


async def begin_patch(
    client: Outsider, path: str, at: int, size: int, data: bytes = b"", headers: Mapping[str, str] | None = None
) -> RawRequest:
    """A request that announces so many bytes, and brings some of them, which are there when this returns.

    Those under a checksum are not: they count only when all have come.
    """
    fields = {**BYTES, "Upload-Offset": str(at), "Content-Length": str(size), **(headers or {})}
    request = await RawRequest.begin(client, "PATCH", path, fields)
    await request.send(data)
    if headers is None:
        await eventually(lambda: reached(client, path, at + len(data)))
    return request


async def reached(client: Outsider, path: str, expected: int) -> bool:
    """Whether the upload is there; this ends nothing."""
    return bool((await client.ask(path))["offset"] == expected)
