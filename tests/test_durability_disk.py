"""Disks that fail, fill, hang and are tampered with: what was promised holds, and the others go on."""

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faults import fault, hung, inside, needs_strace, on_a_disk_of, staged
from tests.support.outsider import Outsider, UploadSocket, content, digest, fresh_name
from tests.support.rawsocket import Closed, Opcode, frame
from tests.support.service import Service, running_service

MIB = 2**20
RENAMES = "rename,renameat,renameat2"
DATA = content(3 * MIB + 5)
HALF = len(DATA) // 2


async def _half_sent(outsider: Outsider, url: str) -> UploadSocket:
    """The first half of DATA was sent and is durable."""
    opened = await outsider.open(url)
    await opened.binary(DATA[:HALF])
    await opened.durable(HALF)
    return opened


async def _refused(opened: UploadSocket, code: str = "storage_failed", close: int = 1011) -> None:
    """The socket ends with this failure; whatever was acknowledged before counts."""
    if close >= 4000:
        await opened.failed(code, close)
        return
    while not isinstance(said := await opened.next(), Closed):
        found = json.loads(said)
        assert found["type"] in ("ack", "error"), found
        if found["type"] == "ack":
            opened.acks.append(found)
    assert said.code == close, said


async def _goes_on(outsider: Outsider, url: str, opened: UploadSocket, name: str, at: str = "/upload") -> None:
    """The upload can be resumed, not before what was called durable, and becomes the right file."""
    again = await outsider.open(url)
    offset = again.ready["offset"]
    assert offset >= max((ack["durable"] for ack in opened.acks), default=0)
    assert again.ready["sha256"] in (None, digest(DATA[:offset]))
    await again.binary(DATA[offset:])
    receipt = await again.finish(DATA)
    assert receipt["name"] == name
    assert outsider.stored(receipt, at) == DATA


# --- full ----------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Service]:
    """A service whose upload directory is a disk of 12 MiB."""
    directory = tmp_path / "upload"
    directory.mkdir()
    with running_service(tmp_path, prefix=on_a_disk_of("12m", directory), upload={"min_free": 0}) as service:
        yield service


def _fill(service: Service) -> Path:
    """Somebody else's file takes all the room that is left."""
    ballast = inside(service, service.directory()) / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return ballast


@pytest.mark.parametrize("size", [None, len(DATA)])
async def test_an_upload_goes_on_once_a_full_disk_has_room_again(small_disk: Service, size: int | None) -> None:
    """A write on a full disk closes 4507, again and again, and keeps what was there; with room it is finished."""
    async with Outsider(small_disk) as outsider:
        name = fresh_name()
        url = await outsider.create(name, size=size)
        opened = await _half_sent(outsider, url)
        ballast = _fill(small_disk)
        opened.write(frame(Opcode.BINARY, DATA[HALF:]))
        await _refused(opened, "no_space", 4507)
        again = await outsider.open(url)
        assert again.ready["offset"] >= HALF
        again.write(frame(Opcode.BINARY, DATA[again.ready["offset"] :]))
        await _refused(again, "no_space", 4507)
        ballast.unlink()
        await _finished_inside(outsider, url, name)


async def _finished_inside(outsider: Outsider, url: str, name: str) -> None:
    again = await outsider.open(url)
    offset = again.ready["offset"]
    assert offset >= HALF
    await again.binary(DATA[offset:])
    assert (await again.finish(DATA))["name"] == name
    assert (inside(outsider.service, outsider.directory()) / name).read_bytes() == DATA


async def test_a_disk_without_room_for_the_receipt_stores_nothing_yet(small_disk: Service) -> None:
    """All bytes fit and the receipt does not: 4507, no name is visible; with room the same name is given."""
    async with Outsider(small_disk) as outsider:
        name = fresh_name()
        url = await outsider.create(name)
        opened = await outsider.open(url)
        await opened.binary(DATA)
        await opened.durable(len(DATA))
        ballast = _fill(small_disk)
        await opened.end()
        await _refused(opened, "no_space", 4507)
        assert not (inside(small_disk, small_disk.directory()) / name).exists()
        assert (await outsider.ask(url))["state"] == "open"
        ballast.unlink()
        await _finished_inside(outsider, url, name)
        assert os.listdir(inside(small_disk, small_disk.directory() / ".incoming")) != []


# --- failing calls -------------------------------------------------------------------------------------


@needs_strace
@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EDQUOT"])
async def test_a_write_that_fails_loses_nothing(outsider: Outsider, error: str) -> None:
    """A failing write ends the socket, what was durable is kept, and afterwards the upload is finished."""
    name = fresh_name()
    url = await outsider.create(name)
    opened = await _half_sent(outsider, url)
    with fault(outsider.service, f"pwritev,pwritev2:error={error}", path=staged(outsider, url, "part")) as failing:
        opened.write(frame(Opcode.BINARY, DATA[HALF:]))
        await (_refused(opened) if error == "EIO" else _refused(opened, "no_space", 4507))
        assert failing.strikes
    await _goes_on(outsider, url, opened, name)


@needs_strace
@pytest.mark.parametrize("count", ["", ":when=1"])
async def test_after_a_failed_sync_a_second_one_proves_nothing(outsider: Outsider, count: str) -> None:
    """A failing fdatasync ends the socket; what it was to make durable is not trusted, though a later one succeeds."""
    name = fresh_name()
    url = await outsider.create(name)
    opened = await _half_sent(outsider, url)
    with fault(outsider.service, f"fdatasync:error=EIO{count}", path=staged(outsider, url, "part")) as failing:
        await opened.binary(DATA[HALF:-1])
        await failing.struck()
        await _refused(opened)
    assert max(ack["durable"] for ack in opened.acks) == HALF
    assert (await outsider.ask(url))["offset"] == HALF
    await _goes_on(outsider, url, opened, name)


@needs_strace
@pytest.mark.parametrize("count", ["", ":when=1"])
async def test_an_upload_whose_last_sync_fails_is_not_stored(outsider: Outsider, count: str) -> None:
    """A failing fsync at the end: no receipt, no name, and the bytes since the last durable one are asked for again."""
    name = fresh_name()
    url = await outsider.create(name)
    opened = await _half_sent(outsider, url)
    with fault(outsider.service, f"fsync:error=EIO{count}", path=staged(outsider, url, "part")) as failing:
        await opened.binary(DATA[HALF:])
        await opened.end()
        await _refused(opened)
        assert failing.strikes
    assert not (outsider.directory() / name).exists()
    assert (await outsider.ask(url))["offset"] == HALF
    await _goes_on(outsider, url, opened, name)


@needs_strace
@pytest.mark.parametrize(
    ("at", "call"),
    [
        ("/upload", "linkat"), ("/reject", "linkat"), ("/replace", RENAMES),
        ("/upload", "fsync"), ("/reject", "fsync"), ("/replace", "fsync"),
    ],
)  # fmt: skip
async def test_publishing_that_fails_shows_nothing_and_is_done_again(outsider: Outsider, at: str, call: str) -> None:
    """Where the name cannot be given, or made durable, there is no receipt; the upload goes on, under its own name."""
    folder = fresh_name("")
    name = f"{folder}/data"
    await outsider.send_whole(b"old", f"{folder}/other", at)
    url = await outsider.create(name, at)
    opened = await _half_sent(outsider, url)
    with fault(outsider.service, f"{call}:error=EIO", path=outsider.directory(at) / folder) as failing:
        await opened.binary(DATA[HALF:])
        await opened.end()
        await _refused(opened)
        assert failing.strikes
    if (call, at) != ("fsync", "/replace"):  # what has replaced a file cannot be taken back, and is whole
        assert os.listdir(outsider.directory(at) / folder) == ["other"]
    assert (await outsider.ask(url))["state"] == "open"
    await _goes_on(outsider, url, opened, name, at)
    assert sorted(os.listdir(outsider.directory(at) / folder)) == ["data", "other"]


@needs_strace
@pytest.mark.parametrize("at", ["/upload", "/reject", "/replace"])
async def test_without_a_receipt_on_disk_nothing_is_stored(outsider: Outsider, at: str) -> None:
    """Where the receipt cannot be written no name stays, but one that was replaced; afterwards all is done again."""
    name = fresh_name()
    url = await outsider.create(name, at)
    opened = await _half_sent(outsider, url)
    with fault(outsider.service, f"{RENAMES}:error=EIO", path=staged(outsider, url, "receipt.new")) as failing:
        await opened.binary(DATA[HALF:])
        await opened.end()
        await _refused(opened)
        assert failing.strikes
    assert (outsider.directory(at) / name).exists() == (at == "/replace")
    assert not staged(outsider, url, "receipt").exists()
    await _goes_on(outsider, url, opened, name, at)


@needs_strace
async def test_a_part_that_cannot_be_removed_takes_no_receipt_back(outsider: Outsider) -> None:
    """Once the receipt is durable the upload is stored, whatever is left in staging."""
    url = await outsider.create()
    opened = await _half_sent(outsider, url)
    with fault(outsider.service, "unlink,unlinkat:error=EIO", path=staged(outsider, url, "upload")) as failing:
        await opened.binary(DATA[HALF:])
        assert outsider.stored(await opened.finish(DATA)) == DATA
        assert failing.strikes
    assert (await outsider.ask(url))["state"] == "stored"


@needs_strace
async def test_a_manifest_that_cannot_be_written_makes_nothing_durable(outsider: Outsider) -> None:
    """Bytes that are synced and not written down as such are not called durable; `restart` then forgets them all."""
    name = fresh_name()
    url = await outsider.create(name)
    opened = await _half_sent(outsider, url)
    manifest = staged(outsider, url, "upload.new")
    with fault(outsider.service, f"{RENAMES}:error=EIO", path=manifest) as failing:
        await opened.binary(DATA[HALF:-1])
        await failing.struck()
        await _refused(opened)
    assert max(ack["durable"] for ack in opened.acks) == HALF
    again = await outsider.open(url)
    with fault(outsider.service, f"{RENAMES}:error=EIO", path=manifest) as failing:
        await again.json(type="restart")
        await failing.struck()
        await _refused(again)
    last = await outsider.open(url)
    assert last.ready["offset"] == 0
    await last.binary(DATA)
    assert outsider.stored(await last.finish(DATA)) == DATA


# --- slow ------------------------------------------------------------------------------------------------


@needs_strace
async def test_a_slow_last_sync_is_waited_for(outsider: Outsider) -> None:
    """While the last fsync takes longer than the quiet after which bytes are synced anyway, nothing goes wrong."""
    url = await outsider.create()
    opened = await outsider.open(url)
    with fault(outsider.service, hung("fsync", 0.9), path=staged(outsider, url, "part")) as slow:
        await opened.binary(DATA)
        assert outsider.stored(await opened.finish(DATA)) == DATA
        assert slow.strikes


@needs_strace
async def test_a_slow_disk_holds_up_nobody_else(tmp_path: Path) -> None:
    """Uploads that wait for the disk: pings are answered, other sockets served, memory stays within its bounds."""
    data, uploads = content(24 * MIB), 8
    with running_service(tmp_path, upload={"memory": "16MiB"}, pingpong={"rounds": 0, "timeout": "60s"}) as service:
        async with Outsider(service) as outsider:
            opened = [await outsider.open(await outsider.create(size=len(data))) for _ in range(uploads)]
            talking = await outsider.connect("/pingpong")
            assert await talking.next() == "ping"
            before = service.peak_memory()
            with fault(service, hung("pwritev,pwritev2", 0.5), hung("fdatasync", 2)) as slow:
                sending = [asyncio.create_task(one.binary(data)) for one in opened]
                await slow.struck(2 * uploads)
                for _ in range(5):
                    await talking.text("pong")
                    assert await talking.next() == "ping"
                assert (await outsider.get("/healthz")).status == 200
                assert (await outsider.ask(await outsider.create()))["state"] == "open"
                assert service.peak_memory() - before < 64 * MIB
            await asyncio.gather(*sending)
            for one in opened:
                assert (await one.finish(data))["size"] == len(data)
