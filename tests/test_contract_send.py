"""The contract, "Send", 1 to 3: `ready`, bytes in any framing, and acks."""

import asyncio
import itertools
import time
from collections.abc import Iterator

import pytest

from tests.support.outsider import Outsider, UploadSocket, content, digest, eventually, fresh_name
from tests.support.rawsocket import Frame, Opcode, Refusal, fragments, frame, header

MIB = 2**20


def cut(data: bytes, *sizes: int) -> list[bytes]:
    """The bytes in pieces of these sizes, over and over."""
    pieces, at, turn = [], 0, 0
    while at < len(data):
        pieces.append(data[at : at + sizes[turn % len(sizes)]])
        at, turn = at + sizes[turn % len(sizes)], turn + 1
    return pieces


def messages(parts: list[bytes]) -> list[bytes]:
    """Each part as a binary message of its own."""
    return [frame(Opcode.BINARY, part) for part in parts]


def framings() -> Iterator[tuple[str, bytes, list[bytes]]]:
    """A name, the bytes, and the frames that carry them."""
    small, large = content(3_000), content(MIB + 7)
    yield "one frame", large, messages([large])
    yield (
        "fragments of odd sizes",
        large,
        fragments(Opcode.BINARY, cut(large, 1, 4093, 125, 126, 65535, 65536, 65537)),
    )
    yield "chromium: fragments of 131,000", large, fragments(Opcode.BINARY, cut(large, 131_000))
    yield "an empty final fragment", large, fragments(Opcode.BINARY, [*cut(large, 65536), b""])
    yield (
        "empty fragments everywhere",
        small,
        fragments(Opcode.BINARY, [b"", small[:1], b"", small[1:], b"", b""]),
    )
    yield "empty messages", small, messages([b"", small[:1000], b"", b"", small[1000:], b""])
    yield "frames of one byte", small, fragments(Opcode.BINARY, cut(small, 1))
    yield "messages of one byte", small, messages(cut(small, 1))
    yield "messages of 64 KiB", large, messages(cut(large, 65536))
    yield "messages around each length form", large, messages(cut(large, 125, 126, 127, 65535, 65536))
    pinged = fragments(Opcode.BINARY, cut(large, 50_000))
    yield (
        "pings between fragments",
        large,
        [part + frame(Opcode.PING, b"?") for part in pinged[:-1]] + pinged[-1:],
    )


FRAMINGS = list(framings())


async def test_ready_says_what_is_wanted(outsider: Outsider) -> None:
    """The first message names the upload, the next byte wanted, and how to send best."""
    name = fresh_name()
    for promises in ({"size": 7}, {}):
        url = await outsider.create(name, **promises)
        opened = await outsider.open(url)
        assert opened.ready == {
            "type": "ready", "token": url.rpartition("/")[2], "name": name, "offset": 0,
            "size": promises.get("size"), "sha256": None, "message_size": 256 * 1024, "window": 8 * MIB,
        }  # fmt: skip


async def test_an_unknown_token_is_refused_before_the_upgrade(outsider: Outsider) -> None:
    """A socket on nobody's upload gets a plain 404."""
    with pytest.raises(Refusal) as refusal:
        await outsider.connect("/upload/" + "A" * 43)
    assert (refusal.value.status, refusal.value.code) == (404, "unknown_upload")


@pytest.mark.parametrize(("data", "frames"), [case[1:] for case in FRAMINGS], ids=[case[0] for case in FRAMINGS])
async def test_any_framing_carries_the_bytes(outsider: Outsider, data: bytes, frames: list[bytes]) -> None:
    """A message and a frame may have any length; what is stored is what was sent."""
    opened = await outsider.open(await outsider.create(size=len(data), sha256=digest(data)))
    for part in frames:
        await opened.send(part)
    receipt = await opened.finish(data)
    assert outsider.stored(receipt) == data


@pytest.mark.parametrize("size", [1, 125, 126, 65535, 65536])
async def test_a_frame_may_be_cut_across_segments_anywhere(outsider: Outsider, size: int) -> None:
    """A header that comes byte by byte, a mask that is cut and a payload of odd pieces are put together."""
    data = content(size)
    opened = await outsider.open(await outsider.create())
    whole = frame(Opcode.BINARY, data)
    start = len(whole) - size
    await opened.dribble(whole[at : at + 1] for at in range(start))
    await opened.dribble(cut(whole[start:], 3, 1, 20_001))
    end = frame(Opcode.TEXT, b'{"type":"end"}')
    await opened.dribble(end[at : at + 1] for at in range(len(end)))
    assert outsider.stored(await opened.receipt(data)) == data


async def test_one_segment_may_end_inside_the_next_header(outsider: Outsider) -> None:
    """Frames that share segments, each segment ending at every place within a header, are told apart."""
    parts = cut(content(40 * 130), 130)
    stream = b"".join(messages(parts))
    opened = await outsider.open(await outsider.create())
    await opened.dribble(cut(stream, *range(131, 145)))
    assert outsider.stored(await opened.finish(b"".join(parts))) == b"".join(parts)


async def test_a_ping_between_fragments_is_answered_at_once(outsider: Outsider) -> None:
    """A pong comes while the message it stands in is unfinished."""
    opened = await outsider.open(await outsider.create())
    first, last = fragments(Opcode.BINARY, [b"half", b" and half"])
    await opened.send(first + frame(Opcode.PING, b"now"))
    assert Frame(Opcode.PONG, b"now") in await _frames_until_pong(opened)
    await opened.send(last)
    await opened.finish(b"half and half")


async def _frames_until_pong(opened: UploadSocket) -> list[Frame]:
    found = [await opened.frame()]
    while found[-1].opcode != Opcode.PONG:
        found.append(await opened.frame())
    return found


async def test_text_in_fragments_is_one_message(outsider: Outsider) -> None:
    """`end` may be cut anywhere, even inside a character, with a ping in its middle."""
    opened = await outsider.open(await outsider.create())
    text = '{"unknown": "é日🙂", "type": "end"}'.encode()
    parts = fragments(Opcode.TEXT, cut(text, 1))
    await opened.send(b"".join([*parts[:9], frame(Opcode.PING, b"?"), *parts[9:]]))
    await opened.receipt(b"")


async def test_new_bytes_are_acknowledged_soon(outsider: Outsider) -> None:
    """Within 250 ms of new bytes there is an ack, and once no more come, all are durable within a second."""
    opened = await outsider.open(await outsider.create())
    for total in (1, 2, 3):
        sent = time.monotonic()
        await opened.binary(b"x")
        ack = await opened.acked(total)
        assert ack.keys() >= {"type", "offset", "durable"}
        assert time.monotonic() - sent < 5, "the promise is 0.25 s"
    await opened.durable(3)
    assert time.monotonic() - sent < 10, "the promise is 1 s"


async def test_bytes_of_an_unfinished_frame_are_acknowledged(outsider: Outsider) -> None:
    """Bytes go towards the disk as they arrive: half a frame is acknowledged and becomes durable."""
    data = content(5 * MIB)
    opened = await outsider.open(await outsider.create())
    await opened.send(header(Opcode.BINARY, len(data), key=bytes(4)) + data[: 3 * MIB + 1])
    ack = await opened.durable(3 * MIB + 1)
    assert (ack["offset"], ack["durable"]) == (3 * MIB + 1, 3 * MIB + 1)
    await opened.send(data[3 * MIB + 1 :])
    await opened.finish(data)


async def test_acks_let_a_client_keep_within_the_window(outsider: Outsider) -> None:
    """One that never sends more than `window` bytes beyond the last ack comes to its end without a pause."""
    data = content(6 * MIB)
    opened = await outsider.open(await outsider.create(at="/narrow"))
    window, size = opened.ready["window"], opened.ready["message_size"]
    assert (window, size) == (256 * 1024, 16 * 1024)
    acknowledged = 0
    for at in range(0, len(data), size):
        while at + size - acknowledged > window:
            acknowledged = (await opened.message("ack", 2))["offset"]
        await opened.binary(data[at : at + size])
    await opened.finish(data)
    offsets = [ack["offset"] for ack in opened.acks]
    assert max(b - a for a, b in itertools.pairwise([0, *offsets])) <= window
    assert offsets == sorted(offsets)
    durable = [ack["durable"] for ack in opened.acks]
    assert durable == sorted(durable)
    assert all(ack["durable"] <= ack["offset"] for ack in opened.acks)


async def test_a_window_is_acknowledged_in_parts(outsider: Outsider) -> None:
    """There is an ack for every half of the window and one write more, also inside one frame."""
    data = content(32 * MIB)
    opened = await outsider.open(await outsider.create())
    sending = asyncio.create_task(opened.binary(data))
    while not opened.acks or opened.acks[-1]["offset"] < len(data):
        await opened.message("ack")
    await sending
    offsets = [0, *(ack["offset"] for ack in opened.acks)]
    assert max(b - a for a, b in itertools.pairwise(offsets)) <= 4 * MIB + 4 * MIB, "a write is < 4 MiB"
    await opened.finish(data)


async def test_one_that_never_reads_is_served_all_the_same(outsider: Outsider) -> None:
    """A client that takes nothing in, however small its buffers, gets its file stored."""
    data = content(8 * MIB)
    url = await outsider.create()
    opened = await outsider.unread(url, receive_buffer=1024)
    opened.writer.transport.set_write_buffer_limits(0)
    for part in messages(cut(data, 2048)):
        await opened.send(part)
    await opened.end()
    await eventually(lambda: outsider.is_stored(url), 30)
    assert outsider.stored(await outsider.ask(url)) == data


async def test_nothing_stands_under_the_final_name_before_the_end(outsider: Outsider) -> None:
    """While bytes arrive the name is absent; folders in a name are made when it is published."""
    folder = fresh_name("")
    url = await outsider.create(f"{folder}/deep/er.bin", sha256=digest(b"abc"))
    opened = await outsider.open(url)
    await opened.binary(b"abc")
    await opened.durable(3)
    assert not [name for name in outsider.published() if name.startswith(folder)]
    receipt = await opened.finish(b"abc")
    assert receipt["name"] == f"{folder}/deep/er.bin"
    assert outsider.stored(receipt) == b"abc"
