"""The contract, "Many files on one socket": what goes wrong with one file, and what closes the socket."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.manyfiles import answers, begin, binary, error, file, many, resume, send_file, text
from tests.support.outsider import Outsider, UploadSocket, content, digest, fresh_name
from tests.support.service import running_service

MIB = 2**20
RUBBISH = binary(b"thrown away") + text(type="restart") + binary(b"") + text(type="end") + text(type="restart")
IN_A_SMALL_TMPFS = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"']


async def goes_on(opened: UploadSocket, outsider: Outsider, at: str = "/upload") -> None:
    """Bytes, `end` and `restart` up to the next `create` are thrown away, and that one is stored."""
    name = fresh_name()
    await opened.send(RUBBISH + file(name, b"the next"))
    stored = await opened.message("stored") if (await opened.message("ready"))["offset"] == 0 else {}
    assert (stored["name"], outsider.stored(stored, at)) == (name, b"the next")


# -- at `create`

BAD_NAMES = ["", "/a", "a//b", "../a", "a/.b", "a\\b", "a\0b", " a", "e\u0301", "x" * 256, "\ud800"]


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_a_name_that_is_not_allowed(outsider: Outsider, name: str) -> None:
    """It is `invalid_name` for that one, and says what is wrong."""
    opened = await many(outsider)
    await opened.send(file(name, b"lost"))
    failed = await error(opened, "invalid_name")
    assert failed["status"] == 400
    assert len(failed["detail"]) > 10
    await goes_on(opened, outsider)


@pytest.mark.parametrize("size", [MIB + 1, 10**18, 10**30])
async def test_a_promise_over_the_limit(outsider: Outsider, size: int) -> None:
    """It is `too_large` for that one."""
    opened = await many(outsider, "/small")
    await opened.send(file(fresh_name(), b"lost", size=size))
    assert (await error(opened, "too_large"))["status"] == 413
    await goes_on(opened, outsider, "/small")


async def test_no_room_for_what_is_promised(outsider: Outsider) -> None:
    """It is `no_space` for that one; nothing is kept of it."""
    opened = await many(outsider, "/roomy")
    most = int(shutil.disk_usage(outsider.service.folder).free * 2)
    await opened.json(type="create", name=fresh_name(), size=most)
    assert (await error(opened, "no_space"))["status"] == 507
    await goes_on(opened, outsider, "/roomy")


async def test_too_many_that_are_not_ended(outsider: Outsider) -> None:
    """`too_many_uploads` is for the one that is too many; there is room again when another one goes."""
    opened = [await many(outsider, "/crowded") for _ in range(3)]
    tokens = [(await begin(one, fresh_name()))["token"] for one in opened[:2]]
    await opened[2].send(file(fresh_name(), b"lost"))
    assert (await error(opened[2], "too_many_uploads"))["status"] == 429
    await opened[2].send(RUBBISH)
    assert (await outsider.http("DELETE", f"/crowded/{tokens[0]}")).status == 204
    await goes_on(opened[2], outsider, "/crowded")
    await opened[1].json(type="end")
    await opened[1].message("stored")


async def test_ended_ones_do_not_crowd_out_the_next(outsider: Outsider) -> None:
    """Where two may be open, fifty are sent without waiting, each ended before the next is created."""
    sent = {fresh_name(): content(number) for number in range(50)}
    opened = await many(outsider, "/crowded")
    await opened.send(b"".join(file(name, data) for name, data in sent.items()))
    found = await answers(opened, len(sent))
    assert [answer["name"] for answer in found] == list(sent)


# -- while bytes come, and at `end`


async def test_more_bytes_than_promised(outsider: Outsider) -> None:
    """It is `too_large` for that one, and the promised bytes are kept."""
    opened = await many(outsider)
    for sent in ([b"12345"], [b"1234", b"5"], [content(3 * MIB)]):
        ready = await begin(opened, fresh_name(), size=4)
        await opened.send(b"".join(map(binary, sent)))
        await error(opened, "too_large", ready["token"])
        assert (await outsider.ask(f"/upload/{ready['token']}"))["offset"] == 4
        await goes_on(opened, outsider)
        again = await resume(opened, ready["token"])
        assert again["sha256"] == digest(b"".join(sent)[:4])
        await opened.json(type="end")
        assert outsider.stored(await opened.message("stored")) == b"".join(sent)[:4]


async def test_more_bytes_than_any_may_have(outsider: Outsider) -> None:
    """Without a promise passing `max_size` is `too_large` too."""
    opened = await many(outsider, "/small")
    ready = await begin(opened, fresh_name())
    await opened.send(binary(content(MIB + 1)))
    await error(opened, "too_large", ready["token"])
    await goes_on(opened, outsider, "/small")


@pytest.mark.parametrize("size", [3, 70_000])
async def test_an_end_before_the_promised_size(outsider: Outsider, size: int) -> None:
    """It is `incomplete` for that one, which stays open with its bytes."""
    opened = await many(outsider)
    ready = await begin(opened, fresh_name(), size=size + 1)
    await opened.send(binary(content(size)) + text(type="end"))
    await error(opened, "incomplete", ready["token"])
    await goes_on(opened, outsider)
    assert (await resume(opened, ready["token"]))["offset"] == size
    await opened.send(binary(b"!") + text(type="end"))
    assert outsider.stored(await opened.message("stored")) == content(size) + b"!"


@pytest.mark.parametrize("where", ["create", "end"])
@pytest.mark.parametrize("size", [6, 100_000])
async def test_another_digest_than_promised(outsider: Outsider, where: str, size: int) -> None:
    """It is `digest_mismatch` for that one: nothing is published, and it is open again at 0."""
    name, data = fresh_name(), content(size)
    promises: dict[str, dict[str, Any]] = {"create": {}, "end": {}}
    promises[where]["sha256"] = digest(data)
    opened = await many(outsider)
    ready = await begin(opened, name, **promises["create"])
    await opened.send(binary(content(size + 1)[1:]) + text(type="end", **promises["end"]))
    failed = await error(opened, "digest_mismatch", ready["token"])
    assert failed["status"] == 422
    assert name not in outsider.published()
    await goes_on(opened, outsider)
    assert (await resume(opened, ready["token"]))["offset"] == 0
    await opened.send(binary(data) + text(type="end", **promises["end"]))
    assert outsider.stored(await opened.message("stored")) == data


async def test_a_name_that_was_taken(outsider: Outsider) -> None:
    """Under `reject` it is `name_taken` for that one; the same where a folder is needed and a file stands."""
    await outsider.send_whole(b"first", taken := fresh_name(), "/reject")
    opened = await many(outsider, "/reject")
    for name in (taken, f"{taken}/below"):
        await opened.send(file(name, b"second"))
        failed = (await answers(opened, 1))[0]
        assert (failed["code"], failed["status"]) == ("name_taken", 409)
        await goes_on(opened, outsider, "/reject")
    assert (outsider.directory("/reject") / taken).read_bytes() == b"first"


async def test_one_that_is_taken_among_many(outsider: Outsider) -> None:
    """Among files that are published together, errors stand in their places and the others are stored."""
    await outsider.send_whole(b"", taken := fresh_name(""), "/reject")
    names = [f"{taken}{'' if number % 5 == 2 else f'.{number}'}" for number in range(60)]
    opened = await many(outsider, "/reject")
    await opened.send(b"".join(file(name, name.encode()) for name in names))
    found = await answers(opened, len(names))
    expected = ["name_taken" if name == taken else name for name in names]
    assert [answer.get("code", answer.get("name")) for answer in found] == expected
    assert all(outsider.stored(answer, "/reject") == answer["name"].encode() for answer in found if "name" in answer)


async def test_a_name_that_was_taken_may_be_free_later(outsider: Outsider) -> None:
    """An upload that failed with `name_taken` keeps its bytes, and is stored once the name is free."""
    await outsider.send_whole(b"first", name := fresh_name(), "/reject")
    opened = await many(outsider, "/reject")
    await opened.send(file(name, b"second"))
    failed = (await answers(opened, 1))[0]
    assert failed["code"] == "name_taken"
    (outsider.directory("/reject") / name).unlink()
    assert (await resume(opened, failed["token"]))["offset"] == 6
    await opened.json(type="end")
    assert (await opened.message("stored"))["name"] == name


async def test_after_an_error_of_an_end_the_rest_is_thrown_away(outsider: Outsider) -> None:
    """Also what is sent after that error was heard: `restart` and bytes up to the next `create` do no harm."""
    opened = await many(outsider)
    for size in (1, 100_000):
        await opened.send(file(fresh_name(), content(size), sha256=digest(b"another")))
        assert (await answers(opened, 1))[0]["code"] == "digest_mismatch"
        await opened.send(RUBBISH)
        await goes_on(opened, outsider)


async def test_errors_and_receipts_come_in_order(outsider: Outsider) -> None:
    """Of a hundred requests sent at once, good and bad in turn, each gets its own answer in its own place."""
    requests, expected = [], []
    for number in range(25):
        requests += [
            file(name := fresh_name(), content(number * 1000)),
            file("../bad", b"lost") + RUBBISH,
            text(type="resume", token="nobody's") + RUBBISH,
            file(fresh_name(), b"short", size=6) + RUBBISH,
        ]
        expected += [name, "invalid_name", "unknown_upload", "incomplete"]
    opened = await many(outsider)
    await opened.send(b"".join(requests))
    found = await answers(opened, len(expected))
    assert [answer.get("code", answer.get("name")) for answer in found] == expected


async def test_a_full_disk(tmp_path: Path) -> None:
    """It is `no_space` for the one that does not fit; with room again it goes on behind what was kept."""
    (tmp_path / "upload").mkdir()
    prefix = [*IN_A_SMALL_TMPFS, str(tmp_path / "upload")]
    data = content(6 * MIB)
    with running_service(tmp_path, prefix=prefix, upload={"min_free": 0}) as service:
        async with Outsider(service) as outsider:
            opened = await many(outsider)
            ballast = await begin(opened, "ballast")
            await opened.send(binary(data[: 5 * MIB]))
            await opened.durable(5 * MIB)
            await opened.send(text(type="create", name="large"))
            await error(opened, "incomplete", ballast["token"])
            large = await opened.message("ready")
            await opened.send(binary(data))
            await error(opened, "no_space", large["token"])
            await opened.send(RUBBISH)
            assert (await outsider.http("DELETE", f"/upload/{ballast['token']}")).status == 204
            await send_file(opened, "small", b"fits")
            offset = (await resume(opened, large["token"]))["offset"]
            assert offset <= 3 * MIB
            await opened.send(binary(data[offset:]) + text(type="end"))
            stored = await opened.message("stored")
            assert (stored["size"], stored["sha256"]) == (len(data), digest(data))
