"""File descriptors: the limit is raised, fewer sockets are taken where it is low, and running out is told."""

import asyncio
import contextlib
import re
import resource
import socket
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from jackfield import upload as send
from tests.support.certificate import certificate
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
    """Where others have taken all descriptors that is one line in the log; with some again all is answered."""
    with running_service(tmp_path, prefix=limited("-n 64"), upload=None) as service:  # its sweep would fail meanwhile
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (1, 64))
        await asyncio.to_thread(service.wait_for, "descriptors.exhausted", level="error")
        opened = [await RawSocket.connect(service.port) for _ in range(10)]
        for each in opened:
            await each.dispose()
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (64, 64))
        async with Outsider(service) as outsider:

            async def healthy() -> bool:
                try:
                    return (await outsider.get("/healthz")).status == 200
                except OSError:
                    return False

            await eventually(healthy)
        assert len(service.lines) < 10
        assert sum(event["event"] == "descriptors.exhausted" for event in service.events) == 1


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
async def test_silent_connections_of_one_address_take_not_all(tmp_path: Path, *, secure: bool) -> None:
    """Of a flood of silent ones from one address some are cut at once, so that descriptors are left for another."""
    server: dict[str, Any] = {}
    trusting: ssl.SSLContext | bool = True
    if secure:
        certificate(tmp_path)
        server = {"tls": {"certificate": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}}
        trusting = await asyncio.to_thread(ssl.create_default_context, cafile=tmp_path / "cert.pem")
    limit = limited("-n 128")
    with running_service(tmp_path, prefix=limit, server=server) as service, contextlib.ExitStack() as flood:
        for _ in range(300):
            with contextlib.suppress(ConnectionError):  # one that is cut may never have seen itself connected
                flood.enter_context(socket.create_connection(("127.0.0.1", service.port)))
        other = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0), ssl=trusting)
        path = tmp_path / "beside.bin"
        path.write_bytes(bytes(100_000))
        async with aiohttp.ClientSession(connector=other) as session:
            assert (await send(session, service.url, path)).size == 100_000
        refused = service.wait_for("connection.refused", remote="127.0.0.1")
        assert (refused["level"], refused["failure"]) == ("warning", "too_many_connections")
        assert not any(event["event"] == "descriptors.exhausted" for event in service.events)
