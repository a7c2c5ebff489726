"""The contract, "Many files on one socket": `resume`, `create` before an end, take-over, and what others do to it."""

from pathlib import Path

import pytest

from tests.support.manyfiles import answers, assert_stored, begin, binary, file, many, resume, send_file, text
from tests.support.outsider import Outsider, content, digest, eventually, fresh_name
from tests.support.service import running_service


async def test_an_upload_made_over_http_is_resumed(outsider: Outsider) -> None:
    """`resume` goes on where another socket stopped, with the digest of what is there, and between other files."""
    data = content(300_000)
    url = await outsider.create(size=len(data), sha256=digest(data))
    first = await outsider.open(url)
    await first.binary(data[:100_000])
    await first.durable(100_000)
    first.reset()
    opened = await many(outsider)
    await send_file(opened, fresh_name(), b"one before")
    ready = await resume(opened, url.rpartition("/")[2])
    assert (ready["offset"], ready["size"]) == (100_000, 300_000)
    assert ready["sha256"] in (None, digest(data[:100_000]))
    await opened.send(binary(data[100_000:]) + text(type="end"))
    assert outsider.stored(await opened.message("stored")) == data
    await send_file(opened, fresh_name(), b"one behind")


@pytest.mark.parametrize("size", [1, 5_000, 70_000])
async def test_a_create_before_the_end_leaves_the_one_before_open(outsider: Outsider, size: int) -> None:
    """It is `incomplete` for that one, whose bytes are kept: for this socket, and for one of its own."""
    data = content(size)
    opened = await many(outsider)
    tokens = []
    for _ in range(2):
        ready = await begin(opened, fresh_name())
        tokens.append(ready["token"])
        await opened.send(binary(data) + text(type="create", name=fresh_name()))
        failed = await opened.message("error")
        assert (failed["code"], failed["status"], failed["token"]) == ("incomplete", 400, ready["token"])
        assert (await opened.message("ready"))["token"] != ready["token"]
        await opened.json(type="end")
        assert (await opened.message("stored"))["size"] == 0
    ready = await resume(opened, tokens[0])
    assert (ready["offset"], ready["sha256"]) == (size, digest(data))
    await opened.send(binary(b"end") + text(type="end"))
    assert outsider.stored(await opened.message("stored")) == data + b"end"
    single = await outsider.open(f"/upload/{tokens[1]}")
    assert single.ready["offset"] == size
    await single.binary(b"end")
    assert outsider.stored(await single.finish(data + b"end")) == data + b"end"


async def test_a_resume_before_the_end_is_the_same(outsider: Outsider) -> None:
    """Also of the very upload that was being sent: nothing that came is lost."""
    opened = await many(outsider)
    ready = await begin(opened, fresh_name())
    await opened.send(binary(b"half") + text(type="resume", token=ready["token"]))
    assert (await opened.message("error"))["code"] == "incomplete"
    again = await opened.message("ready")
    assert (again["token"], again["offset"]) == (ready["token"], 4)
    await opened.send(binary(b" and half") + text(type="end"))
    assert outsider.stored(await opened.message("stored")) == b"half and half"


async def test_a_receipt_is_asked_for_again(outsider: Outsider) -> None:
    """`resume` of a stored upload gets the same `stored` at once, wherever it was made and as often as asked."""
    opened = await many(outsider)
    mine = await send_file(opened, fresh_name(), b"mine")
    single = await outsider.open(await outsider.create())
    await single.binary(b"theirs")
    theirs = await single.finish(b"theirs")
    for stored in (mine, theirs, mine):
        await opened.json(type="resume", token=stored["token"])
        assert await opened.said() == stored
    assert await (await outsider.unread(f"/upload/{mine['token']}")).receipt(b"mine") == mine


async def test_an_unknown_one_cannot_be_resumed(outsider: Outsider) -> None:
    """It is `unknown_upload` for that token, and the socket goes on; what can be no token is not echoed."""
    opened = await many(outsider)
    for token in ("A" * 43, "", "../x", "é", "\ud800", "\udc80", "a" * 60_000):
        await opened.json(type="resume", token=token)
        failed = await opened.message("error")
        assert (failed["code"], failed["status"]) == ("unknown_upload", 404)
        assert failed.get("token") == (token if token == "A" * 43 else None)
    await send_file(opened, fresh_name(), b"all the same")


# -- two sockets and one upload


async def test_a_take_over_is_an_error_for_that_one_alone(outsider: Outsider) -> None:
    """The old socket hears `superseded`, what it still sends is thrown away, and it goes on with its next file."""
    old, new = await many(outsider), await many(outsider)
    ready = await begin(old, fresh_name())
    await old.binary(b"some")
    await old.acked(4)
    taken = await resume(new, ready["token"])
    assert taken["offset"] == 4
    failed = await old.message("error")
    assert (failed["code"], failed["status"], failed["token"]) == ("superseded", 409, ready["token"])
    name = fresh_name()
    await old.send(binary(b"lost") + text(type="restart") + text(type="end") + file(name, b"next"))
    await new.send(binary(b" more") + text(type="end"))
    assert outsider.stored(await new.message("stored")) == b"some more"
    assert_stored(outsider, await answers(old, 1), {name: b"next"})


async def test_a_socket_of_its_own_takes_over_and_is_taken_over(outsider: Outsider) -> None:
    """`/upload/<token>` and `resume` take an upload from each other; the single one is closed 4409."""
    opened = await many(outsider)
    ready = await begin(opened, fresh_name())
    await opened.binary(b"one")
    await opened.acked(3)
    single = await outsider.open(f"/upload/{ready['token']}")
    assert single.ready["offset"] == 3
    assert (await opened.message("error"))["code"] == "superseded"
    await single.binary(b" two")
    await single.acked(7)
    again = await resume(opened, ready["token"])
    assert again["offset"] == 7
    await single.failed("superseded", 4409)
    await opened.send(binary(b" three") + text(type="end"))
    assert outsider.stored(await opened.message("stored")) == b"one two three"


async def test_its_state_is_seen_and_it_can_be_cancelled(outsider: Outsider) -> None:
    """GET shows how far it is; DELETE is `cancelled` for that one, and the socket goes on."""
    opened = await many(outsider)
    for size in (10, 100_000):
        ready = await begin(opened, fresh_name(), size=size + 1)
        url = f"/upload/{ready['token']}"
        await opened.send(binary(content(size)))
        await opened.acked(size)
        found = await outsider.ask(url)
        assert (found["state"], found["offset"], found["size"], found["name"]) == (
            "open", size, size + 1, ready["name"],
        )  # fmt: skip
        assert (await outsider.http("DELETE", url)).status == 204
        failed = await opened.message("error")
        assert (failed["code"], failed["status"], failed["token"]) == ("cancelled", 404, ready["token"])
        assert await outsider.is_gone(url)
        await opened.send(binary(b"lost") + text(type="end"))
    stored = await send_file(opened, fresh_name(), b"next")
    assert (await outsider.http("DELETE", f"/upload/{stored['token']}")).problem() == "already_stored"


async def test_an_upload_of_which_nothing_came_outlives_a_kill(tmp_path: Path) -> None:
    """Created and left alone for a moment, it is there after a kill, though not one byte of it was sent."""
    with running_service(tmp_path) as service:
        async with Outsider(service) as outsider:
            opened = await many(outsider)
            ready = await begin(opened, "later.bin")

            async def written_down() -> bool:
                return any(path.suffix == ".upload" for path in (outsider.directory() / ".incoming").iterdir())

            await eventually(written_down)
            service.kill()
            service.start()
            opened = await many(outsider)
            assert (await resume(opened, ready["token"]))["offset"] == 0
