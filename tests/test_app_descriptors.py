"""File descriptors: the limit is raised, fewer sockets are taken where it is low, and running out is told."""

import asyncio
import re
from pathlib import Path

import pytest

from tests.support.outsider import Outsider, eventually
from tests.support.rawsocket import RawSocket, Refusal
from tests.support.service import Service, pingpong, running_service

PATIENT = pingpong(interval="60s")


def limited(words: str) -> list[str]:
    """The words before a command that give it these limits."""
    return ["bash", "-c", f'ulimit {words}; exec "$@"', "bash"]


def limits(service: Service) -> tuple[int, int]:
    """The soft and the hard limit of the process."""
    text = Path(f"/proc/{service.pid}/limits").read_text(encoding="ascii")
    found = re.search(r"^Max open files +(\d+) +(\d+)", text, re.MULTILINE)
    assert found is not None
    return int(found[1]), int(found[2])


async def test_the_soft_limit_is_raised(tmp_path: Path) -> None:
    """A soft limit of 64 is no limit where the hard one is larger."""
    with running_service(tmp_path, prefix=limited("-Sn 64; ulimit -Hn 4096"), pingpong=PATIENT) as service:
        assert limits(service) == (4096, 4096)
        async with Outsider(service) as outsider:
            for _ in range(100):
                await outsider.connect("/pingpong")
        low = service.wait_for("descriptors.low")
        assert (low["limit"], low["max_connections"], low["wanted"]) == (4096, 3040, 10000)


async def test_with_few_descriptors_fewer_sockets_are_taken(tmp_path: Path) -> None:
    """With 64 of them the service says at its start how many sockets it takes; the others get 503, and plain HTTP and
    uploads go on."""
    with running_service(tmp_path, prefix=limited("-n 64"), pingpong=PATIENT) as service:
        room = service.wait_for("descriptors.low", level="warning")["max_connections"]
        async with Outsider(service) as outsider:
            for _ in range(room):
                await outsider.connect("/pingpong")
            for _ in range(60):
                with pytest.raises(Refusal) as refusal:
                    await outsider.connect("/pingpong")
                assert (refusal.value.status, refusal.value.code) == (503, "too_many_connections")
                assert (await outsider.get("/healthz")).status == 200
            await outsider.create()


async def test_running_out_is_told_once(tmp_path: Path) -> None:
    """Plain connections that take all descriptors are one line in the log; when they have gone all is answered."""
    with running_service(tmp_path, prefix=limited("-n 64"), upload=None) as service:  # its sweep would fail meanwhile
        opened = [await RawSocket.connect(service.port) for _ in range(100)]
        await asyncio.to_thread(service.wait_for, "descriptors.exhausted", level="error")
        for each in opened:
            await each.dispose()
        async with Outsider(service) as outsider:

            async def healthy() -> bool:
                try:
                    return (await outsider.get("/healthz")).status == 200
                except OSError:
                    return False

            await eventually(healthy)
        assert len(service.lines) < 10
        assert sum(event["event"] == "descriptors.exhausted" for event in service.events) == 1
