"""The frames of the command, as they come out of the kernel; over real sockets."""

import asyncio
import os
import select
import socket
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from jackfield.app.socket.frames import BINARY, CLOSE, PONG, TEXT
from jackfield.handlers.upload.client import Receipt, Superseded, upload
from jackfield.handlers.upload.command.direct import connect
from tests.support.outsider import eventually
from tests.support.recorder import Recorder
from tests.support.scripted import Conversation, Scripted, scripted

KIB, MIB = 1024, 1024 * 1024
KERNEL = 64 * KIB  # bytes that each kernel holds of a connection, about


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with scripted() as found:
        found.window = 16 * MIB
        yield found


@pytest.fixture
def socks() -> list[socket.socket]:
    """The client's sockets."""
    return []


@pytest.fixture
async def session(socks: list[socket.socket]) -> AsyncIterator[aiohttp.ClientSession]:
    """Its kernel takes little at a time."""

    def sock(address: Any) -> socket.socket:
        family, kind, number, *_ = address
        socks.append(socket.socket(family, kind, number))
        socks[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL)
        return socks[-1]

    connector = aiohttp.TCPConnector(socket_factory=sock)
    async with aiohttp.ClientSession(connector=connector) as found:
        yield found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three messages, and a bit that is no whole number of machine words."""
    file = tmp_path / "data.bin"
    file.write_bytes(os.urandom(3 * MIB + 12347))
    return file


async def send(session: aiohttp.ClientSession, server: Scripted, path: Path, **options: Any) -> Receipt:
    return await upload(session, server.url, path, connect=connect, **{"give_up": 10.0, **options})


async def stuck(socks: list[socket.socket]) -> None:
    """Until the kernel takes no more of the client; it has begun with its first frame then, and not ended."""

    async def full() -> bool:
        return not select.select([], socks[-1:], [], 0)[1]

    await eventually(full)


async def test_each_frame_has_a_key_of_its_own(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """Each is masked with another key, none with zero, and clear they are the file."""
    recorders: list[Recorder] = []

    async def part(conversation: Conversation) -> None:
        await conversation.ready()
        recorders.append(Recorder(conversation))
        await recorders[0].store()

    server.parts = [part]
    assert (await send(session, server, path)).size == path.stat().st_size
    frames = recorders[0].frames
    keys = {key for _, key, _ in frames}
    assert len(keys) == len(frames) > 4
    assert bytes(4) not in keys
    assert recorders[0].file == path.read_bytes()


async def test_long_messages(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """In a wide window a message has 1 MiB, whether the service likes shorter or longer ones."""
    for liked in (64 * KIB, 4 * MIB):
        server.message_size = liked
        server.messages.clear()
        await send(session, server, path)
        assert server.messages == [MIB, MIB, MIB, 12347]


async def test_ping_in_the_middle_of_a_frame(
    session: aiohttp.ClientSession, server: Scripted, path: Path, socks: list[socket.socket]
) -> None:
    """A ping is answered behind the frame that is under way, and acknowledgements are heard meanwhile."""
    recorders: list[Recorder] = []
    acknowledged = asyncio.Event()

    async def part(conversation: Conversation) -> None:
        await conversation.ready()
        recorders.append(Recorder(conversation))
        await stuck(socks)
        await conversation.socket.ping(b"one")
        await conversation.socket.ping(b"two")
        await conversation.say(type="ack", offset=1, durable=0)
        await acknowledged.wait()
        await recorders[0].store()

    server.parts = [part]
    await send(session, server, path, progress=lambda heard: acknowledged.set() if heard.offset == 1 else None)
    opcodes = [opcode for opcode, _, _ in recorders[0].frames]
    assert opcodes[:3] == [BINARY, PONG, BINARY]
    assert [payload for opcode, _, payload in recorders[0].frames if opcode == PONG] == [b"two"]
    assert recorders[0].file == path.read_bytes()


async def test_cancelled_in_the_middle_of_a_frame(
    session: aiohttp.ClientSession, server: Scripted, path: Path, socks: list[socket.socket]
) -> None:
    """Nothing follows the part of a frame that went out: no Close frame is taken for bytes of the file."""
    recorders: list[Recorder] = []
    reached = asyncio.Event()

    async def part(conversation: Conversation) -> None:
        await conversation.ready()
        recorders.append(Recorder(conversation))
        await stuck(socks)
        reached.set()

    server.parts = [part]
    sending = asyncio.create_task(send(session, server, path))
    await reached.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await recorders[0].over()
    ((opcode, _, payload),) = recorders[0].frames
    assert opcode == BINARY
    assert 0 < len(payload) < MIB
    assert path.read_bytes().startswith(payload)


async def test_closed_in_the_middle_of_a_frame(
    session: aiohttp.ClientSession, server: Scripted, path: Path, socks: list[socket.socket]
) -> None:
    """A service that closes meanwhile is heard, and nothing follows the part of the frame either."""
    recorders: list[Recorder] = []

    async def part(conversation: Conversation) -> None:
        await conversation.ready()
        recorders.append(Recorder(conversation))
        await stuck(socks)
        await conversation.socket.send_frame((4409).to_bytes(2, "big"), aiohttp.WSMsgType.CLOSE)
        await recorders[0].over()

    server.parts = [part]
    with pytest.raises(Superseded):
        await send(session, server, path)
    ((_, _, payload),) = recorders[0].frames
    assert path.read_bytes().startswith(payload)


async def test_between_frames_it_closes_politely(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """Where no frame is under way, a Close frame ends the socket, masked as all the others."""
    recorders: list[Recorder] = []

    async def part(conversation: Conversation) -> None:
        await conversation.ready()
        recorders.append(Recorder(conversation))
        await recorders[0].store()
        await conversation.socket.send_frame((1000).to_bytes(2, "big"), aiohttp.WSMsgType.CLOSE)
        await recorders[0].over()

    server.parts = [part]
    await send(session, server, path)
    await recorders[0].over()
    assert [opcode for opcode, _, _ in recorders[0].frames] == [BINARY] * 4 + [TEXT, CLOSE]


async def test_slow_link(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A link on which a message takes longer than our patience, but moves, is not given up."""

    async def part(conversation: Conversation) -> None:
        await conversation.ready()
        recorder = Recorder(conversation)
        for _ in range(3):
            assert await recorder.taste() < MIB
            await conversation.say(type="ack", offset=0, durable=0)
            await asyncio.sleep(0.85)  # so slow is the link
        await recorder.store()

    server.parts = [part]
    await send(session, server, path, give_up=2.4)
    assert server.sockets == 1


async def test_memory_is_bounded(session: aiohttp.ClientSession, server: Scripted, tmp_path: Path) -> None:
    """A large file takes the memory of a few pieces, on both sides of this test together."""
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        file.truncate(128 * MIB)

    async def part(conversation: Conversation) -> None:
        await conversation.ready(window=1024 * MIB)
        async for message in conversation.socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                await conversation.stored(size=128 * MIB, sha256=message.json()["sha256"])

    server.parts = [part]
    tracemalloc.start()
    try:
        await send(session, server, large)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 * MIB
