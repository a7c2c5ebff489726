"""Uploads of what cannot be read twice, against a server that misbehaves on cue."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from jackfield.handlers.upload.client import Receipt, Unrepeatable, replay, upload_stream
from tests.support.scripted import Conversation, Scripted

KIB, MIB = 1024, 1024 * 1024


def receipt(data: bytes) -> Receipt:
    return Receipt("x", len(data), hashlib.sha256(data).hexdigest())


async def chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
        yield b""  # an empty chunk is not the end


async def send(
    session: aiohttp.ClientSession, server: Scripted, source: AsyncIterator[bytes], **options: Any
) -> Receipt:
    return await upload_stream(session, server.url, source, name="x", **{"give_up": 10.0, **options})


@pytest.mark.parametrize("size", [1, 1000, 64 * KIB, MIB, 5 * MIB])
async def test_chunks_of_any_size(session: aiohttp.ClientSession, server: Scripted, size: int) -> None:
    """Chunks of any size, empty ones too, arrive as one file; no size is promised."""
    data = os.urandom(min(3 * MIB, 100 * size) + 7)
    assert await send(session, server, chunks(data, size)) == receipt(data)
    assert server.bytes == data
    assert server.promises == [{"name": "x"}]


async def test_nothing(session: aiohttp.ClientSession, server: Scripted) -> None:
    """A stream that ends at once is an empty file."""
    assert await send(session, server, chunks(b"", 1)) == receipt(b"")


async def test_promised_size(session: aiohttp.ClientSession, server: Scripted) -> None:
    """A size that the caller knows is promised."""
    await send(session, server, chunks(b"abc", 2), size=3)
    assert server.promises == [{"name": "x", "size": 3}]


@pytest.mark.parametrize("lost", [0, 1, 64 * KIB, 100_000])
async def test_dropped_connection(session: aiohttp.ClientSession, server: Scripted, lost: int) -> None:
    """After a cut the bytes that were not durable are sent again, from whatever byte the server wants."""
    data = os.urandom(2 * MIB)

    async def cut(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(len(server.bytes) + 700_000, acks=False)
        await conversation.ack(durable=len(server.bytes) - lost)
        conversation.drop()
        del server.bytes[len(server.bytes) - lost :]

    server.parts = [cut, cut]
    assert await send(session, server, chunks(data, 50_000), window=2 * MIB) == receipt(data)
    assert server.bytes == data


async def test_durable_bytes_are_let_go(
    session: aiohttp.ClientSession, server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more is held than the limit: reading pauses until the server made some durable, and goes on."""
    monkeypatch.setattr(replay, "_HELD", 256 * KIB)
    data = os.urandom(MIB)
    read = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal read
        async for chunk in chunks(data, 64 * KIB):
            read += len(chunk)
            yield chunk

    async def slow_disk(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(256 * KIB, acks=False)
        await conversation.ack(durable=0)
        with pytest.raises(TimeoutError):
            await conversation.socket.receive(timeout=0.3)
        assert read == 256 * KIB
        await conversation.ack()
        await conversation.take()
        await conversation.stored()

    server.parts = [slow_disk]
    assert await send(session, server, counted()) == receipt(data)
    assert server.sockets == 1


async def test_bytes_that_are_not_held(session: aiohttp.ClientSession, server: Scripted) -> None:
    """A server that wants bytes again which it had called durable cannot be served, and it is said."""

    async def forget(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(MIB)
        conversation.drop()
        server.bytes.clear()

    server.parts = [forget]
    with pytest.raises(Unrepeatable, match="byte 0 of a stream"):
        await send(session, server, chunks(os.urandom(2 * MIB), 64 * KIB))


async def test_slow_source_is_no_lack_of_progress(session: aiohttp.ClientSession, server: Scripted) -> None:
    """Time in which the source has nothing to give does not count, not even over a lost connection."""

    async def slow() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.sleep(1.5)
        yield b"last"

    async def idle(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):  # longer than the client's patience
                await conversation.socket.receive()  # answers pings meanwhile
        await conversation.fail(408, "idle")

    server.parts = [idle]
    assert await send(session, server, slow(), give_up=0.5) == receipt(b"firstlast")
    assert server.offsets[:2] == [0, 5]


async def test_source_that_fails(session: aiohttp.ClientSession, server: Scripted) -> None:
    """What the source raises reaches the caller as it is, and no end is said."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"first"
        raise ConnectionResetError("mine")

    with pytest.raises(ConnectionResetError, match="mine"):
        await send(session, server, broken())
    assert server.ends == []


async def test_cancelled_while_the_source_waits(session: aiohttp.ClientSession, server: Scripted) -> None:
    """Cancelling ends the wait for the source, which is closed."""
    waiting, closed = asyncio.Event(), asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            waiting.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    sending = asyncio.create_task(send(session, server, endless()))
    await waiting.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert closed.is_set()
