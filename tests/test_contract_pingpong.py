"""The contract, "pingpong": a conversation in text, and what ends it."""

import asyncio
import time

import pytest

from tests.support.outsider import Outsider
from tests.support.rawsocket import Closed, Frame, Opcode, fragments, frame


async def test_every_round_is_played_and_the_socket_closed(outsider: Outsider) -> None:
    """`ping` is sent `rounds` times, each one interval after the answer before, then 1000 `done`."""
    opened = await outsider.connect("/pingpong")
    pauses = []
    for _ in range(3):
        asked = time.monotonic()
        assert await opened.next() == "ping"
        pauses.append(time.monotonic() - asked)
        await opened.text("pong")
    assert await opened.closed() == Closed(1000, "done")
    assert min(pauses[1:]) > 0.04, "the interval is 0.05 s"
    await opened.close(1000)
    await opened.ended()


@pytest.mark.parametrize("answer", ["ping", "PONG", "pong ", "", "pöng", "x" * 2**16], ids=range(6))
async def test_any_other_text_ends_it(outsider: Outsider, answer: str) -> None:
    """A text that is not exactly `pong` closes 1000 and the reason says what was expected."""
    opened = await outsider.connect("/pingpong")
    assert await opened.next() == "ping"
    await opened.text(answer)
    assert await opened.closed() == Closed(1000, "Expected 'pong'")


@pytest.mark.parametrize("payload", [b"", b"pong", bytes(70_000)], ids=["empty", "pong", "long"])
async def test_a_binary_message_is_not_understood(outsider: Outsider, payload: bytes) -> None:
    """Binary, whatever it holds, closes 1003."""
    opened = await outsider.connect("/pingpong")
    assert await opened.next() == "ping"
    await opened.binary(payload)
    assert await opened.closed() == Closed(1003, "Unexpected message")


async def test_a_late_answer_is_timed_out(outsider: Outsider) -> None:
    """Nothing within `timeout` closes 4408, and a ping frame is not an answer."""
    opened = await outsider.connect("/impatient")
    assert await opened.next() == "ping"
    await opened.send(frame(Opcode.PING, b"still here"))
    assert (await opened.closed()).code == 4408


async def test_a_message_in_many_frames_is_one_message(outsider: Outsider) -> None:
    """`pong` counts however it is cut, with an empty frame at its end and a ping in its middle."""
    opened = await outsider.connect("/pingpong")
    for parts in ([b"p", b"o", b"n", b"g"], [b"", b"pong", b""], [b"po", b"ng"]):
        assert await opened.next() == "ping"
        first, *rest = fragments(Opcode.TEXT, parts)
        await opened.dribble([first, frame(Opcode.PING, b"between"), *rest])
        assert await opened.frame() == Frame(Opcode.PONG, b"between")
    assert await opened.closed() == Closed(1000, "done")


async def test_bytes_that_come_one_by_one_are_a_message(outsider: Outsider) -> None:
    """A frame whose every byte has a TCP segment of its own is understood."""
    opened = await outsider.connect("/pingpong")
    assert await opened.next() == "ping"
    data = frame(Opcode.TEXT, b"pong")
    await opened.dribble(data[at : at + 1] for at in range(len(data)))
    assert await opened.next() == "ping"


async def test_no_rounds_go_on_until_the_client_leaves(outsider: Outsider) -> None:
    """With `rounds: 0` there is always one more, and the client's own Close is answered."""
    opened = await outsider.connect("/endless")
    for _ in range(30):
        assert await opened.next() == "ping"
        await opened.text("pong")
    await opened.close(1000, b"enough")
    while not isinstance(found := await opened.next(), Closed):
        assert found == "ping"
    assert found.code == 1000
    await opened.ended()


@pytest.mark.parametrize("payload", [b"", b"x", bytes(125)])
async def test_a_ping_is_answered_with_its_own_payload(outsider: Outsider, payload: bytes) -> None:
    """A pong carries what the ping carried, while the handler waits for something else."""
    opened = await outsider.connect("/patient")
    assert await opened.next() == "ping"
    await opened.send(frame(Opcode.PING, payload))
    assert await opened.frame() == Frame(Opcode.PONG, payload)


async def test_sockets_do_not_wait_for_each_other(outsider: Outsider) -> None:
    """A hundred conversations at once all come to their end."""

    async def converse() -> Closed:
        opened = await outsider.connect("/pingpong")
        while (found := await opened.next()) == "ping":
            await opened.text("pong")
        assert isinstance(found, Closed)
        return found

    assert await asyncio.gather(*(converse() for _ in range(100))) == [Closed(1000, "done")] * 100


async def test_a_client_that_vanishes_leaves_no_trace(outsider: Outsider) -> None:
    """A reset, a FIN and half a frame end a conversation without a fault of ours in the log."""
    for leave in ("reset", "drop", "half_close"):
        opened = await outsider.connect("/pingpong")
        assert await opened.next() == "ping"
        await opened.dribble([frame(Opcode.TEXT, b"pong")[:3]])
        getattr(opened, leave)()
        if leave == "half_close":
            await opened.ended()
    assert (await outsider.get("/healthz")).status == 200
