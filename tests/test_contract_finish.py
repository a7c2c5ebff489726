"""The contract, "Send", 4 and 5: how an upload ends, well or not."""

import asyncio

import pytest

from tests.support.outsider import Outsider, content, digest, eventually, fresh_name
from tests.support.rawsocket import Closed, Opcode, fragments, frame

MIB = 2**20
EMPTY = digest(b"")


async def test_the_receipt_follows_the_file(outsider: Outsider) -> None:
    """`stored` has token, name, size and digest; the file is whole when it comes; close 1000 ends it."""
    data, name = content(MIB), fresh_name()
    url = await outsider.create(name)
    opened = await outsider.open(url)
    await opened.binary(data)
    await opened.end(sha256=digest(data))
    receipt = await opened.message("stored")
    assert outsider.stored(receipt) == data
    assert receipt == {
        "type": "stored", "token": url.rpartition("/")[2], "name": name, "size": MIB, "sha256": digest(data),
    }  # fmt: skip
    assert await opened.closed() == Closed(1000)
    await opened.close(1000)
    await opened.ended()


async def test_an_empty_file_is_a_file(outsider: Outsider) -> None:
    """`end` at once stores nothing as nothing, promised or not."""
    for promises in ({}, {"size": 0}, {"size": 0, "sha256": EMPTY}):
        opened = await outsider.open(await outsider.create(**promises))
        assert outsider.stored(await opened.finish(b"")) == b""


async def test_a_promise_that_is_kept_is_no_matter(outsider: Outsider) -> None:
    """Size and digest promised at creation and again at the end are all compared and all right."""
    data = content(70_001)
    opened = await outsider.open(await outsider.create(size=len(data), sha256=digest(data)))
    await opened.binary(data)
    await opened.end(sha256=digest(data))
    await opened.receipt(data)


@pytest.mark.parametrize("where", ["create", "end", "end against create"])
async def test_a_digest_that_differs_publishes_nothing(outsider: Outsider, where: str) -> None:
    """A promise broken closes 4422; the name stays absent and the upload is open again at offset 0."""
    data, wrong, name = content(1000), digest(b"other"), fresh_name()
    at_create = {"create": wrong, "end": None, "end against create": digest(data)}[where]
    url = await outsider.create(name, sha256=at_create)
    opened = await outsider.open(url)
    await opened.binary(data)
    await opened.json(type="end", **({} if where == "create" else {"sha256": wrong}))
    await opened.failed("digest_mismatch", 4422)
    assert name not in outsider.published()
    assert (await outsider.ask(url))["offset"] == 0
    if where != "create":
        again = await outsider.open(url)
        assert again.ready["offset"] == 0
        await again.binary(data)
        await again.finish(data)


@pytest.mark.parametrize("sent", [0, 9])
async def test_an_end_before_the_promised_size_is_incomplete(outsider: Outsider, sent: int) -> None:
    """`end` too early closes 4400 and keeps the bytes, to be gone on with."""
    url = await outsider.create(size=10)
    opened = await outsider.open(url)
    await opened.binary(b"x" * sent)
    await opened.end()
    await opened.failed("incomplete", 4400)
    again = await outsider.open(url)
    assert again.ready["offset"] == sent
    await again.binary(b"x" * (10 - sent))
    await again.finish(b"x" * 10)


@pytest.mark.parametrize("parts", [[b"x" * 11], [b"x" * 10, b"y"], [b"x" * 70_000]])
async def test_more_than_promised_is_too_large(outsider: Outsider, parts: list[bytes]) -> None:
    """Bytes past the promised size close 4413; the promised ones are kept and can be stored."""
    url = await outsider.create(size=10)
    opened = await outsider.open(url)
    await opened.send(b"".join(fragments(Opcode.BINARY, parts)))
    await opened.failed("too_large", 4413)
    again = await outsider.open(url)
    assert again.ready["offset"] == 10
    await again.finish(b"x" * 10)


@pytest.mark.parametrize(
    "text",
    ["", "end", "{", "[]", "null", "{}", '{"type":null}', '{"type":"END"}', '{"type":"create","name":"x"}',
     '{"type":"end","sha256":"abc"}', '{"type":"end","sha256":5}', f'{{"type":"end","sha256":"{"A" * 64}"}}',
     '{"type":["end"]}', "x" * 2**16, "[" * 60_000],
    ids=range(15),
)  # fmt: skip
async def test_other_text_is_a_bad_message(outsider: Outsider, text: str) -> None:
    """Text that is none of the contract's, or a malformed digest, closes 4400 and keeps the bytes."""
    url = await outsider.create()
    opened = await outsider.open(url)
    await opened.binary(b"kept")
    await opened.text(text)
    await opened.failed("bad_message", 4400)
    assert (await outsider.ask(url))["offset"] == 4


async def test_restart_forgets_the_bytes(outsider: Outsider) -> None:
    """`restart` is answered with `ready` at 0, and what follows is the whole file."""
    opened = await outsider.open(await outsider.create(size=5))
    for wrong in (b"wrong", b"x"):
        await opened.binary(wrong)
        await opened.json(type="restart")
        ready = await opened.message("ready")
        assert (ready["offset"], ready["sha256"]) == (0, None)
        assert ready.keys() == opened.ready.keys()
    await opened.binary(b"right")
    assert outsider.stored(await opened.finish(b"right")) == b"right"


@pytest.mark.parametrize("code", [1000, None, 1001, 4000])
async def test_a_close_never_ends_an_upload_made_with_json(outsider: Outsider, code: int | None) -> None:
    """However politely the client leaves, without `end` the upload stays open with its bytes."""
    name = fresh_name()
    url = await outsider.create(name, size=5)
    opened = await outsider.open(url)
    await opened.binary(b"whole")
    await opened.close(code)
    assert not (await opened.closed()).reason.startswith("stored")
    found = await outsider.ask(url)
    assert (found["state"], found["offset"]) == ("open", 5)
    assert name not in outsider.published()


async def test_an_end_that_was_said_counts_though_nobody_waits(outsider: Outsider) -> None:
    """`end` and a close right behind it, or a FIN: what was said is done, receipt or not."""
    for leave in (lambda one: one.close(1000), lambda one: one.send(b"")):
        url = await outsider.create()
        opened = await outsider.open(url)
        await opened.binary(b"whole")
        await opened.end()
        await leave(opened)
        opened.half_close()
        await eventually(lambda at=url: outsider.is_stored(at))


async def test_what_follows_an_end_harms_nothing(outsider: Outsider) -> None:
    """A second `end`, a restart or bytes behind `end` change neither the file nor its receipt."""
    for more in (frame(Opcode.TEXT, b'{"type":"end"}'), frame(Opcode.BINARY, b"more"),
                 frame(Opcode.TEXT, b'{"type":"restart"}')):  # fmt: skip
        url = await outsider.create()
        opened = await outsider.open(url)
        await opened.send(frame(Opcode.BINARY, b"whole") + frame(Opcode.TEXT, b'{"type":"end"}') + more)
        receipt = await opened.message("stored")
        assert outsider.stored(receipt) == b"whole"
        assert await (await outsider.unread(url)).receipt(b"whole") == receipt


async def test_many_finish_at_once(outsider: Outsider) -> None:
    """A hundred small files stored at the same time are all whole."""
    bodies = [content(1000 + number) for number in range(100)]
    receipts = await asyncio.gather(*(outsider.send_whole(body) for body in bodies))
    assert [outsider.stored(receipt) for receipt in receipts] == bodies
