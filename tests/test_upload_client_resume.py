"""What a later call of the client makes of an upload that an earlier one left unfinished."""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from jackfield.handlers.upload.client import Receipt, Superseded, Unreachable, upload
from tests.support.scripted import Conversation, Scripted, receipt

MIB = 1024 * 1024
Send = Callable[[], Awaitable[Receipt]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "uploads"


@pytest.fixture
async def send(server: Scripted, path: Path, folder: Path) -> AsyncIterator[Send]:
    async with aiohttp.ClientSession() as session:

        async def upload_it() -> Receipt:
            return await upload(session, server.url, path, remember=folder, give_up=0.5)

        yield upload_it


@pytest.fixture
async def interrupted(server: Scripted, send: Send) -> int:
    """An upload that was cancelled after about 1 MiB; the bytes the server has of it."""
    reached = asyncio.Event()

    async def part(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(MIB)
        reached.set()

    server.parts = [part]
    sending = asyncio.ensure_future(send())
    await reached.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    return len(server.bytes)


async def test_goes_on_where_it_stopped(
    interrupted: int, server: Scripted, send: Send, path: Path, folder: Path
) -> None:
    """The next call sends only what is missing; after that nothing is remembered, and the next one is new."""
    assert await send() == receipt(path)
    assert server.bytes == path.read_bytes()
    assert server.offsets == [0, interrupted]
    assert len(server.created) == 1
    assert list(folder.iterdir()) == []
    await send()
    assert len(server.created) == 2


async def test_only_the_owner_can_read_it(interrupted: int, folder: Path) -> None:
    """What is remembered holds the upload's key, and is for its owner's eyes only."""
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert json.loads(file.read_text())["upload"].endswith("/upload/t0k3n")


@pytest.mark.parametrize("tells_digest", [True, False])
async def test_file_that_changed_since(
    interrupted: int, server: Scripted, send: Send, path: Path, tells_digest: bool
) -> None:
    """A file whose first bytes changed is sent anew from its start, whether or not the server tells a digest."""
    with path.open("r+b") as file:
        file.write(b"changed")
    server.tells_digest = tells_digest
    assert await send() == receipt(path)
    assert server.bytes == path.read_bytes()
    assert server.offsets == [0, interrupted, 0]


async def test_same_bytes_under_a_new_date(interrupted: int, server: Scripted, send: Send, path: Path) -> None:
    """A file that was merely touched goes on: the digest says that it is the same."""
    os.utime(path)
    assert await send() == receipt(path)
    assert server.offsets == [0, interrupted]


async def test_without_digest_the_file_s_looks_count(
    interrupted: int, server: Scripted, send: Send, path: Path
) -> None:
    """Where the server does not know the digest yet, an untouched file goes on."""
    server.tells_digest = False
    assert await send() == receipt(path)
    assert server.offsets == [0, interrupted]


@pytest.mark.parametrize("size", [100, 5 * MIB])
async def test_file_of_another_size(interrupted: int, server: Scripted, send: Send, path: Path, size: int) -> None:
    """A file that grew or shrank is another upload; the old one is cancelled."""
    os.truncate(path, size)
    assert await send() == receipt(path)
    assert server.cancelled == 1
    assert [promise["size"] for promise in server.created] == [3 * MIB + 12345, size]


async def test_upload_that_expired(interrupted: int, server: Scripted, send: Send, path: Path) -> None:
    """When the service does not know the upload any more, it is created anew."""
    server.open = False
    assert await send() == receipt(path)
    assert len(server.created) == 2


async def test_upload_that_was_stored_after_all(server: Scripted, send: Send, path: Path) -> None:
    """When only the receipt was lost, the next call gets it, and sends nothing twice."""

    async def lose_the_receipt(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take()
        server.receipt = {"name": "x", "size": len(server.bytes), "sha256": receipt(path).sha256}
        server.closed = True
        conversation.drop()

    server.parts = [lose_the_receipt]
    with pytest.raises(Unreachable):
        await send()
    server.closed = False
    assert await send() == receipt(path)
    assert len(server.ends) == 1
    assert len(server.created) == 1


async def test_stored_upload_of_another_version(interrupted: int, server: Scripted, send: Send, path: Path) -> None:
    """A stored upload that is remembered, but of other bytes, is let be, and the file is a new upload."""
    server.receipt = {"name": "x", "size": path.stat().st_size, "sha256": "0" * 64}
    assert await send() == receipt(path)
    assert len(server.created) == 2
    assert server.cancelled == 0


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"upload": "x", "fingerprint": []}', "\0"])
async def test_memory_that_cannot_be_read(
    interrupted: int, server: Scripted, send: Send, path: Path, folder: Path, text: str
) -> None:
    """What makes no sense is not believed: the upload begins anew."""
    (file,) = folder.iterdir()
    file.write_text(text)
    assert await send() == receipt(path)
    assert len(server.created) == 2


async def test_memory_that_cannot_be_written(
    server: Scripted, send: Send, path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nothing can be remembered, the upload is made all the same, and the log says so."""
    folder.parent.mkdir()
    folder.write_text("no folder")
    assert await send() == receipt(path)
    assert "cannot remember" in caplog.text


async def test_newer_run_keeps_its_memory(server: Scripted, send: Send, folder: Path) -> None:
    """A call that was superseded does not forget what the newer one, which goes on, may need."""

    async def supersede(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.fail(409, "superseded")

    server.parts = [supersede]
    with pytest.raises(Superseded):
        await send()
    assert len(list(folder.iterdir())) == 1
