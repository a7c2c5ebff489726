"""docs/protocol.md, "Many files on one socket": what each of its sentences says."""

import json
import re
from typing import Any

from tests.support.outsider import Outsider, UploadSocket, content, digest, fresh_name

PATH = "/upload"


async def send(opened: UploadSocket, name: str, data: bytes, **promises: Any) -> None:
    """One file, waiting for nothing."""
    await opened.json(type="create", name=name, **promises)
    await opened.binary(data)
    await opened.json(type="end")


async def answer(opened: UploadSocket) -> dict[str, Any]:
    """The next `stored` or `error`; what comes before it is passed over."""
    while (found := await opened.said())["type"] in ("ready", "ack"):
        pass
    return found


async def test_answers_come_in_order_and_nothing_is_waited_for(outsider: Outsider) -> None:
    """Two hundred files are sent before the first answer is read; each has its receipt, in order."""
    opened = await outsider.unread(PATH)
    files = {fresh_name(): content(number) for number in range(200)}
    for name, data in files.items():
        await send(opened, name, data, size=len(data))
    for name, data in files.items():
        found = await answer(opened)
        assert (found["type"], found["name"], found["sha256"]) == ("stored", name, digest(data))
        assert outsider.stored(found) == data


async def test_what_was_ended_is_stored_though_the_socket_is_closed(outsider: Outsider) -> None:
    """Close 1000 right behind an end: it is stored. What was not ended stays open."""
    opened = await outsider.unread(PATH)
    name, data = fresh_name(), content(3000)
    await send(opened, name, data)
    await opened.json(type="create", name=fresh_name())
    await opened.binary(b"half")
    await opened.close(1000)
    assert (await answer(opened))["name"] == name
    left = await opened.message("ready")
    await opened.closed()
    assert (outsider.directory() / name).read_bytes() == data
    assert (await outsider.ask(f"{PATH}/{left['token']}"))["state"] == "open"


async def test_after_an_error_all_is_thrown_away_until_the_next_create(outsider: Outsider) -> None:
    """An error at `create` and one after `end`: bytes, `end` and `restart` do no harm, the next file is stored."""
    opened = await outsider.unread(PATH)
    await send(opened, "../x", b"one")
    assert (await answer(opened))["code"] == "invalid_name"
    await send(opened, fresh_name(), b"two", sha256="0" * 64)
    failed = await answer(opened)
    assert (failed["code"], failed["status"]) == ("digest_mismatch", 422)
    assert (await outsider.ask(f"{PATH}/{failed['token']}"))["offset"] == 0
    await opened.json(type="restart")
    await opened.binary(b"two again")
    await opened.json(type="end")
    await send(opened, fresh_name(), b"three")
    assert (await answer(opened))["sha256"] == digest(b"three")


async def test_what_belongs_to_nothing_closes_the_socket(outsider: Outsider) -> None:
    """Bytes before any `create`: error `bad_message`, and close 4400."""
    opened = await outsider.unread(PATH)
    await opened.binary(b"whose?")
    await opened.failed("bad_message", 4400)


async def test_the_next_create_leaves_the_one_before_open(outsider: Outsider) -> None:
    """A `create` before the `end` is `incomplete` for the one before, and `resume` goes on with that."""
    opened = await outsider.unread(PATH)
    name = fresh_name()
    await opened.json(type="create", name=name)
    await opened.binary(b"begin")
    await send(opened, fresh_name(), b"between")
    failed = await answer(opened)
    assert failed["code"] == "incomplete"
    assert (await answer(opened))["type"] == "stored"
    await opened.json(type="resume", token=failed["token"])
    assert (await opened.message("ready"))["offset"] == 5
    await opened.binary(b", end")
    await opened.json(type="end")
    assert outsider.stored(await answer(opened)) == b"begin, end"
    await opened.json(type="resume", token=failed["token"])
    assert (await answer(opened))["name"] == name


async def test_a_take_over_ends_one_upload_alone(outsider: Outsider) -> None:
    """Another socket takes an upload over: error `superseded` here, and the next file is stored all the same."""
    opened = await outsider.unread(PATH)
    await opened.json(type="create", name=fresh_name())
    token = (await opened.message("ready"))["token"]
    other = await outsider.open(f"{PATH}/{token}")
    failed = await answer(opened)
    assert (failed["code"], failed["token"]) == ("superseded", token)
    await send(opened, fresh_name(), b"next")
    assert (await answer(opened))["type"] == "stored"
    await other.binary(b"mine")
    await other.finish(b"mine")


async def test_a_taken_name_is_told_at_the_end(outsider: Outsider) -> None:
    """Under `reject` a taken name is `ready` first, and the error comes after the `end`."""
    name = fresh_name()
    opened = await outsider.unread("/reject")
    await send(opened, name, b"first")
    assert (await answer(opened))["type"] == "stored"
    await send(opened, name, b"second")
    await opened.message("ready")
    assert (await answer(opened))["code"] == "name_taken"
    assert outsider.stored({"name": name}, "/reject") == b"first"


async def test_files_of_such_sockets_are_counted(outsider: Outsider) -> None:
    """`created`, `stored` and the syncs of small files stand in /metrics, as those of others do."""

    async def counts() -> list[float]:
        text = (await outsider.get("/metrics")).body.decode()
        names = (
            'results_total{handler="upload",result="created"}', 'results_total{handler="upload",result="stored"}',
            'fsync_seconds_count{handler="upload"}',
        )  # fmt: skip
        found = [re.search(rf"^jackfield_upload_{re.escape(name)} (.*)$", text, re.MULTILINE) for name in names]
        return [float(each[1]) if each else 0 for each in found]

    before = await counts()
    opened = await outsider.unread(PATH)
    await send(opened, fresh_name(), b"counted")
    assert (await answer(opened))["type"] == "stored"
    await opened.close()
    await opened.closed()
    after = await counts()
    assert (after[0] - before[0], after[1] - before[1]) == (1, 1), json.dumps([before, after])
    assert after[2] > before[2]
