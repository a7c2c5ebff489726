"""Uploads by plain HTTP, where something fails: the service is killed or stopped, the disk is full, memory is short."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.curl import chunk, head
from tests.support.faults import inside
from tests.support.outsider import STAGING, Outsider, content, digest, eventually, fresh_name
from tests.support.rawhttp import answer
from tests.support.rawsocket import RawSocket
from tests.support.service import Service, running_service

pytestmark = pytest.mark.slow

MIB = 2**20


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """One that a test may kill."""
    with running_service(tmp_path, server={"shutdown_timeout": "5s"}) as running:
        yield running


def parts(service: Service) -> list[Path]:
    """Bytes of open uploads."""
    return [*(service.directory() / STAGING).glob("*.part")]


def manifests(service: Service) -> list[Path]:
    """What says that there are any."""
    return [*(service.directory() / STAGING).glob("*.upload")]


async def half(outsider: Outsider, method: str, size: int, **headers: str) -> RawSocket:
    """A request whose body stops in its middle, when the service has some of it on the disk."""
    opened = await outsider.tcp()
    data = content(size)
    await opened.send(head(method, "/upload/half.bin", 2 * size, **headers) + data)

    async def written() -> bool:
        return any(path.stat().st_size >= size // 2 for path in parts(outsider.service))

    await eventually(written)
    return opened


async def test_killed_in_the_middle_it_leaves_nothing(service: Service) -> None:
    """Neither a file nor bytes, though some of them were durable; the next one is stored."""
    async with Outsider(service) as outsider:
        await half(outsider, "PUT", 3 * MIB)

        async def known() -> bool:
            return bool(manifests(service))

        await eventually(known)
        await asyncio.to_thread(service.kill)
        await asyncio.to_thread(service.start)
        assert (outsider.published(), parts(service), manifests(service)) == ([], [], [])
        assert (await outsider.http("PUT", "/upload/half.bin", b"whole")).status == 201
        assert outsider.published() == ["half.bin"]


async def test_stopped_in_the_middle_it_says_so_and_leaves_nothing(service: Service) -> None:
    """503 `draining`, and the status of the process is 0."""
    async with Outsider(service) as outsider:
        opened = await half(outsider, "PUT", 3 * MIB)
        service.signal(signal.SIGTERM)
        found = await answer(opened)
        assert (found.status, found.code, found.headers["retry-after"]) == (503, "draining", "5")
        assert await asyncio.to_thread(service.wait) == 0
        assert (outsider.published(), parts(service)) == ([], [])


async def test_a_full_disk(small_disk: Service) -> None:
    """With a length 507 before the body; without one as soon as it is full, and then there is room as before."""
    async with Outsider(small_disk) as outsider:
        waiting = await outsider.tcp()
        await waiting.send(head("PUT", "/upload/a", 13 * MIB, expect="100-continue"))
        assert (await answer(waiting)).code == "no_space"
        for _ in range(2):
            opened = await outsider.tcp()
            opened.write(head("PUT", f"/upload/{fresh_name()}", None) + chunk(content(14 * MIB)) + chunk(b""))
            found = await answer(opened)
            assert (found.status, found.code) == (507, "no_space")
        data = content(9 * MIB)
        opened = await outsider.tcp()
        opened.write(head("PUT", "/upload/fits", len(data)) + data)
        assert (await answer(opened)).body[:64].decode() == digest(data)
        assert (inside(small_disk, small_disk.directory()) / "fits").read_bytes() == data


# --- memory


async def put_many(service: Service, number: int, size: int) -> None:
    """So many at once, each with its length or in chunks."""
    data = content(size)

    async def put(outsider: Outsider, count: int) -> None:
        opened = await outsider.tcp()
        name = f"/upload/{fresh_name()}"
        if count % 4:
            sending = asyncio.create_task(opened.send(head("PUT", name, size) + data))
        else:
            sending = asyncio.create_task(opened.send(head("PUT", name, None) + chunk(data) + chunk(b"")))
        assert (await answer(opened, 60)).body[:64].decode() == digest(data)
        await sending

    async with Outsider(service) as outsider:
        await asyncio.gather(*(put(outsider, count) for count in range(number)))


async def test_memory_does_not_grow_with_a_body(service: Service) -> None:
    """One of 64 MiB takes 30 MiB at the most."""
    await put_many(service, 1, MIB)
    before = service.peak_memory()
    await put_many(service, 1, 64 * MIB)
    assert service.peak_memory() - before < 30 * MIB


@pytest.mark.torture
@pytest.mark.timeout(300)
async def test_memory_does_not_grow_with_a_gigabyte(service: Service) -> None:
    """Nor does one of a GiB, with a length or in chunks."""
    before, data = service.peak_memory(), content(MIB)
    for framing in (1024 * MIB, None):
        async with Outsider(service) as outsider:
            opened = await outsider.tcp()
            await opened.send(head("PUT", "/upload/large.bin", framing))
            for _ in range(1024):
                await opened.send(data if framing else chunk(data))
            if framing is None:
                await opened.send(chunk(b""))
            assert (await answer(opened, 60)).status == 201
        assert service.peak_memory() - before < 30 * MIB


async def test_many_bodies_share_one_budget(tmp_path: Path) -> None:
    """Sixty at once on a budget of 8 MiB: all are stored, and memory keeps to it."""
    with running_service(tmp_path, upload={"memory": "8MiB"}) as service:
        await put_many(service, 2, MIB)
        before = service.peak_memory()
        await put_many(service, 60, 1_500_000)
        assert service.peak_memory() - before < 60 * MIB
