"""The contract: how `jackfield serve` starts not at all, drains, and ends."""

import asyncio
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.outsider import Outsider, content
from tests.support.rawsocket import Refusal
from tests.support.service import Service, configuration, jackfield, pingpong, running_service, upload

PATIENT = pingpong(interval="60s")


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[Service]:
    """A service that may take half a minute to drain."""
    with running_service(tmp_path, server={"shutdown_timeout": "30s"}, pingpong=PATIENT) as service:
        yield service


async def _held(outsider: Outsider) -> None:
    """Keep the service draining: a socket that will not answer its Close, and half a request."""
    assert await (await outsider.connect("/pingpong")).next() == "ping"
    half = await outsider.tcp()
    await half.send(
        b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nhalf"
    )
    await half.delivered()


async def test_while_it_drains_http_is_answered_and_sockets_are_not(tmp_path: Path) -> None:
    """Open sockets close 1012, new ones get 503 `draining`, `/readyz` is 503, plain HTTP goes on; then status 0."""
    with running_service(tmp_path, server={"shutdown_timeout": "4s"}, pingpong=PATIENT) as service:
        async with Outsider(service) as outsider:
            url = await outsider.create()
            talking, sending = await outsider.connect("/pingpong"), await outsider.open(url)
            assert await talking.next() == "ping"
            await _held(outsider)
            service.signal(signal.SIGTERM)
            assert (await talking.closed()).code == 1012
            assert (await sending.closed()).code == 1012
            for path in ("/pingpong", url):
                with pytest.raises(Refusal) as refusal:
                    await outsider.connect(path)
                assert (refusal.value.status, refusal.value.code) == (503, "draining")
            assert (await outsider.get("/readyz")).status == 503
            assert (await outsider.get("/healthz")).status == 200
            assert (await outsider.ask(url))["state"] == "open"
        assert await asyncio.to_thread(service.wait) == 0


async def test_what_has_arrived_is_durable_before_the_close(tmp_path: Path) -> None:
    """At SIGTERM all bytes are made durable and acknowledged, then 1012; after the start all are there."""
    data = content(3_000_001)
    with running_service(tmp_path) as service:
        async with Outsider(service) as outsider:
            url = await outsider.create()
            opened = await outsider.open(url)
            await opened.binary(data[:3_000_000])
            await opened.delivered()
            service.signal(signal.SIGTERM)
            assert (await opened.closed()).code == 1012
            assert opened.acks[-1] == {"type": "ack", "offset": 3_000_000, "durable": 3_000_000}
            await opened.close(1012)
            assert await asyncio.to_thread(service.wait) == 0
            service.start()
            again = await outsider.open(url)
            assert again.ready["offset"] == 3_000_000
            await again.binary(data[3_000_000:])
            await again.finish(data)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_every_socket_is_closed_and_the_status_is_0(tmp_path: Path, number: int) -> None:
    """SIGTERM and SIGINT alike say 1012 to a hundred sockets, and a client that answers holds nothing up."""
    with running_service(tmp_path, server={"shutdown_timeout": "30s"}, pingpong=PATIENT) as service:
        async with Outsider(service) as outsider:
            opened = [await outsider.connect("/pingpong") for _ in range(100)]
            assert {await one.next() for one in opened} == {"ping"}
            service.signal(number)
            codes = set()
            for one in opened:
                codes.add((await one.closed()).code)
                await one.close(1012)
            assert codes == {1012}
            assert await asyncio.to_thread(service.wait, 10) == 0


async def test_one_that_does_not_answer_holds_it_up_no_longer_than_the_time_out(tmp_path: Path) -> None:
    """Silent sockets and half a request are left behind once `shutdown_timeout` is over, with status 0."""
    with running_service(tmp_path, server={"shutdown_timeout": "1s"}, pingpong=PATIENT) as service:
        async with Outsider(service) as outsider:
            await _held(outsider)
            service.signal(signal.SIGTERM)
            assert await asyncio.to_thread(service.wait, 6) == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_second_signal_ends_it_at_once(stubborn: Service, number: int, status: int) -> None:
    """Who does not want to wait says it twice."""
    async with Outsider(stubborn) as outsider:
        watching = await outsider.connect("/pingpong")
        assert await watching.next() == "ping"
        await _held(outsider)
        stubborn.signal(number)
        assert (await watching.closed()).code == 1012
        started = time.monotonic()
        stubborn.signal(number)
        assert await asyncio.to_thread(stubborn.wait) in (status, -number)
        assert time.monotonic() - started < 10


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    """The address is named, the status is not 0, and nothing was ever listening."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = _fails(tmp_path, configuration(server={"port": port}))
    assert str(port) in said
    assert said.endswith("Address already in use (server.host, server.port or JACKFIELD_SERVER__PORT)\n")


@pytest.mark.parametrize("directory", ["file/below", "file", "/proc/nowhere"])
def test_a_directory_that_cannot_be_written_is_one_clear_line(tmp_path: Path, directory: str) -> None:
    """A folder that is a file, stands below one, or cannot be made is named before anything listens."""
    (tmp_path / "file").write_text("a file, not a folder", encoding="utf-8")
    said = _fails(tmp_path, configuration(upload=upload(directory=directory)))
    assert directory in said


def _fails(folder: Path, settings: dict[str, object]) -> str:
    """The one line in which `serve` says why it does not start."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    done = jackfield("serve", "--config", file, folder=folder)
    assert done.returncode != 0
    assert "listening" not in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


async def test_a_service_without_sockets_ends_soon(tmp_path: Path) -> None:
    """Nothing to drain, nothing to wait for, even with an idle keep-alive connection."""
    with running_service(tmp_path, server={"shutdown_timeout": "30s"}) as service:
        async with Outsider(service) as outsider:
            assert (await outsider.get("/healthz")).status == 200
            service.signal(signal.SIGTERM)
            assert await asyncio.to_thread(service.wait, 10) == 0
