"""The contract, "Many files on one socket": what closes the socket, and after which answers."""

import asyncio
import time

import pytest

from tests.support.manyfiles import answers, assert_stored, begin, binary, file, many, send_file, text
from tests.support.outsider import Outsider, content, fresh_name
from tests.support.rawsocket import Opcode, fragments, frame

RUBBISH = binary(b"thrown away") + text(type="restart") + binary(b"") + text(type="end")


AT_FIRST = {"bytes": binary(b"x"), "end": text(type="end"), "restart": text(type="restart")}
BAD_MESSAGES = {
    "bytes after an end": binary(b"more"),
    "a second end": text(type="end"),
    "restart after an end": text(type="restart"),
    "no JSON": frame(Opcode.TEXT, b"create"),
    "an empty text": frame(Opcode.TEXT, b""),
    "no object": frame(Opcode.TEXT, b'["create"]'),
    "JSON that is too deep": frame(Opcode.TEXT, b"[" * 60_000),
    "no type": text(name="a"),
    "an unknown type": text(type="upload", name="a"),
    "a type that is no text": text(type=["create"], name="a"),
    "create without a name": text(type="create"),
    "create with a name that is no text": text(type="create", name=7),
    "create with a size that is no number": text(type="create", name="a", size="7"),
    "create with a size below 0": text(type="create", name="a", size=-1),
    "create with a size that is not whole": text(type="create", name="a", size=1.5),
    "create with a size that is a truth": text(type="create", name="a", size=True),
    "create with no digest": text(type="create", name="a", sha256="ABC"),
    "resume without a token": text(type="resume"),
    "resume with a token that is no text": text(type="resume", token=7),
    "end with no digest": text(type="resume", token="A") + text(type="end", sha256="x"),
    "an unknown type while all is thrown away": text(type="resume", token="A") + RUBBISH + text(type="upload"),
}


@pytest.mark.parametrize("message", AT_FIRST.values(), ids=AT_FIRST)
async def test_nothing_comes_before_the_first_request(outsider: Outsider, message: bytes) -> None:
    """Bytes, `end` and `restart` with no `create` or `resume` before are `bad_message` and 4400."""
    opened = await many(outsider)
    await opened.send(message)
    await opened.failed("bad_message", 4400)


@pytest.mark.parametrize("message", BAD_MESSAGES.values(), ids=BAD_MESSAGES)
async def test_a_bad_message_closes_the_socket(outsider: Outsider, message: bytes) -> None:
    """What has no place here is `bad_message` and 4400, after the answers to all that came before."""
    before = {fresh_name(): content(number * 100) for number in range(10)}
    opened = await many(outsider)
    await opened.send(b"".join(file(name, data) for name, data in before.items()) + message)
    assert_stored(outsider, await answers(opened, len(before)), before)
    while (last := await opened.message("error"))["code"] == "unknown_upload":
        pass
    assert (last["code"], last["status"]) == ("bad_message", 400)
    assert (await opened.closed()).code == 4400


async def test_a_bad_message_keeps_what_had_come(outsider: Outsider) -> None:
    """The bytes of the upload that was being sent stay, and the upload stays open."""
    opened = await many(outsider)
    ready = await begin(opened, fresh_name())
    await opened.send(binary(b"kept") + b"".join(fragments(Opcode.TEXT, [b"no", b" JSON"])))
    await opened.failed("bad_message", 4400)
    again = await outsider.open(f"/upload/{ready['token']}")
    assert again.ready["offset"] == 4


NO_WEBSOCKET = {
    "unmasked": (frame(Opcode.BINARY, b"x", masked=False), 1002),
    "reserved bits": (frame(Opcode.BINARY, b"x", rsv=4), 1002),
    "no UTF-8": (frame(Opcode.TEXT, b"\xff"), 1007),
    "too long a text": (frame(Opcode.TEXT, b" " * 65_537), 1009),
}


@pytest.mark.parametrize(("sent", "code"), NO_WEBSOCKET.values(), ids=NO_WEBSOCKET)
async def test_what_is_no_websocket_closes_the_socket(outsider: Outsider, sent: bytes, code: int) -> None:
    """Frames that break RFC 6455 and too long a text close it; what was ended is stored all the same."""
    opened = await many(outsider)
    name = fresh_name()
    await opened.send(file(name, b"ended") + sent)
    assert_stored(outsider, await answers(opened, 1), {name: b"ended"})
    assert (await opened.closed()).code == code


async def test_silence_is_idle(outsider: Outsider) -> None:
    """Nothing for `idle_timeout` closes 4408: before the first file, between two, and within one."""
    opened = await many(outsider, "/idle")
    await opened.failed("idle", 4408)
    opened = await many(outsider, "/idle")
    await send_file(opened, fresh_name(), b"one")
    await opened.failed("idle", 4408)
    opened = await many(outsider, "/idle")
    ready = await begin(opened, fresh_name())
    await opened.binary(b"some")
    await opened.failed("idle", 4408)
    assert (await outsider.ask(f"/idle/{ready['token']}"))["offset"] == 4


async def test_who_goes_on_is_not_idle(outsider: Outsider) -> None:
    """A file now and then keeps the socket open for longer than `idle_timeout`."""
    opened = await many(outsider, "/idle")
    started = time.monotonic()
    while time.monotonic() - started < 1.5:
        await send_file(opened, fresh_name(), b"x")
        await asyncio.sleep(0.1)
