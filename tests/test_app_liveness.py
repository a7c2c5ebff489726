"""Liveness is our own: any byte is life, and time in which we do not read does not count."""

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from jackfield.app.errors import Disconnected
from jackfield.app.service import DISPATCHER
from jackfield.app.socket.messages import Messages
from jackfield.app.socket.stream import Stream
from jackfield.testing import JackfieldServer, RunningService
from tests.support import handlers
from tests.support.handlers import raw, sections
from tests.support.outsider import Outsider, eventually
from tests.support.rawsocket import Opcode, RawSocket, frame
from tests.support.service import pingpong, running_service

SECTIONS = sections("echo", "busy", "bulk")


def messages(*parts: bytes) -> bytes:
    """Each as a binary message in one frame."""
    return b"".join(frame(Opcode.BINARY, part) for part in parts)


async def test_a_peer_silent_for_two_heartbeats_is_gone(jackfield_server: JackfieldServer) -> None:
    """It is pinged after one; when nothing comes it is cut after two, and the handler learns of it."""
    service = await jackfield_server(SECTIONS, heartbeat=0.2)
    busy = service.handlers["busy"]
    assert isinstance(busy, handlers.Busy)
    busy.gate.set()
    async with raw(service, "/busy") as opened:
        begun = time.monotonic()
        assert (await opened.frame()).opcode == Opcode.PING
        await opened.ended()
        assert time.monotonic() - begun > 0.3  # two of them, but for what the handshake took
    (end,) = await eventually(lambda: ends(busy))
    assert isinstance(end, Disconnected)
    assert (end.code, end.clean) == (1006, False)


async def ends(busy: handlers.Busy) -> list[BaseException | None]:
    """How its sockets ended, so far."""
    return busy.ends


async def test_any_byte_is_life(jackfield_server: JackfieldServer) -> None:
    """A peer that answers no ping but sends a byte now and then, even of a frame that takes its time, is not cut."""
    service = await jackfield_server(SECTIONS, heartbeat=0.3)
    unasked = [frame(Opcode.PONG)] * 8
    whole = frame(Opcode.BINARY, bytes(100))
    dripped = [*(whole[place : place + 1] for place in range(7)), whole[7:]]
    await asyncio.gather(*(drip(service, path, pieces) for path in ("/echo", "/bulk") for pieces in (unasked, dripped)))


async def drip(service: RunningService, path: str, pieces: list[bytes]) -> None:
    """Send the pieces over five heartbeats; at the end the service must still answer."""
    async with raw(service, path) as opened:
        for piece in pieces:
            await asyncio.sleep(0.2)  # it is time itself that is tested
            opened.write(piece)
        await opened.text("still there?")
        while not isinstance(answer := await opened.next(), str):
            assert isinstance(answer, bytes), answer
        assert answer.startswith("still there?")


async def test_time_in_which_we_do_not_read_does_not_count(jackfield_server: JackfieldServer) -> None:
    """A handler that is busy for many heartbeats, with so much queued that its socket is not read, loses nothing
    (fact 3), though the peer's pongs lie unread."""
    service = await jackfield_server(SECTIONS, heartbeat=0.1)
    busy = service.handlers["busy"]
    assert isinstance(busy, handlers.Busy)
    parts = [bytes([number]) * 100_000 for number in range(40)]
    async with raw(service, "/busy") as opened:
        sending = asyncio.create_task(opened.send(messages(*parts)))
        await asyncio.sleep(1)  # ten heartbeats
        assert not busy.ends
        busy.gate.set()
        for part in parts:
            assert await opened.next() == part
        await sending


async def test_a_link_that_is_cut_while_its_socket_is_not_read(jackfield_server: JackfieldServer) -> None:
    """The reset is noticed all the same, and what the socket holds is given back; the handler hears of it later."""
    service = await jackfield_server(SECTIONS, heartbeat=0.2)
    async with raw(service, "/busy") as opened:
        sending = asyncio.create_task(opened.send(messages(*[bytes(100_000)] * 100)))
        (connection,) = service.app[DISPATCHER].sessions

        async def not_read() -> bool:
            return not connection.transport.is_reading()

        await eventually(not_read)
        sending.cancel()
        await asyncio.wait([sending])
        opened.reset()

        async def lost() -> bool:
            return connection.lost

        await eventually(lost)


@pytest.mark.parametrize("path", ["/endless", "/upload"])
async def test_time_in_which_we_stood_still_does_not_count(tmp_path: Path, path: str) -> None:
    """A service that did not run for many heartbeats, as when its machine was suspended, cuts nobody for it."""
    endless = pingpong("/endless", rounds=0, interval="60s", timeout="60s")
    with running_service(tmp_path, server={"heartbeat": 0.2}, endless=endless) as service:
        async with Outsider(service) as client:
            opened = await client.connect(path)
            await opened.send(frame(Opcode.PING, b"before"))
            while (await opened.frame()).payload != b"before":
                pass
            service.signal(signal.SIGSTOP)
            await asyncio.sleep(1)  # five heartbeats
            service.signal(signal.SIGCONT)
            await opened.send(frame(Opcode.PING, b"after"))
            while (await opened.frame()).payload != b"after":
                pass


@pytest.mark.parametrize("queued", [0, 100])
async def test_pings_are_answered_while_the_handler_is_busy(jackfield_server: JackfieldServer, queued: int) -> None:
    """A ping is answered though nobody awaits a message (fact 4), and though some wait to be taken."""
    service = await jackfield_server(SECTIONS)
    async with raw(service, "/busy") as opened:
        await opened.send(messages(*[b"x"] * queued))
        for number in range(3):
            await opened.send(frame(Opcode.PING, bytes([number])))
            found = await opened.frame()
            assert (found.opcode, found.payload) == (Opcode.PONG, bytes([number]))


@pytest.mark.parametrize("path", ["/echo", "/bulk"])
async def test_a_ping_is_answered_before_anything_else_can_happen(jackfield_server: JackfieldServer, path: str) -> None:
    """When its bytes have been taken the answer is out: no message that follows is answered before it."""
    service = await jackfield_server(SECTIONS)
    async with raw(service, path) as opened:
        (connection,) = service.app[DISPATCHER].sessions
        give(connection.source, frame(Opcode.PING, b"now"))
        with socket.socket(fileno=os.dup(opened.writer.get_extra_info("socket").fileno())) as ours:
            assert ours.recv(100, socket.MSG_DONTWAIT) == b"\x8a\x03now"


def give(source: Messages | Stream, data: bytes) -> None:
    """As the transport would."""
    if isinstance(source, Messages):
        source.data_received(data)
    else:
        source.get_buffer(-1)[: len(data)] = data
        source.buffer_updated(len(data))


async def test_pings_do_not_pile_up_for_a_peer_that_does_not_read(jackfield_server: JackfieldServer) -> None:
    """Of 12 MiB of pings whose answers nobody reads a few KiB are kept: the others are passed over."""
    service = await jackfield_server(SECTIONS)
    opened = await RawSocket.connect(service.port, receive_buffer=4096)
    await opened.upgrade("/busy")
    ping = frame(Opcode.PING, bytes(125)) * 1000
    for _ in range(100):
        await opened.send(ping)
    await opened.delivered()
    dispatcher = service.app[DISPATCHER]
    (connection,) = dispatcher.sessions
    assert connection.backlog <= 17 * 1024
    await opened.dispose()
