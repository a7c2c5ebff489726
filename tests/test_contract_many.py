"""The contract, "Many files on one socket": what goes well."""

import asyncio
import itertools

import pytest

from tests.support.manyfiles import (
    answers,
    assert_stored,
    begin,
    binary,
    file,
    many,
    resume,
    send_file,
    text,
)
from tests.support.outsider import Outsider, content, digest, fresh_name
from tests.support.rawsocket import Frame, Opcode, Refusal, fragments, frame, header

KIB = 2**10
MIB = 2**20
SIZES = [0, 1, 125, 4096, 300, 65535, 20, 65536, 65537, 7, 200 * KIB, 0, 999, 50_000]


def files(count: int, folder: str) -> dict[str, bytes]:
    """Files of mixed sizes in a few folders, by their names."""
    sizes = itertools.islice(itertools.cycle(SIZES), count)
    return {f"{folder}/d{number % 7}/f{number}.bin": content(size) for number, size in enumerate(sizes)}


async def test_a_file_is_created_sent_and_stored_on_the_socket(outsider: Outsider) -> None:
    """`create` is answered with `ready`, `end` with the receipt, and the socket is there for the next."""
    opened = await many(outsider)
    for data in (b"first", b"", content(3 * MIB)):
        name = fresh_name()
        ready = await begin(opened, name)
        token = ready.pop("token")
        assert ready == {
            "type": "ready", "name": name, "offset": 0, "size": None, "sha256": None,
            "message_size": 256 * KIB, "window": 8 * MIB,
        }  # fmt: skip
        await opened.send(binary(data) + text(type="end"))
        stored = await opened.message("stored")
        assert stored == {"type": "stored", "token": token, "name": name, "size": len(data), "sha256": digest(data)}
        assert outsider.stored(stored) == data
        found = await outsider.ask(f"/upload/{token}")
        assert (found["state"], found["name"], found["sha256"]) == ("stored", name, digest(data))


async def test_tokens_are_long_and_their_own(outsider: Outsider) -> None:
    """Each upload has a token of at least 128 bits that no other has."""
    opened = await many(outsider)
    tokens = {(await send_file(opened, fresh_name(), b""))["token"] for _ in range(5)}
    assert len(tokens) == 5
    assert all(len(token) >= 22 for token in tokens)


async def test_promises_are_told_in_ready_and_kept(outsider: Outsider) -> None:
    """`size` and `sha256` are as in a POST; null is as if absent, and unknown keys are ignored."""
    opened = await many(outsider)
    ready = await begin(opened, fresh_name(), size=4, sha256=digest(b"kept"), colour=7)
    assert ready["size"] == 4
    await opened.send(binary(b"kept") + text(type="end", more={}))
    assert (await opened.message("stored"))["size"] == 4
    ready = await begin(opened, fresh_name(), size=None, sha256=None)
    assert ready["size"] is None
    await opened.send(text(type="end", sha256=digest(b"")))
    assert (await opened.message("stored"))["size"] == 0


async def test_nothing_is_waited_for(outsider: Outsider) -> None:
    """500 files of mixed sizes, and one of 20 MiB among them, sent in one go: a receipt for each, in order."""
    sent = files(250, fresh_name("")) | {fresh_name(): content(20 * MIB)} | files(250, fresh_name(""))
    opened = await many(outsider)
    reading = asyncio.create_task(answers(opened, len(sent)))
    for name, data in sent.items():
        await opened.send(file(name, data))
    assert_stored(outsider, await reading, sent)


async def test_answers_may_be_read_when_all_was_sent(outsider: Outsider) -> None:
    """Files in one write, answers read afterwards: nothing is lost and nothing out of order."""
    sent = files(200, fresh_name(""))
    opened = await many(outsider)
    await opened.send(b"".join(file(name, data) for name, data in sent.items()))
    assert_stored(outsider, await answers(opened, len(sent)), sent)


async def test_several_sockets_share_the_service(outsider: Outsider) -> None:
    """Four sockets with a hundred files each, at once: every one gets its own answers."""

    async def send(folder: str) -> None:
        sent = files(100, folder)
        opened = await many(outsider)
        reading = asyncio.create_task(answers(opened, len(sent)))
        for name, data in sent.items():
            await opened.send(file(name, data))
        assert_stored(outsider, await reading, sent)

    await asyncio.gather(*(send(fresh_name("")) for _ in range(4)))


async def test_one_file_at_a_time_is_as_good(outsider: Outsider) -> None:
    """A client that waits for each answer before it goes on needs nothing else."""
    opened = await many(outsider)
    for size in SIZES:
        await send_file(opened, fresh_name(), content(size))


async def test_any_framing_carries_the_bytes(outsider: Outsider) -> None:
    """Fragments, empty messages, one byte a message, frames cut anywhere: what is stored is what was sent."""
    data = content(70_000)
    whole = b"".join(
        [
            text(type="create", name=(name := fresh_name())),
            *fragments(Opcode.BINARY, [b"", data[:1], data[1:30_000], frame(Opcode.PING, b"")[:0], b""]),
            *(binary(data[at : at + 1]) for at in range(30_000, 30_100)),
            binary(b""),
            *fragments(Opcode.BINARY, [data[30_100:50_000], data[50_000:]]),
            *fragments(Opcode.TEXT, [b'{"type"', b":", b'"end"}']),
        ]
    )
    opened = await many(outsider)
    await opened.dribble(whole[at : at + 9_973] for at in range(0, len(whole), 9_973))
    assert_stored(outsider, await answers(opened, 1), {name: data})


async def test_a_ping_is_answered_while_bytes_come(outsider: Outsider) -> None:
    """A pong comes at once, in the middle of a message and between two files."""
    opened = await many(outsider)
    await opened.send(frame(Opcode.PING, b"before"))
    assert await opened.frame() == Frame(Opcode.PONG, b"before")
    ready = await begin(opened, fresh_name())
    first, last = fragments(Opcode.BINARY, [b"half", b" and half"])
    await opened.send(first + frame(Opcode.PING, b"between"))
    while (found := await opened.frame()).opcode != Opcode.PONG:
        assert b'"ack"' in found.payload
    assert found.payload == b"between"
    await opened.send(last + text(type="end"))
    stored = await opened.message("stored")
    assert (stored["token"], outsider.stored(stored)) == (ready["token"], b"half and half")


async def test_the_subprotocol_is_agreed_to_and_nothing_is_compressed(outsider: Outsider) -> None:
    """As on `/upload/<token>`: `upload.v1` when offered, and no extension."""
    opened = await outsider.unread(
        "/upload", {"Sec-WebSocket-Protocol": "x, upload.v1", "Sec-WebSocket-Extensions": "permessage-deflate"}
    )
    assert opened.headers["sec-websocket-protocol"] == "upload.v1"
    assert "sec-websocket-extensions" not in opened.headers
    assert "sec-websocket-protocol" not in (await many(outsider)).headers
    with pytest.raises(Refusal) as refusal:
        await outsider.connect("/upload", {"Origin": "https://elsewhere.example"})
    assert (refusal.value.status, refusal.value.code) == (403, "forbidden_origin")


async def test_restart_forgets_the_bytes(outsider: Outsider) -> None:
    """It is answered with `ready` at 0 of the same upload, whatever had come, and only the new bytes count."""
    opened = await many(outsider)
    for wrong, right in ((b"wrong", b"right"), (content(MIB), b"")):
        ready = await begin(opened, fresh_name())
        await opened.send(binary(wrong) + text(type="restart"))
        assert await opened.message("ready") == ready
        await opened.send(binary(right) + text(type="end"))
        stored = await opened.message("stored")
        assert outsider.stored(stored) == right


# -- acks


async def test_bytes_that_wait_for_their_end_become_durable(outsider: Outsider) -> None:
    """Of a file that is not ended, however small, all is acknowledged, and durable within a second of quiet."""
    opened = await many(outsider)
    for data in (b"x", content(65536), content(2 * MIB + 1)):
        ready = await begin(opened, fresh_name())
        await opened.binary(data)
        assert (await opened.durable(len(data), 4))["offset"] == len(data)
        assert (await outsider.ask(f"/upload/{ready['token']}"))["offset"] == len(data)
        await opened.send(binary(b"more") + text(type="end"))
        assert outsider.stored(await opened.message("stored")) == data + b"more"


async def test_acks_let_a_client_keep_within_the_window(outsider: Outsider) -> None:
    """A large file between small ones is acknowledged in parts of the window, as on a socket of its own."""
    data = content(4 * MIB)
    opened = await many(outsider, "/narrow")
    await opened.send(file(fresh_name(), b"before"))
    await answers(opened, 1)
    ready = await begin(opened, fresh_name())
    window, size = ready["window"], ready["message_size"]
    acknowledged = 0
    for at in range(0, len(data), size):
        while at + size - acknowledged > window:
            acknowledged = (await opened.message("ack", 2))["offset"]
        await opened.send(binary(data[at : at + size]))
    await opened.send(text(type="end") + file(fresh_name(), b"after"))
    first = await opened.message("stored")
    assert outsider.stored(first, "/narrow") == data
    offsets = [ack["offset"] for ack in opened.acks]
    assert offsets == sorted(offsets)
    assert max(b - a for a, b in itertools.pairwise([0, *offsets])) <= window
    assert (await answers(opened, 1))[0]["size"] == 5


# -- names


async def test_names_that_are_taken_follow_the_policy(outsider: Outsider) -> None:
    """Six files of one name in one go: numbered, or all but one refused, or one of them stays. They finish at once, so
    that any of them may be the first."""
    bodies = [f"body {number}".encode() for number in range(6)]

    async def send(at: str) -> tuple[str, list[str]]:
        name = fresh_name("")
        opened = await many(outsider, at)
        await opened.send(b"".join(file(f"{name}/a.txt", body) for body in bodies))
        found = await answers(opened, len(bodies))
        return name, [str(answer.get("name", answer.get("code"))).removeprefix(f"{name}/") for answer in found]

    name, said = await send("/upload")
    assert sorted(said) == ["a.1.txt", "a.2.txt", "a.3.txt", "a.4.txt", "a.5.txt", "a.txt"]
    assert [(outsider.directory() / name / last).read_bytes() for last in said] == bodies
    name, said = await send("/reject")
    assert sorted(said) == ["a.txt", *["name_taken"] * 5]
    assert (outsider.directory("/reject") / name / "a.txt").read_bytes() == bodies[said.index("a.txt")]
    name, said = await send("/replace")
    assert said == ["a.txt"] * 6
    assert (outsider.directory("/replace") / name / "a.txt").read_bytes() in bodies


# -- the end of the socket


@pytest.mark.parametrize("code", [1000, None, 1001, 4000])
async def test_a_close_ends_no_upload(outsider: Outsider, code: int | None) -> None:
    """What was ended is stored, what was not stays open with its bytes, a plain one too."""
    for url in (await outsider.create(), await outsider.create_plain()):
        opened = await many(outsider)
        stored = await send_file(opened, fresh_name(), b"ended")
        await resume(opened, url.rpartition("/")[2])
        await opened.binary(b"left")
        await opened.close(code)
        await opened.closed()
        assert outsider.stored(stored) == b"ended"
        assert (await outsider.ask(url))["state"] == "open"
        again = await outsider.open(url)
        assert (again.ready["offset"], again.ready["sha256"]) == (4, digest(b"left"))
        await again.finish(b"left")


async def test_answers_are_given_before_the_close_is_answered(outsider: Outsider) -> None:
    """A client that closes right behind its last `end` still gets every receipt, then Close 1000."""
    sent = files(40, fresh_name(""))
    opened = await many(outsider)
    await opened.send(b"".join(file(name, data) for name, data in sent.items()))
    await opened.close(1000)
    assert_stored(outsider, await answers(opened, len(sent)), sent)
    assert (await opened.closed()).code == 1000


async def test_a_half_frame_is_kept(outsider: Outsider) -> None:
    """A link that is lost in the middle of a frame loses none of the bytes that had arrived."""
    opened = await many(outsider)
    ready = await begin(opened, fresh_name())
    await opened.send(header(Opcode.BINARY, 70_000, key=bytes(4)) + content(70_000)[:40_000])
    await opened.delivered()
    opened.reset()
    again = await outsider.open(f"/upload/{ready['token']}")
    assert (again.ready["offset"], again.ready["sha256"]) == (40_000, digest(content(70_000)[:40_000]))
