"""The contract, "Many files on one socket": clients that vanish or never read, and a service that ends or is killed."""

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.manyfiles import answers, assert_stored, begin, binary, file, many, resume, send_file, text
from tests.support.outsider import Outsider, UploadSocket, content, digest, eventually, fresh_name
from tests.support.rawsocket import Closed
from tests.support.service import running_service

KIB = 2**10
MIB = 2**20
DATA = content(3 * MIB + 1)


# -- the client is gone


@pytest.mark.parametrize("leave", [UploadSocket.half_close, UploadSocket.drop, UploadSocket.reset])
async def test_a_drop_keeps_what_was_ended_and_what_was_not(
    outsider: Outsider, leave: Callable[[UploadSocket], None]
) -> None:
    """However the link ends: files that were ended are stored, the one in the middle is open with its bytes."""
    sent = {fresh_name(): content(size) for size in (0, 10, 70_000, 300_000, 1, 4096) * 5}
    opened = await many(outsider)
    first = await begin(opened, fresh_name())
    await opened.send(binary(b"half") + b"".join(file(name, data) for name, data in sent.items()))
    await opened.send(text(type="create", name=fresh_name()) + binary(b"nobody's"))
    await opened.delivered()
    leave(opened)

    async def all_stored() -> bool:
        return set(sent) <= set(outsider.published())

    await eventually(all_stored)
    for name, data in sent.items():
        assert (outsider.directory() / name).read_bytes() == data
    again = await outsider.open(f"/upload/{first['token']}")
    assert (again.ready["offset"], again.ready["sha256"]) == (4, digest(b"half"))
    await again.finish(b"half")


@pytest.mark.parametrize("size", [1, 65_537, MIB + 1])
async def test_who_comes_back_at_once_finds_all_that_had_arrived(outsider: Outsider, size: int) -> None:
    """A reset, and a newcomer right behind it on `/upload/<token>`, which takes over before the reset is noticed."""
    data = content(size)
    for _ in range(5):
        opened = await many(outsider)
        ready = await begin(opened, fresh_name())
        await opened.send(binary(data))
        await opened.delivered()
        opened.reset()
        again = await outsider.open(f"/upload/{ready['token']}")
        assert again.ready["offset"] == size
        await again.finish(data)


async def test_many_that_vanish_leave_nothing_behind(outsider: Outsider) -> None:
    """Forty sockets reset with answers under way and files half sent: the log stays clean, uploads are kept."""
    tokens = []
    for number in range(40):
        opened = await many(outsider)
        tokens.append((await begin(opened, fresh_name()))["token"])
        await opened.send(binary(b"x") + text(type="restart") + binary(b"kept"))
        await opened.send(b"".join(file(fresh_name(), content(number)) for _ in range(number % 3)))
        await opened.delivered()
        opened.reset()
    for token in tokens:
        single = await outsider.open(f"/upload/{token}")
        assert single.ready["offset"] == 4
        await single.finish(b"kept")


# -- the client does not read


async def test_less_than_a_mebibyte_of_answers_may_wait(outsider: Outsider) -> None:
    """A client with the smallest of buffers sends 1,000 files before it reads at all; then it reads every answer."""
    folder = fresh_name("")
    sent = {f"{folder}/{number}": str(number).encode() for number in range(1000)}
    opened = await many(outsider, receive_buffer=1)
    opened.writer.transport.set_write_buffer_limits(0)
    async with asyncio.timeout(20):
        for name, data in sent.items():
            await opened.send(file(name, data))
        await opened.delivered()

    async def all_stored() -> bool:
        place = outsider.directory() / folder
        return place.is_dir() and len(list(place.iterdir())) == len(sent)

    await eventually(all_stored, 20)
    assert_stored(outsider, await answers(opened, len(sent)), sent)
    assert (await _closing(opened)).code == 1000


async def _closing(opened: UploadSocket) -> Closed:
    await opened.close(1000)
    return await opened.closed()


FLOODS = [
    text(type="create", name="a") + text(type="end"),
    text(type="create", name="../a"),
    text(type="resume", token="x" * 1000),
    text(type="restart"),
    binary(b"x") * 100,
    text(type="create", name="b") + binary(content(60_000)),
]


async def test_those_who_never_read_cost_little_memory(tmp_path: Path) -> None:
    """Six of them pour files, errors, restarts, crumbs for seconds: the peak is bounded, and others are served."""
    with running_service(tmp_path, upload={"memory": "32MiB"}) as service:
        async with Outsider(service) as outsider:
            opened = [await many(outsider, receive_buffer=1) for _ in FLOODS]

            async def pour(one: UploadSocket, flood: bytes) -> None:
                one.writer.transport.set_write_buffer_limits(0)
                await one.send(text(type="create", name="first"))
                block = flood * (-(-(256 * KIB) // len(flood)))
                while True:
                    await one.send(block)

            pouring = [asyncio.create_task(pour(*pair)) for pair in zip(opened, FLOODS, strict=True)]
            await asyncio.wait(pouring, timeout=2.5)
            assert service.peak_memory() < 150 * MIB
            for one, task in zip(opened, pouring, strict=True):
                one.reset()
                task.cancel()
            await asyncio.wait(pouring)
            await _served(outsider)


async def _served(outsider: Outsider) -> None:
    sending = await outsider.unread("/upload")
    await sending.send(file("other", b"served"))
    while (await sending.said(20))["type"] != "stored":
        pass


# -- the service ends


async def test_at_the_end_of_the_service_finishes_are_finished(tmp_path: Path) -> None:
    """At SIGTERM all that was ended is stored and said so, the last bytes are acknowledged durable, then 1012."""
    sent = {f"{number}.bin": content(size) for number, size in enumerate((10, 70_000, 0, 4000) * 25)}
    with running_service(tmp_path, server={"shutdown_timeout": "20s"}) as service:
        async with Outsider(service) as outsider:
            opened = await many(outsider)
            await opened.send(b"".join(file(name, data) for name, data in sent.items()))
            await opened.send(text(type="create", name="last") + binary(DATA))
            await opened.delivered()
            service.signal(signal.SIGTERM)
            assert_stored(outsider, await answers(opened, len(sent)), sent)
            ready = await opened.message("ready")
            assert (await opened.closed()).code == 1012
            assert opened.acks[-1] == {"type": "ack", "offset": len(DATA), "durable": len(DATA)}
            await opened.close(1012)
            assert await asyncio.to_thread(service.wait) == 0
            service.start()
            again = await resume(await many(outsider), ready["token"])
            assert (again["offset"], again["sha256"]) == (len(DATA), digest(DATA))


async def test_no_answer_is_lost_in_the_middle(tmp_path: Path) -> None:
    """SIGTERM while answers stream out: those that come are in order and without a gap up to the close 1012."""
    sent, read = {f"{number}": content(number * 37 % 9000) for number in range(600)}, 100
    with running_service(tmp_path, server={"shutdown_timeout": "20s"}) as service:
        async with Outsider(service) as outsider:
            opened = await many(outsider)
            sending = asyncio.create_task(opened.send(b"".join(file(name, data) for name, data in sent.items())))
            await answers(opened, read)
            service.signal(signal.SIGTERM)
            found: list[dict[str, Any]] = []
            while not isinstance(said := await opened.next(), Closed):
                found.append(json.loads(said))
            assert said.code == 1012
            names = [answer["name"] for answer in found if answer["type"] == "stored"]
            assert names == [str(number) for number in range(read, read + len(names))]
            await asyncio.wait([sending], timeout=5)
            await opened.close(1012)
            assert await asyncio.to_thread(service.wait) == 0
            assert set(outsider.published()) == set(map(str, range(read + len(names))))


async def test_a_socket_that_waits_is_closed_soon(tmp_path: Path) -> None:
    """At SIGTERM a socket between two files is closed 1012 at once, also one that does not read."""
    with running_service(tmp_path, server={"shutdown_timeout": "30s"}) as service:
        async with Outsider(service) as outsider:
            opened, fresh = await many(outsider), await many(outsider)
            await send_file(opened, "a", b"a")
            service.signal(signal.SIGTERM)
            for one in (opened, fresh):
                assert (await one.closed()).code == 1012
                await one.close(1012)
            assert await asyncio.to_thread(service.wait, 10) == 0


# -- the service is killed


async def test_what_was_durable_and_every_receipt_outlive_a_kill(tmp_path: Path) -> None:
    """After kill -9 the acknowledged bytes are there to go on with, and receipts are given again."""
    sent = {f"{number}.bin": content(size) for number, size in enumerate((10, 70_000, 0, 4000) * 25)}
    with running_service(tmp_path) as service:
        async with Outsider(service) as outsider:
            opened = await many(outsider)
            await opened.send(b"".join(file(name, data) for name, data in sent.items()))
            receipts = await answers(opened, len(sent))
            assert_stored(outsider, receipts, sent)
            tokens = {}
            for size in (5, 100_000, 3 * MIB):
                ready = await begin(opened, f"open-{size}")
                await opened.send(binary(content(size)))
                await opened.durable(size)
                await opened.send(text(type="resume", token="none"))
                assert (await opened.message("error"))["token"] == ready["token"]
                await opened.message("error")
                tokens[size] = ready["token"]
            service.kill()
            service.start()
            opened = await many(outsider)
            for receipt in receipts:
                await opened.json(type="resume", token=receipt["token"])
                assert await opened.said() == receipt
            for size, token in tokens.items():
                ready = await resume(opened, token)
                assert (ready["offset"], ready["sha256"]) == (size, digest(content(size)))
                await opened.send(text(type="end"))
                assert outsider.stored(await opened.message("stored")) == content(size)
            assert len(outsider.published()) == len(sent) + 3


async def test_a_kill_in_the_middle_leaves_whole_files_alone(tmp_path: Path) -> None:
    """Killed while files stream in: what has a final name is whole, and every receipt that was given stays true."""
    sent = {f"d{number % 3}/{number}.bin": content(number * 97 % 20_000) for number in range(400)}
    with running_service(tmp_path) as service:
        async with Outsider(service) as outsider:
            opened = await many(outsider)
            sending = asyncio.create_task(opened.send(b"".join(file(name, data) for name, data in sent.items())))
            receipts = await answers(opened, 60)
            service.kill()
            await asyncio.wait([sending])
            sending.exception()
            _assert_whole(outsider, sent)
            service.start()
            _assert_whole(outsider, sent)
            opened = await many(outsider)
            for receipt in receipts:
                await opened.json(type="resume", token=receipt["token"])
                assert await opened.said() == receipt
                assert outsider.stored(receipt) == sent[receipt["name"]]
            name = "behind.bin"
            await send_file(opened, name, b"it goes on")


def _assert_whole(outsider: Outsider, sent: dict[str, bytes]) -> None:
    for name in outsider.published():
        assert (outsider.directory() / name).read_bytes() == sent[name]
