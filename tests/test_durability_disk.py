"""Disks that fail, fill, hang and are tampered with: what was promised holds, and the others go on."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.outsider import Outsider, UploadSocket, content, digest, fresh_name
from tests.support.rawsocket import Closed, Opcode, frame
from tests.support.service import Service, running_service
from tests.support.trouble import fault, hung, inside, needs_strace, on_a_disk_of, staged

MIB = 2**20
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
