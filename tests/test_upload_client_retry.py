"""The Python client against a service that breaks off, falls silent, forgets or is busy."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from jackfield.handlers.upload.client import (
    Receipt,
    Unreachable,
    upload,
)
from tests.support.scripted import Conversation, Scripted, for_ever, problem, receipt

KIB, MIB = 1024, 1024 * 1024


async def send(session: aiohttp.ClientSession, server: Scripted, path: Path, **options: Any) -> Receipt:
    return await upload(session, server.url, path, **{"give_up": 10.0, **options})


async def test_dropped_connection(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """After a cut it goes on where the server says, also when that lost bytes it had acknowledged."""

    async def cut(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(2 * MIB)
        conversation.drop()
        del server.bytes[MIB + 77 :]

    server.parts = [cut, cut]
    assert await send(session, server, path) == receipt(path)
    assert server.bytes == path.read_bytes()
    assert server.offsets == [0, MIB + 77, MIB + 77]
    assert len(server.created) == 1


async def test_dropped_after_the_end(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """When the connection is lost between `end` and the receipt, the receipt is asked for again."""

    async def cut(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take()
        server.receipt = {"name": "x", "size": len(server.bytes), "sha256": receipt(path).sha256}
        conversation.drop()

    server.parts = [cut]
    assert await send(session, server, path) == receipt(path)
    assert len(server.ends) == 1
    assert len(server.created) == 1


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 1000, 4408, 4429])
async def test_closes_that_ask_to_come_back(
    session: aiohttp.ClientSession, server: Scripted, path: Path, code: int
) -> None:
    """A service that restarts, is busy, found us idle or leaves in the middle is come back to."""

    async def leave(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(MIB)
        await conversation.socket.close(code=code)

    server.parts = [leave]
    assert await send(session, server, path) == receipt(path)
    assert server.offsets[0] == 0
    assert server.offsets[1] >= MIB


async def test_upload_that_is_gone(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """When the service has forgotten the upload after a cut, it is created anew and sent whole."""

    async def lose(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(MIB)
        server.open = False
        conversation.drop()

    server.parts = [lose]
    assert await send(session, server, path) == receipt(path)
    assert len(server.created) == 2
    assert server.offsets == [0, 0]


async def test_upload_that_is_always_gone(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A service that forgets each upload at once (several behind one address, say) is given up."""

    async def forget(conversation: Conversation) -> None:
        server.open = False
        conversation.drop()

    server.parts = [forget] * 999
    with pytest.raises(Unreachable):
        await send(session, server, path, give_up=1.0)
    assert len(server.created) > 1


async def test_prefix_that_differs(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """When the server has other first bytes than the file, they are forgotten and all is sent anew."""

    async def confused(conversation: Conversation) -> None:
        server.bytes += b"something else"
        await conversation.ready()
        await conversation.take()
        await conversation.stored()

    server.parts = [confused]
    assert await send(session, server, path) == receipt(path)
    assert (server.restarts, server.bytes == path.read_bytes()) == (1, True)


async def test_server_that_has_too_much(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """An offset beyond the end of the file is answered with `restart`."""

    async def confused(conversation: Conversation) -> None:
        server.bytes += bytes(4 * MIB)
        await conversation.ready(sha256=None)
        await conversation.take()
        await conversation.stored()

    server.parts = [confused]
    assert await send(session, server, path) == receipt(path)
    assert server.restarts == 1


async def test_late_ack_before_the_restart(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """An acknowledgement that crossed our `restart` is not taken for the answer to it."""

    async def confused(conversation: Conversation) -> None:
        server.bytes += b"something else"
        await conversation.ready()
        await conversation.ack()
        await conversation.take()
        await conversation.stored()

    server.parts = [confused]
    assert await send(session, server, path) == receipt(path)


@pytest.mark.parametrize(("status", "code"), [(429, "too_many_uploads"), (503, "draining"), (500, "oops")])
async def test_busy_service(
    session: aiohttp.ClientSession, server: Scripted, path: Path, status: int, code: str
) -> None:
    """A busy service is asked again, not before the time it named, and the caller hears why it waits."""
    notes: list[str | None] = []
    server.answers = [problem(status, code, Retry_After="1")]
    began = asyncio.get_running_loop().time()
    await send(session, server, path, progress=lambda progress: notes.append(progress.note))
    assert asyncio.get_running_loop().time() - began >= 1
    assert f"because: {code}; trying again" in notes
    assert len(server.created) == 2


async def test_busy_until_patience_ends(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A `Retry-After` beyond the caller's patience is cut short: one last attempt, then Unreachable."""
    server.answers = [problem(429, "too_many_uploads", Retry_After="3600")] * 9
    with pytest.raises(Unreachable, match="too_many_uploads"):
        await send(session, server, path, give_up=0.5)
    assert len(server.created) == 2


async def test_nobody_listens(session: aiohttp.ClientSession, path: Path) -> None:
    """An unreachable service is tried again until patience ends, then it is Unreachable."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refused, and nobody else can have it
        with pytest.raises(Unreachable, match="gave up after"):
            await upload(session, f"http://127.0.0.1:{taken.getsockname()[1]}", path, give_up=0.5)


async def test_silence_from_the_start(session: aiohttp.ClientSession, path: Path) -> None:
    """A server that takes the connection and says nothing is given up as well."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        url = f"http://127.0.0.1:{hole.getsockname()[1]}"
        with pytest.raises(Unreachable, match="does not answer"):
            await upload(session, url, path, give_up=0.5, connect_timeout=0.5)


async def test_silence_on_the_socket(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A socket on which nothing is said, not even a pong, is left and opened anew."""

    async def silent(conversation: Conversation) -> None:
        await conversation.ready()
        await for_ever()

    server.parts = [silent]
    assert await send(session, server, path, give_up=2.0) == receipt(path)
    assert server.sockets == 2


async def test_server_that_takes_nothing(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A server that answers pings but acknowledges nothing makes no progress, and is given up."""

    async def idle(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(acks=False)

    server.parts = [idle] * 99
    with pytest.raises(Unreachable, match="no bytes were taken"):
        await send(session, server, path, give_up=1.5)


async def test_crash_loop_is_no_progress(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A server that takes the same bytes again and again, and loses them, is given up in the end."""

    async def crash(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(MIB)
        server.bytes.clear()
        conversation.drop()

    server.parts = [crash] * 999
    with pytest.raises(Unreachable):
        await send(session, server, path, give_up=1.5)
    assert server.sockets > 1


@pytest.mark.parametrize("cut", [False, True])
async def test_long_wait_for_the_receipt(
    session: aiohttp.ClientSession, server: Scripted, path: Path, cut: bool
) -> None:
    """After `end` the server may take longer than our patience, as long as it answers pings; a connection
    that is lost then is made anew like any other."""

    async def slow(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await conversation.socket.receive()  # answers pings meanwhile
        if cut:
            server.receipt = {"name": "x", "size": len(server.bytes), "sha256": receipt(path).sha256}
            conversation.drop()
        else:
            await conversation.stored()

    server.parts = [slow]
    assert await send(session, server, path, give_up=1.0) == receipt(path)
    assert server.sockets == 1  # the second socket, if any, gets the receipt at once
