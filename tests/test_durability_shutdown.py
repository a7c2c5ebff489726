"""Two services on one directory, and the end of one: everyone is told, what arrived is durable, whatever hangs."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.faults import ended, fault, hung, needs_strace
from tests.support.outsider import Outsider, content
from tests.support.rawsocket import RawSocket
from tests.support.service import COMMAND, PATIENCE, configuration, pingpong, running_service, upload

pytestmark = pytest.mark.slow

MIB = 2**20
DATA = content(3 * MIB)
GONE = {1001, 1012}


# --- two on one directory ------------------------------------------------------------------------------


def _refusal(folder: Path, settings: dict[str, object]) -> str:
    """The one line in which a service says why it does not start."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    done = subprocess.run(
        [COMMAND, "serve", "--config", folder / "config.yaml"],
        capture_output=True, text=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "listening" not in done.stderr
    return done.stderr


async def test_a_second_service_on_a_directory_refuses_to_start(tmp_path: Path) -> None:
    """It says so in one line, by whatever path it came there, and disturbs nothing; after a kill the place is free."""
    with running_service(tmp_path) as service:
        directory = service.directory()
        async with Outsider(service) as outsider:
            url = await outsider.create()
            opened = await outsider.open(url)
            await opened.binary(DATA[:MIB])
            await opened.durable(MIB)
            (tmp_path / "link").symlink_to(directory)
            for path in (directory, tmp_path / "link"):
                said = _refusal(tmp_path / "second", configuration(upload=upload(directory=str(path))))
                assert f"{path} is in use by another service" in said
            await opened.binary(DATA[MIB:])
            assert outsider.stored(await opened.finish(DATA)) == DATA
            service.kill()
            with running_service(tmp_path / "second", upload={"directory": str(directory)}) as second:
                async with Outsider(second) as other:
                    assert (await other.ask(url))["state"] == "stored"


def test_two_handlers_on_one_directory_refuse_to_start(tmp_path: Path) -> None:
    """Within one service too."""
    settings = configuration(upload=upload(directory="same"), other=upload("/other", directory="same"))
    assert "same is the directory of handlers.other" in _refusal(tmp_path, settings)


# --- the end -------------------------------------------------------------------------------------------


async def _crowd(outsider: Outsider) -> list[RawSocket]:
    """Fifty sockets on which nothing happens."""
    url = await outsider.create()
    talking = [await outsider.connect("/pingpong") for _ in range(40)]
    assert {await one.next() for one in talking} == {"ping"}
    waiting = [await outsider.open(await outsider.create()) for _ in range(9)]
    return [*talking, *waiting, await outsider.open(url)]


async def _told(sockets: list[RawSocket]) -> None:
    """Everyone hears that the service goes, and answers."""
    for one in sockets:
        found = await one.closed(30)
        assert found.code in GONE, found
        await one.close(found.code)


async def test_at_the_end_everyone_is_told_and_what_arrived_is_durable(tmp_path: Path) -> None:
    """Fifty idle sockets and ten uploads: 1012 for all, every byte acknowledged as durable, and there afterwards."""
    with running_service(
        tmp_path, server={"shutdown_timeout": "10s"}, pingpong=pingpong(interval="60s", timeout="60s")
    ) as service:
        async with Outsider(service) as outsider:
            idle = await _crowd(outsider)
            urls = [await outsider.create() for _ in range(10)]
            sending = [await outsider.open(url) for url in urls]
            for number, one in enumerate(sending):
                await one.binary(DATA[: MIB + number])
            for one in sending:
                await one.delivered()
            service.signal(signal.SIGTERM)
            await _told([*sending, *idle])
            assert await asyncio.to_thread(service.wait, 10) == 0
            for number, one in enumerate(sending):
                assert one.acks[-1] == {"type": "ack", "offset": MIB + number, "durable": MIB + number}
            service.start()
            for number, url in enumerate(urls):
                again = await outsider.open(url)
                assert again.ready["offset"] == MIB + number
                await again.binary(DATA[MIB + number :])
                await again.finish(DATA)


@needs_strace
async def test_a_disk_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """Every sync hangs, under ten uploads and one that is being stored: all are told, status 0 within the limit."""
    with running_service(tmp_path, server={"shutdown_timeout": "3s"}, pingpong=pingpong(interval="60s")) as service:
        async with Outsider(service) as outsider:
            idle = await _crowd(outsider)
            urls = [await outsider.create() for _ in range(10)]
            sending = [await outsider.open(url) for url in urls]
            for one in sending:
                await one.binary(DATA[:MIB])
            for one in sending:
                await one.durable(MIB)
            with fault(service, hung("fsync", 90), hung("fdatasync", 90)) as hanging:
                for one in sending:
                    await one.binary(DATA[MIB:])
                await sending[0].end()
                await hanging.struck(10)
                service.signal(signal.SIGTERM)
                await _told([*idle, *sending])
                await ended(service, 8)
            assert await asyncio.to_thread(service.wait) == 0
            service.start()
            for url, one in zip(urls, sending, strict=True):
                await _whole_in_the_end(outsider, url, max(ack["durable"] for ack in one.acks))


async def _whole_in_the_end(outsider: Outsider, url: str, durable: int) -> None:
    """Nothing that was called durable is asked for again, and the file becomes what it should."""
    again = await outsider.unread(url)
    said = await again.said()
    if said["type"] == "ready":
        assert durable <= said["offset"] <= len(DATA)
        await again.binary(DATA[said["offset"] :])
        said = await again.finish(DATA)
    assert outsider.stored(said) == DATA


@needs_strace
async def test_a_second_signal_does_not_wait_for_a_disk(tmp_path: Path) -> None:
    """While syncs hang and the time for draining is long, asking twice ends it at once; what was durable stays."""
    with running_service(tmp_path, server={"shutdown_timeout": "60s"}) as service:
        async with Outsider(service) as outsider:
            url = await outsider.create()
            opened = await outsider.open(url)
            await opened.binary(DATA[:MIB])
            await opened.durable(MIB)
            with fault(service, hung("fsync", 90), hung("fdatasync", 90)) as hanging:
                await opened.binary(DATA[MIB:])
                await hanging.struck()
                service.signal(signal.SIGTERM)
                service.wait_for("draining")
                service.signal(signal.SIGTERM)
                await ended(service, 10)
            assert await asyncio.to_thread(service.wait) in (128 + signal.SIGTERM, -signal.SIGTERM)
            service.start()
            await _whole_in_the_end(outsider, url, MIB)
            assert os.listdir(service.directory() / ".incoming") != []
