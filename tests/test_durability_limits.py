"""Promises of space and number: nobody takes what another was promised."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.support.faults import inside
from tests.support.outsider import STAGING, Outsider, content, eventually, fresh_name
from tests.support.rawsocket import Opcode, Refusal, frame
from tests.support.service import Service, running_service

pytestmark = pytest.mark.slow

MIB = 2**20


# --- space ---------------------------------------------------------------------------------------------


def _stored(service: Service, name: str) -> bytes:
    return (inside(service, service.directory()) / name).read_bytes()


async def _send(outsider: Outsider, url: str, data: bytes) -> str:
    """Send the rest of this file; the final name."""
    opened = await outsider.open(url)
    await opened.binary(data[opened.ready["offset"] :])
    return str((await opened.finish(data))["name"])


async def test_who_was_not_promised_room_does_not_take_what_others_were(small_disk: Service) -> None:
    """An upload without a size ends with 4507 where it would eat into a promise, which is kept; then it goes on."""
    promised, greedy = content(9 * MIB), content(10 * MIB)
    async with Outsider(small_disk) as outsider:
        first = await outsider.create(size=len(promised))
        second = await outsider.create()
        opened = await outsider.open(second)
        opened.write(frame(Opcode.BINARY, greedy))
        await opened.failed("no_space", 4507)
        assert (await outsider.ask(second))["offset"] <= 7 * MIB
        name = await _send(outsider, first, promised)
        assert _stored(small_disk, name) == promised
        (inside(small_disk, small_disk.directory()) / name).unlink()
        assert _stored(small_disk, await _send(outsider, second, greedy)) == greedy


async def test_a_disk_that_fills_up_keeps_its_reserve_from_all_but_those_with_a_promise(small_disk: Service) -> None:
    """Below `min_free` every creation is 507, and an upload of unknown size ends 4507 until there is space again; what
    was promised space before gets it."""
    promised, free = content(7 * MIB), content(2 * MIB)
    async with Outsider(small_disk) as outsider:
        first, second = await outsider.create(size=len(promised)), await outsider.create()
        ballast = inside(small_disk, small_disk.directory()) / "ballast"
        ballast.write_bytes(bytes(6 * MIB))
        for body in ({"name": "a", "size": 1}, {"name": "a"}, {"name": "a", "size": 0}):
            answer = await outsider.post_json(body)
            assert (answer.status, answer.problem()) == (507, "no_space")
        assert (await outsider.get("/readyz")).status == 200
        opened = await outsider.open(second)
        opened.write(frame(Opcode.BINARY, free))
        await opened.failed("no_space", 4507)
        assert _stored(small_disk, await _send(outsider, first, promised)) == promised
        ballast.unlink()
        assert _stored(small_disk, await _send(outsider, second, free)) == free


async def test_what_is_refused_is_counted_and_logged_once(small_disk: Service) -> None:
    """By HTTP and on a socket alike: the word in one metric, and word, name and size in one event of the log."""
    async with Outsider(small_disk) as outsider:
        for body in ({"name": "a", "size": 13 * MIB}, {"name": "b\n"}, {"name": "c", "size": 2**50}):
            assert (await outsider.post_json(body)).status in (507, 400, 413)
            opened = await outsider.unread("/upload")
            await opened.json(type="create", **body)
            assert (await opened.said())["code"] in ("no_space", "invalid_name", "too_large")
        text = (await outsider.get("/metrics")).body.decode()
        for word, name, level in (
            ("no_space", "a", "warning"),
            ("invalid_name", "b\n", "info"),
            ("too_large", "c", "info"),
        ):
            assert f'jackfield_upload_refusals_total{{code="{word}",handler="upload"}} 2.0\n' in text
            assert await eventually(lambda word=word: _refused(small_disk, word)) == [(name, level)] * 2  # type: ignore[misc]


async def _refused(service: Service, word: str) -> list[tuple[str, str]]:
    """Name and level of the refusals with this word, as soon as two are logged: the log comes behind the answer."""
    events = [event for event in list(service.events) if event["event"] == "upload.refused"]
    found = [(event["name"], event["level"]) for event in events if event["failure"] == word]
    return found if len(found) >= 2 else []


async def test_a_disk_that_is_full_at_the_start_is_told(tmp_path: Path) -> None:
    """A directory with less than `min_free` is a warning at the start: nothing can be created there."""
    with running_service(tmp_path, upload={"min_free": "1024TiB"}) as service:
        assert service.wait_for("space.low")["level"] == "warning"
        async with Outsider(service) as outsider:
            assert (await outsider.post_json({"name": "a"})).status == 507


async def test_promises_made_at_once_are_all_kept(small_disk: Service) -> None:
    """Thirty creations at once on a disk for twelve: those that were admitted all finish."""
    data = content(MIB)
    async with Outsider(small_disk) as outsider:
        answers = await asyncio.gather(
            *(outsider.post_json({"name": fresh_name(), "size": MIB}) for _ in range(30)),
            *(outsider.post_plain(fresh_name().encode()) for _ in range(5)),
        )
        urls = [answer.json()["url"] for answer in answers[:30] if answer.status == 201]
        assert len(urls) in (11, 12)
        assert {answer.problem() for answer in answers[:30] if answer.status != 201} == {"no_space"}
        names = await asyncio.gather(*(_send(outsider, url, data) for url in urls))
        assert {_stored(small_disk, name) == data for name in names} == {True}


async def test_room_that_was_used_is_not_promised_again(small_disk: Service) -> None:
    """A file that was stored a moment ago takes its room still: the next promise sees the disk as it is."""
    data = content(8 * MIB)
    async with Outsider(small_disk) as outsider:
        await _send(outsider, await outsider.create(size=len(data)), data)
        answer = await outsider.post_json({"name": fresh_name(), "size": len(data)})
        assert (answer.status, answer.problem()) == (507, "no_space")


async def test_max_size_is_held_to_by_every_way_in(outsider: Outsider) -> None:
    """What passes `max_size` is refused when it is promised, and cut at the limit when it is not; resuming too."""
    url = await outsider.create(at="/small")
    opened = await outsider.open(url)
    await opened.binary(bytes(MIB - 1))
    await opened.durable(MIB - 1)
    opened.reset()
    again = await outsider.open(url)
    again.write(frame(Opcode.BINARY, bytes(2)))
    await again.failed("too_large", 4413)
    assert (await outsider.ask(url))["offset"] == MIB
    await (await outsider.open(url)).finish(bytes(MIB))


# --- number --------------------------------------------------------------------------------------------


async def test_no_more_are_open_than_may_be_however_many_come_at_once(tmp_path: Path) -> None:
    """Of fifty creations at once, by both kinds, exactly `max_open` are admitted; one that is stored makes room."""
    with running_service(tmp_path, upload={"max_open": 7}) as service:
        async with Outsider(service) as outsider:
            for _ in range(2):
                answers = await asyncio.gather(
                    *(outsider.post_json({"name": fresh_name()}) for _ in range(25)),
                    *(outsider.post_plain(fresh_name().encode()) for _ in range(25)),
                )
                assert Counter(answer.status for answer in answers) == {201: 7, 429: 43}
                for answer in answers:
                    if answer.status == 201:
                        await (await outsider.open(answer.headers["Location"])).finish(b"")


# --- what is left ---------------------------------------------------------------------------------------


async def test_the_refused_leave_nothing_behind(small_disk: Service) -> None:
    """Creations that are refused for want of room, and sockets on tokens that are gone, leave staging as it was."""
    async with Outsider(small_disk) as outsider:
        folder = inside(small_disk, small_disk.directory() / STAGING)
        before = sorted(path.name for path in folder.iterdir())
        for size in (13 * MIB, 100 * MIB):
            assert (await outsider.post_json({"name": "a", "size": size})).status == 507
        url = await outsider.create()
        assert (await outsider.http("DELETE", url)).status == 204
        with pytest.raises(Refusal):
            await outsider.open(url)
        assert sorted(path.name for path in folder.iterdir()) == before
