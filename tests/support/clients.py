"""Clients of other projects, unchanged, as their users call them."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp
import aiotus
import yarl
from aiotus import core, creation
from tusclient.client import TusClient
from tusclient.uploader.uploader import Uploader

from tests.support.documents import PROJECT

NPM = PROJECT / "tests/support/npm"
NODE = shutil.which("node") if (NPM / "node_modules/tus-js-client").is_dir() else None
UPPY = NPM / "node_modules/uppy/dist/uppy.min.mjs"
WHY_NOT = "needs node, and `npm ci` in tests/support/npm, which .ci/run does"
PATIENCE = 60.0  # seconds


def tuspy(endpoint: str, file: BinaryIO, name: str, chunk: int, **options: Any) -> Uploader:
    """An uploader of tuspy; of a path it leaves files open."""
    client = TusClient(endpoint)
    return client.uploader(file_stream=file, chunk_size=chunk, metadata={"filename": name}, **options)


async def aiotus_create(session: aiohttp.ClientSession, endpoint: str, path: Path, name: str) -> yarl.URL:
    """A new upload by aiotus."""
    with path.open("rb") as file:
        metadata: aiotus.Metadata = {"filename": name.encode(), "is_confidential": None}
        return await creation.create(session, yarl.URL(endpoint), file, metadata)


async def aiotus_send(session: aiohttp.ClientSession, url: yarl.URL, path: Path, chunk: int) -> None:
    """What is missing of it."""
    with path.open("rb") as file:
        await core.upload_buffer(session, url, file, chunksize=chunk)


@contextlib.asynccontextmanager
async def tus_js_client(
    endpoint: str, path: Path, name: str, chunk: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    """tus-js-client in Node, which sends this file."""
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        NODE, str(NPM / "upload.mjs"), endpoint, str(path), name, chunk, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def outcome(process: asyncio.subprocess.Process) -> str:
    """The last line that it prints."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        lines = (await process.stdout.read()).decode().splitlines()
    return lines[-1] if lines else ""
