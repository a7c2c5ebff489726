"""Where no WebSocket gets through, the client sends by plain requests, by itself, and says so once."""

import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from jackfield.handlers.upload.client import Receipt, UploadError, upload, upload_many, upload_stream
from tests.support.outsider import Outsider, content, digest, fresh_name
from tests.support.service import Service
from tests.support.stripping import Stripping
from tests.support.uploader import Uploader

MIB = 2**20


@pytest.fixture
async def proxy(service: Service) -> AsyncIterator[Stripping]:
    """The way to the service."""
    async with Stripping(service.url).running() as found:
        yield found


def stored(service: Service, receipt: Receipt) -> bytes:
    """The file that a receipt names."""
    return (service.directory() / receipt.name).read_bytes()


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    """What the client has said."""
    return [record.getMessage() for record in log.records if record.name == "jackfield.upload"]


async def test_an_upgrade_that_is_stripped(
    service: Service, proxy: Stripping, session: aiohttp.ClientSession, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The file is stored, with progress from request to request; the second file tries no socket, and nothing is said
    twice."""
    seen: list[int] = []
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            receipt = await upload(
                session, proxy.url, path, name=fresh_name(), progress=lambda progress: seen.append(progress.durable)
            )
        assert stored(service, receipt) == path.read_bytes()
    assert len([said for said in warnings(caplog) if "no WebSocket gets through" in said]) == 1
    assert seen.count(0) == 2
    assert len(set(seen)) > 3


@pytest.mark.parametrize("status", [400, 403, 405, 501])
async def test_an_upgrade_that_is_refused(
    service: Service, proxy: Stripping, session: aiohttp.ClientSession, path: Path, status: int
) -> None:
    """By a proxy, in its own words."""
    proxy.refusal = status
    receipt = await upload(session, proxy.url, path, name=fresh_name())
    assert stored(service, receipt) == path.read_bytes()


async def test_a_proxy_that_takes_only_small_requests(
    service: Service, proxy: Stripping, session: aiohttp.ClientSession, path: Path
) -> None:
    """After a 413 of its own the next requests are smaller."""
    proxy.most = 300_000
    receipt = await upload(session, proxy.url, path, name=fresh_name())
    assert stored(service, receipt) == path.read_bytes()


async def test_answers_that_are_lost(
    service: Service, proxy: Stripping, session: aiohttp.ClientSession, path: Path
) -> None:
    """Of a part, and of the end: the service is asked, and nothing is stored twice."""
    proxy.lost = {1, 3, 5}
    name, token = fresh_name(), "p" * 12 + fresh_name("")
    receipt = await upload(session, proxy.url, path, name=name, token=token)
    assert (receipt.name, stored(service, receipt)) == (name, path.read_bytes())
    again = await upload(session, proxy.url, path, name=name, token=token)
    assert (again, again.already) == (receipt, True)


async def test_what_was_begun_is_gone_on_with(
    service: Service, outsider: Outsider, proxy: Stripping, session: aiohttp.ClientSession, path: Path
) -> None:
    """What an earlier call has sent by a socket is not sent again; with `resume` false it is; and where it was of
    another file the digest tells, and all is sent anew."""
    data = path.read_bytes()
    cases = (
        (data[: 2 * MIB], True, len(data) - 2 * MIB),
        (data[:MIB], False, len(data)),
        (content(MIB), True, 2 * len(data) - MIB),
    )
    for begun, resume, brought in cases:
        name, token, before = fresh_name(), "q" * 12 + fresh_name(""), proxy.brought
        opened = await outsider.open(await outsider.create(name, size=len(data), token=token))
        await opened.binary(begun)
        await opened.durable(len(begun))
        opened.drop()
        receipt = await upload(session, proxy.url, path, name=name, token=token, resume=resume)
        assert (receipt.name, stored(service, receipt)) == (name, data)
        assert proxy.brought - before == brought


@pytest.mark.parametrize("size", [None, 3 * MIB + 5])
async def test_a_stream(service: Service, proxy: Stripping, session: aiohttp.ClientSession, size: int | None) -> None:
    """Of a size that is known, or not; an answer is lost in its middle."""
    data = content(3 * MIB + 5)
    proxy.lost = {2}

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 100_000):
            yield data[at : at + 100_000]

    receipt = await upload_stream(session, proxy.url, chunks(), name=fresh_name(), size=size)
    assert receipt.sha256 == digest(data)
    assert stored(service, receipt) == data


async def test_many_small_files(
    service: Service, proxy: Stripping, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Each has its receipt, or its failure, though an answer is lost."""
    folder, outcomes = fresh_name(""), {}
    files = []
    for number in range(20):
        file = tmp_path / f"{number}.bin"
        file.write_bytes(os.urandom(number * 1000))
        files.append((file, f"{folder}/{'.hidden' if number == 7 else number}"))
    proxy.lost = {5}
    await upload_many(session, proxy.url, files, done=outcomes.__setitem__)
    assert len(outcomes) == 20
    for number, (file, _) in enumerate(files):
        outcome = outcomes[str(file)]
        if number == 7:
            assert isinstance(outcome, UploadError)
        else:
            assert isinstance(outcome, Receipt)
            assert stored(service, outcome) == file.read_bytes()


async def test_the_command_says_it_once(service: Service, proxy: Stripping, uploader: Uploader, tmp_path: Path) -> None:
    """On standard error, for any number of files; and it goes on."""
    files = []
    for number in range(3):
        file = tmp_path / fresh_name(f"-{number}")
        file.write_bytes(os.urandom(2 * MIB))
        files.append(file)
    result = await uploader.run(*map(str, files), proxy.url)
    assert result.status == 0, result
    assert result.err.count("no WebSocket gets through") == 1
    for file in files:
        assert (service.directory() / file.name).read_bytes() == file.read_bytes()
