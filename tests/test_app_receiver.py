"""Receiving: any framing and any segmentation give the same bytes, in bounded memory."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jackfield.app.errors import Close, Disconnected
from jackfield.app.socket.buffers import Buffers
from jackfield.app.socket.frames import masked_close
from jackfield.app.socket.messages import Messages
from jackfield.app.socket.stream import Batch, Stream
from tests.support.rawsocket import Opcode, close_payload, fragments, frame
from tests.support.wire import SLAB, Wire, small_slabs

Script = list[tuple[Opcode, list[bytes]]]
"""Messages with their fragments, and control frames, which may stand between fragments."""


payloads = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda size, salt: bytes((salt + place) % 251 for place in range(size)),
              st.integers(200, 3 * SLAB), st.integers(0, 250)),
)  # fmt: skip
texts = st.text(max_size=60).map(lambda text: text.encode())
steps = st.one_of(
    st.tuples(st.just(Opcode.BINARY), st.lists(payloads, min_size=1, max_size=4)),
    st.tuples(st.just(Opcode.TEXT), st.lists(texts, min_size=1, max_size=3)),
    st.tuples(st.just(Opcode.PING), st.lists(st.binary(max_size=125), min_size=1, max_size=1)),
    st.tuples(st.just(Opcode.PONG), st.lists(st.binary(max_size=125), min_size=1, max_size=1)),
)
scripts = st.lists(steps, max_size=8)
segments = st.lists(st.one_of(st.integers(1, 20), st.integers(1, 3 * SLAB)), max_size=60)


def wire_form(script: Script, controls_inside: bool) -> bytes:
    """All of it on the wire; control frames between the fragments of the message behind them where that is asked."""
    whole, waiting = b"", b""
    for opcode, parts in script:
        if opcode >= Opcode.CLOSE:
            waiting += frame(opcode, parts[0])
            continue
        first, *rest = fragments(opcode, parts)
        whole += first + waiting + b"".join(rest) if controls_inside and rest else waiting + first + b"".join(rest)
        waiting = b""
    return whole + waiting


def whole_messages(script: Script) -> list[str | bytes]:
    """The messages in it, as a handler should get them."""
    joined = [(opcode, b"".join(parts)) for opcode, parts in script if opcode < Opcode.CLOSE]
    return [data.decode() if opcode == Opcode.TEXT else data for opcode, data in joined]


def as_stream(messages: list[str | bytes]) -> list[str | bytes]:
    """The same where messages of bytes have no bounds."""
    found: list[str | bytes] = []
    for message in messages:
        if isinstance(message, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += message
        elif message or isinstance(message, str):
            found.append(message)
    return found


def pings(script: Script) -> list[bytes]:
    """What must be answered."""
    return [parts[0] for opcode, parts in script if opcode == Opcode.PING]


# -- any framing, any segmentation


@settings(max_examples=300)
@given(script=scripts, cuts=segments, controls_inside=st.booleans())
async def test_messages_are_the_same_however_they_are_cut(
    script: Script, cuts: list[int], controls_inside: bool
) -> None:
    """Whole messages: fragments, segments and control frames in between change nothing."""
    wire = Wire()
    receiver = wire.messages()
    wire.feed(wire_form(script, controls_inside), cuts)
    wire.feed(frame(Opcode.CLOSE, close_payload(1000)))
    assert await drained(receiver) == whole_messages(script)
    assert wire.pings == pings(script)
    assert receiver.received == sum(len(part) for opcode, parts in script if opcode < Opcode.CLOSE for part in parts)


async def drained(receiver: Messages) -> list[str | bytes]:
    """All messages up to a clean end."""
    got = []
    while receiver._items:
        got.append(receiver.ready())
    with pytest.raises(Disconnected) as end:
        receiver.ready()
    assert (end.value.code, end.value.clean) == (1000, True)
    return got


@settings(max_examples=300)
@given(
    script=scripts, cuts=segments, controls_inside=st.booleans(), least=st.integers(1, 2 * SLAB), held=st.integers(0, 3)
)
async def test_a_stream_is_the_same_however_it_is_cut(
    script: Script, cuts: list[int], controls_inside: bool, least: int, held: int
) -> None:
    """Bulk: the same bytes and texts in order, while the handler keeps some batches back; never more memory than
    the budget, and none of it when all is done."""
    with small_slabs():
        wire, buffers = Wire(), Buffers(4 * SLAB, 3 * SLAB)
        stream = wire.stream(buffers)
        wire.unread += wire_form(script, controls_inside) + frame(Opcode.CLOSE, close_payload(1000))
        feeding = asyncio.create_task(trickle(wire, cuts))
        got, batches = [], []
        while not isinstance(item := await taken(stream, least), Disconnected):
            got.append(item if isinstance(item, str) else b"".join(item.views))
            if isinstance(item, Batch):
                batches.append(item)
                while len(batches) > held or (stream.paused and batches):
                    batches.pop(0).release()
        assert (item.code, item.clean) == (1000, True)
        await feeding
        for batch in batches:
            batch.release()
        assert as_stream(got) == as_stream(whole_messages(script))
        assert wire.pings == pings(script)
        stream.connection_lost(None)
        assert buffers.used == 0
        assert wire.inner.lost


async def taken(stream: Stream, least: int) -> Batch | str | Disconnected:
    """The next of a stream, its end included."""
    try:
        return await stream.next(least)
    except Disconnected as end:
        return end


async def trickle(wire: Wire, cuts: list[int]) -> None:
    """Give what there is in segments of these sizes, and then as the receiver takes it."""
    receiver = wire.receiver
    assert isinstance(receiver, Stream)
    for size in cuts:
        wire.give(size)
        assert receiver._buffers.used <= 4 * SLAB
        await asyncio.sleep(0)
    while wire.unread:
        wire.give(2**30)
        assert receiver._buffers.used <= 4 * SLAB
        await asyncio.sleep(0)


# -- ahead of the handler


async def test_a_handler_that_is_busy_bounds_what_is_received_ahead() -> None:
    """Of whole messages about half a MiB is received ahead, empty ones count too; then reading stops until half of
    it is taken."""
    for size in (0, 10, 100_000):
        wire = Wire()
        receiver = wire.messages()
        wire.unread += frame(Opcode.BINARY, bytes(size)) * (2**21 // (size + 128))
        while not receiver.paused:
            wire.give(4096)
            await asyncio.sleep(0)
        queued = len(receiver._items)
        assert queued * (size + 128) <= 2**19 + 128 + size + 4096 * (128 + size) // (size + 6)
        while receiver.paused:
            assert receiver.ready() == bytes(size)
        assert len(receiver._items) < queued


async def test_time_in_which_we_do_not_read_is_no_silence() -> None:
    """When reading goes on the peer counts as heard: it had no chance before (fact 3)."""
    wire = Wire()
    receiver = wire.messages()
    wire.feed(frame(Opcode.BINARY, bytes(2**20)))
    assert receiver.paused
    receiver.heard -= 1000
    receiver.ready()
    assert asyncio.get_running_loop().time() - receiver.heard < 500


# -- the end


@pytest.mark.parametrize("size", [100, 300_000, 1_000_000])
async def test_what_follows_a_broken_frame_is_read_and_thrown_away(size: int) -> None:
    """However much comes behind a frame that breaks the rules, the socket stays readable, so that our Close frame
    is not lost in a reset."""
    wire, buffers = Wire(), Buffers(4 * 2**20)
    stream = wire.stream(buffers)
    wire.feed(frame(Opcode.BINARY, b"kept") + frame(Opcode.BINARY, bytes(size), masked=False) + bytes(size))
    assert not wire.unread
    batch = await stream.next()
    assert isinstance(batch, Batch)
    assert b"".join(batch.views) == b"kept"
    batch.release()
    with pytest.raises(Close) as end:
        await stream.next()
    assert end.value.code == 1002
    assert buffers.used == 0


async def test_aiohttp_is_told_of_the_close_frame_and_of_nothing_else() -> None:
    """The inner protocol gets the Close frame, unmasked in effect, to end the handshake; payload never reaches it."""
    for plug in (Wire.messages, lambda wire: wire.stream(Buffers(2**20))):
        wire = Wire()
        plug(wire)
        payload = close_payload(3001, "päng".encode())
        wire.feed(frame(Opcode.TEXT, b"tea") + frame(Opcode.PING) + frame(Opcode.CLOSE, payload) + b"\xff" * 100)
        assert wire.inner.data == masked_close(payload)
