"""Real tus clients, unchanged: each is cut in the middle by the death of the service, and goes on where it stands."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from tusclient.exceptions import TusCommunicationError, TusUploadFailed

from tests.support.clients import (
    NODE,
    PATIENCE,
    WHY_NOT,
    aiotus_create,
    aiotus_send,
    outcome,
    tus_js_client,
    tuspy,
)
from tests.support.outsider import eventually, fresh_name
from tests.support.relay import Relay, relay_to
from tests.support.service import Service, running_service

MIB = 2**20
SIZE = 6 * MIB + 12345


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that these tests kill."""
    with running_service(tmp_path_factory.mktemp("mortal"), upload={"sync_every": "256KiB"}) as service:
        yield service


@pytest.fixture
def relay(mortal: Service) -> Iterator[Relay]:
    """The way to it."""
    with relay_to(mortal.port) as found:
        yield found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Some MiB."""
    path = tmp_path / "data.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


@asynccontextmanager
async def killed_in_the_middle(service: Service, relay: Relay) -> AsyncIterator[None]:
    """What is sent in the block is cut when half of it has passed: the service is killed, and started again."""
    relay.hold_after(SIZE // 2)
    killing = asyncio.create_task(_kill_at(service, relay, SIZE // 2 - MIB))
    try:
        yield
        await killing
    finally:
        killing.cancel()


async def _kill_at(service: Service, relay: Relay, passed: int) -> None:
    await eventually(lambda: _has_passed(relay, passed), PATIENCE)
    await asyncio.to_thread(service.kill)
    relay.cut()
    await asyncio.to_thread(service.start)


async def _has_passed(relay: Relay, count: int) -> bool:
    return relay.passed >= count


def stored(service: Service, name: str) -> bytes:
    """What stands under this name."""
    return (service.directory() / name).read_bytes()


@pytest.mark.parametrize("chunk", [MIB, 2**62])
async def test_tuspy_goes_on(mortal: Service, relay: Relay, file: Path, chunk: int) -> None:
    """In chunks with checksums, and in one go without."""
    name, endpoint = fresh_name(), f"{relay.url}/upload"
    with file.open("rb") as stream:
        first = tuspy(endpoint, stream, name, chunk, upload_checksum=chunk == MIB)
        async with killed_in_the_middle(mortal, relay):
            with pytest.raises((TusUploadFailed, TusCommunicationError)):
                await asyncio.to_thread(first.upload)
        again = await asyncio.to_thread(tuspy, endpoint, stream, name, chunk, url=first.url)
        await asyncio.to_thread(again.upload)
    assert stored(mortal, name) == file.read_bytes()


async def test_aiotus_goes_on(mortal: Service, relay: Relay, session: aiohttp.ClientSession, file: Path) -> None:
    """In chunks."""
    name = fresh_name()
    url = await aiotus_create(session, f"{relay.url}/upload", file, name)
    async with killed_in_the_middle(mortal, relay):
        with pytest.raises(aiohttp.ClientError):
            await aiotus_send(session, url, file, MIB)
    await aiotus_send(session, url, file, MIB)
    assert stored(mortal, name) == file.read_bytes()


@pytest.mark.skipif(NODE is None, reason=WHY_NOT)
@pytest.mark.parametrize("chunk", ["", pytest.param(str(MIB), marks=pytest.mark.torture)])
async def test_tus_js_client_goes_on_by_itself(mortal: Service, relay: Relay, file: Path, chunk: str) -> None:
    """In Node it heals what happened without being asked, and ends with success."""
    name = fresh_name()
    sending = tus_js_client(f"{relay.url}/upload", file, name, chunk)
    async with sending as process, killed_in_the_middle(mortal, relay):
        assert (await outcome(process)).startswith(f"stored {relay.url}/upload/")
    assert stored(mortal, name) == file.read_bytes()
