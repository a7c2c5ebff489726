"""The Python client when all goes well, and when the local side does not; over real sockets."""

import asyncio
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from jackfield.handlers.upload.client import (
    Changed,
    Progress,
    Receipt,
    upload,
)
from jackfield.handlers.upload.wire.times import print_time
from tests.support.scripted import Conversation, Scripted, honest, receipt, scripted

KIB, MIB = 1024, 1024 * 1024


async def send(session: aiohttp.ClientSession, server: Scripted, path: Path, **options: Any) -> Receipt:
    return await upload(session, server.url, path, **{"give_up": 10.0, **options})


def mtime(path: Path) -> str:
    """When the file was modified, as the client says it."""
    return print_time(path.stat().st_mtime_ns)


async def test_receipt_is_of_the_file(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A file arrives byte by byte, with its name and size promised and its digest in `end`."""
    assert await send(session, server, path) == receipt(path)
    assert server.bytes == path.read_bytes()
    assert server.promises == [{"name": "data.bin", "size": 3 * MIB + 12345, "mtime": mtime(path)}]
    assert server.ends == [{"type": "end", "sha256": receipt(path).sha256}]


async def test_empty_file(session: aiohttp.ClientSession, server: Scripted, tmp_path: Path) -> None:
    """A file without bytes is stored too."""
    empty = tmp_path / "empty"
    empty.touch()
    assert await send(session, server, empty) == receipt(empty)
    assert server.messages == []


@pytest.mark.parametrize("form", ["{url}", "{url}/", "{url}/upload", "{url}/upload/", "ws{rest}", "ws{rest}/upload"])
async def test_forms_of_the_url(session: aiohttp.ClientSession, server: Scripted, path: Path, form: str) -> None:
    """The URL may be the service or its upload path, http or ws."""
    url = form.format(url=server.url, rest=server.url.removeprefix("http"))
    assert await upload(session, url, path) == receipt(path)


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://localhost/", "data.bin", "http:///upload"])
async def test_what_is_no_url(session: aiohttp.ClientSession, path: Path, url: str) -> None:
    """What is no URL of a service is a ValueError, before anything is opened."""
    with pytest.raises(ValueError, match="is not an http"):
        await upload(session, url, path)


async def test_names_are_composed(session: aiohttp.ClientSession, server: Scripted, tmp_path: Path) -> None:
    """A name that the file system decomposed goes out in NFC, as the contract wants it."""
    file = tmp_path / "e\u0301t\u00e9"
    file.touch()
    await send(session, server, file)
    assert server.created[0]["name"] == "\u00e9t\u00e9"


async def test_promises_are_passed_on(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """`name` and `sha256` are promised where the caller says so."""
    await send(session, server, path, name="a/b", sha256="0" * 64)
    assert server.promises == [{"name": "a/b", "size": 3 * MIB + 12345, "sha256": "0" * 64, "mtime": mtime(path)}]


async def test_window(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """No more than the window goes out beyond the last acknowledgement, and then all of the rest."""
    server.window, server.message_size = 300 * KIB, 64 * KIB
    seen = []

    async def stingy(conversation: Conversation) -> None:
        await conversation.ready()
        for _ in range(3):
            before = len(server.bytes)
            await conversation.take(before + 256 * KIB, acks=False)
            with pytest.raises(TimeoutError):  # a fifth message would pass the window
                await conversation.socket.receive(timeout=0.2)
            seen.append(len(server.bytes) - before)
            await conversation.ack()
        await conversation.take()
        await conversation.stored()

    server.parts = [stingy]
    assert await send(session, server, path) == receipt(path)
    assert seen == [256 * KIB] * 3
    assert max(server.messages) <= 64 * KIB


async def test_callers_window(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """The caller's window wins, also where it is smaller than a message would be."""
    assert await send(session, server, path, window=10_000) == receipt(path)
    assert max(server.messages) <= 10_000


async def test_progress(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """The callback hears what the server said: offset, durable and the size, up to the last byte."""
    seen: list[Progress] = []
    await send(session, server, path, progress=seen.append)
    size = path.stat().st_size
    assert seen[0] == Progress(0, 0, size)
    assert seen[-1] == Progress(size, size, size)
    assert [step.offset for step in seen] == sorted(step.offset for step in seen)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"changed")


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, 2 * MIB)


@pytest.mark.parametrize("change", [overwrite, grow, shrink])
async def test_file_that_changes_while_it_is_sent(
    session: aiohttp.ClientSession, server: Scripted, path: Path, change: Any
) -> None:
    """A file that is written to, grows or shrinks meanwhile fails; no `end` is sent, and nothing is kept."""
    server.window = 256 * KIB

    async def part(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(256 * KIB, acks=False)
        change(path)
        await conversation.ack()
        await conversation.take()

    server.parts = [part]
    with pytest.raises(Changed, match=r"data\.bin"):
        await send(session, server, path)
    assert server.ends == []
    assert len(server.cancelled) == 1


async def test_file_that_is_replaced(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A file that another one is renamed over is sent as it was when it was opened, also after a cut."""
    before = receipt(path)

    async def part(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(MIB)
        other = path.with_name("other")
        other.write_bytes(bytes(5 * MIB))
        other.replace(path)
        conversation.drop()

    server.parts = [part]
    assert await send(session, server, path) == before


async def test_file_that_lies_about_its_size(session: aiohttp.ClientSession, server: Scripted) -> None:
    """A file of /proc, which says 0 bytes and has more, is not stored as an empty one."""
    with pytest.raises(Changed, match="holds more than"):
        await send(session, server, Path("/proc/self/status"))


async def test_not_a_regular_file(session: aiohttp.ClientSession, server: Scripted, tmp_path: Path) -> None:
    """A folder, a missing file and a named pipe (which nobody feeds) are OSErrors at once."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for odd in (tmp_path, tmp_path / "missing", fifo):
        with pytest.raises(OSError):
            await send(session, server, odd)
    assert server.created == []


async def test_callback_that_fails(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """What the caller's callback raises reaches the caller as it is."""

    def fail(_: Progress) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        await send(session, server, path, progress=fail)


async def test_cancelled(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A cancelled upload ends at once, leaves no task behind, and nothing on the service that nobody can go on with."""
    reached = asyncio.Event()

    async def watched(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(MIB)
        reached.set()
        await conversation.take(acks=False)

    server.parts = [watched]
    tasks = asyncio.all_tasks()
    sending = asyncio.create_task(send(session, server, path))
    await reached.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    ours = {task for task in asyncio.all_tasks() - tasks if "handlers/upload/client" in repr(task)}
    assert not ours
    assert len(server.cancelled) == 1


async def test_many_at_once(session: aiohttp.ClientSession, path: Path) -> None:
    """Uploads in one program do not disturb each other."""
    async with scripted() as one, scripted() as two:
        one.parts = [honest]
        found = await asyncio.gather(send(session, one, path), send(session, two, path))
    assert found == [receipt(path)] * 2
