"""The real curl, and what one sends in its place on a bare connection."""

import asyncio
import base64
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@dataclass(frozen=True)
class Curled:
    """What one run of curl came to: `exit` is curl's own, `status` 0 where there was no answer."""

    exit: int
    status: int
    body: bytes
    headers: dict[str, list[str]]
    errors: str


async def curl(*words: str | Path, stdin: bytes | None = None, at: Path | None = None) -> Curled:
    """Run it to its end; the headers are those of the last answer, with names in lower case."""
    said = '\n%{stderr}{"status":%{http_code},"headers":%{header_json}}'
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--max-time", "60", "-w", said, *words, cwd=at,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        body, errors = await process.communicate(stdin)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    text = errors.decode()
    place = text.index('{"status"')
    told: dict[str, Any] = json.JSONDecoder().raw_decode(text, place)[0]
    return Curled(process.returncode or 0, told["status"], body[:-1], told["headers"], text[:place])


def head(method: str, path: str, size: int | None = None, **headers: str) -> bytes:
    """The head of a request; `repr_digest="…"` is a header of that name. Without a size the body is chunked."""
    framing = "Transfer-Encoding: chunked" if size is None else f"Content-Length: {size}"
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", framing]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; the empty one is the last."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def digest_field(sha256: str) -> str:
    """The value of `Repr-Digest`."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"
