"""What the service sends: every message whole and in its order, whichever way it takes, and nothing after the end."""

import asyncio

from jackfield.app.handler import Connection, Disconnected
from jackfield.testing import JackfieldServer
from tests.support import handlers
from tests.support.handlers import raw, sections
from tests.support.rawsocket import Closed, Frame, Opcode, RawSocket, frame

LENGTHS = (0, 1, 125, 126, 16 * 1024, 16 * 1024 + 1, 65535, 65536, 2**20)  # where the form or the way changes


async def test_messages_of_every_length_arrive_whole(jackfield_server: JackfieldServer) -> None:
    """Each is one frame of its own, text as text, bytes as bytes."""
    service = await jackfield_server(sections("echo"))
    async with raw(service, "/echo") as opened:
        for length in LENGTHS:
            await opened.text("x" * length)
            assert await opened.frame() == Frame(Opcode.TEXT, b"x" * length)
            await opened.binary(bytes(length))
            assert await opened.frame() == Frame(Opcode.BINARY, bytes(length))
        await opened.text("ä€😀")
        assert await opened.next() == "ä€😀"


async def test_short_messages_keep_their_place_among_long_ones(jackfield_server: JackfieldServer) -> None:
    """Behind a long message that a slow reader has not taken, short ones and pongs wait for their turn."""
    service = await jackfield_server(sections("scripted"))
    scripted = service.handlers["scripted"]
    assert isinstance(scripted, handlers.Scripted)
    sent: list[str | bytes] = []

    async def serve(connection: Connection) -> None:
        async def say(message: str | bytes) -> None:
            sent.append(message)
            await connection.send(message)

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(say(bytes([number]) * 500_000))
                group.create_task(say(f"behind {number}"))
        await connection.receive()

    scripted.script = serve
    opened = await RawSocket.connect(service.port, receive_buffer=4096)
    await opened.upgrade("/scripted")
    await asyncio.sleep(0.1)  # the buffers on the way fill
    await opened.send(frame(Opcode.PING, b"?"))
    await opened.text("enough")
    got = []
    while (found := await opened.frame()).opcode != Opcode.CLOSE:
        if found.opcode != Opcode.PONG:
            got.append(found.payload)
    assert got == [message.encode() if isinstance(message, str) else message for message in sent]
    await opened.dispose()


async def test_nothing_follows_the_close_frame(jackfield_server: JackfieldServer) -> None:
    """A task that a handler has left behind cannot send any more: it is told that the socket is gone."""
    service = await jackfield_server(sections("scripted"))
    scripted = service.handlers["scripted"]
    assert isinstance(scripted, handlers.Scripted)
    told: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    tasks = []

    async def chatter(connection: Connection) -> None:
        try:
            while True:
                await connection.send("still here")
                await asyncio.sleep(0)
        except Disconnected as end:
            told.set_result(end)

    async def serve(connection: Connection) -> None:
        tasks.append(asyncio.create_task(chatter(connection)))
        await connection.receive()

    scripted.script = serve
    async with raw(service, "/scripted") as opened:
        await opened.text("end it")
        while (found := await opened.next()) == "still here":
            pass
        assert found == Closed(1000, "done")
        async with asyncio.timeout(5):
            await told
        await opened.close(1000)
        await opened.ended()
