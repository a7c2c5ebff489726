"""`/readyz` answers whatever a handler does, bodies have an end, and neither fills the log."""

import asyncio
import io
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from jackfield.app.handler import Connection, Handler
from jackfield.testing import JackfieldServer, RunningService
from tests.support.outsider import Outsider
from tests.support.rawsocket import RawSocket
from tests.support.service import running_service


class Asked(Handler):
    """Says whether it is ready once its `gate` is open; counts how often it was asked, and those who still wait."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.gate = asyncio.Event()
        self.asked = 0
        self.fault: Exception | None = None

    async def ready(self) -> bool:
        """As a disk that hangs."""
        self.asked += 1
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return True

    def routes(self) -> Iterable[web.RouteDef]:
        """Say back what was sent."""
        return [web.post("", self._post)]

    async def _post(self, request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def serve(self, connection: Connection) -> None:
        """Nobody comes."""


SECTIONS = {name: {"use": f"{__name__}:Asked", "path": f"/{name}"} for name in ("first", "second")}


def asked(service: RunningService, name: str) -> Asked:
    """The handler of this name."""
    found = service.handlers[name]
    assert isinstance(found, Asked)
    return found


async def readiness(service: RunningService) -> tuple[int, list[str]]:
    """What `/readyz` says, and that it says it in time."""
    begun = time.monotonic()
    async with service.session.get(f"{service.url}/readyz") as answer:
        found = answer.status, (await answer.json())["not_ready"]
    assert time.monotonic() - begun < 5  # one second, on a machine that is not busy
    return found


async def test_who_does_not_say_is_not_ready(jackfield_server: JackfieldServer) -> None:
    """One handler hangs: it is named, the other is not, and it is asked once however often `/readyz` is asked."""
    service = await jackfield_server(SECTIONS)
    hanging, other = asked(service, "first"), asked(service, "second")
    other.gate.set()
    for answer in await asyncio.gather(*(readiness(service) for _ in range(5))):
        assert answer == (503, ["first"])
    assert hanging.asked == 1
    hanging.gate.set()
    await asyncio.sleep(0)
    assert await readiness(service) == (200, [])


async def test_who_fails_to_say_is_not_ready(jackfield_server: JackfieldServer) -> None:
    """An exception in `ready` is one of the background: logged, counted, and 503 with the handler's name."""
    service = await jackfield_server(SECTIONS)
    for name in SECTIONS:
        asked(service, name).gate.set()
    asked(service, "second").fault = OSError("no disk")
    with capture_logs() as log:
        assert await readiness(service) == (503, ["second"])
    assert [(line["event"], line["task"]) for line in log if line["log_level"] == "error"] == [("task.failed", "ready")]


async def _until_answered(opened: RawSocket) -> int:
    """The status of the next answer."""
    return int((await opened.reader.readline()).split()[1])


@pytest.mark.parametrize("trickles", [False, True])
async def test_a_body_that_does_not_end_is_408(jackfield_server: JackfieldServer, *, trickles: bool) -> None:
    """Half a body that stalls, or comes byte by byte for ever, is answered when `body_timeout` is over."""
    service = await jackfield_server(SECTIONS, body_timeout="0.2s")
    opened = await RawSocket.connect(service.port)
    await opened.send(b"POST /first HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nhalf")
    answering = asyncio.create_task(_until_answered(opened))
    while not answering.done():
        if trickles:
            opened.write(b".")
        await asyncio.wait([answering], timeout=0.02)
    assert await answering == 408
    assert b"timed_out" in await opened.reader.readuntil(b"}")
    await opened.dispose()


async def test_a_body_in_time_is_the_handlers(jackfield_server: JackfieldServer) -> None:
    """One that comes in pieces and is whole in time is read as ever; too large a one is 413."""
    service = await jackfield_server(SECTIONS)

    async def pieces() -> Any:
        for _ in range(3):
            yield b"piece "

    async with service.session.post(f"{service.url}/first", data=pieces()) as answer:
        assert (answer.status, await answer.text()) == (200, "piece piece piece ")
    async with service.session.post(f"{service.url}/first", data=io.BytesIO(bytes(2**20 + 1))) as answer:
        assert (answer.status, (await answer.json())["code"]) == (413, "too_large")


async def test_probes_that_succeed_are_logged_at_debug_alone(tmp_path: Path) -> None:
    """Who asks every second does not fill the log; a probe that fails is told, with its word where it has one."""
    with running_service(tmp_path, logging={"level": "debug"}, server={"base_path": "/files"}) as service:
        async with Outsider(service) as outsider:
            for path in ("/healthz", "/files/healthz", "/files/readyz", "/files/metrics", "/"):
                assert (await outsider.get(path)).status == 200
            assert (await outsider.http("POST", "/healthz")).status == 405
    found = [
        (each["path"], each["level"], each.get("failure")) for each in service.events if each["event"] == "request"
    ]
    assert found == [
        ("/healthz", "debug", None), ("/files/healthz", "debug", None), ("/files/readyz", "debug", None),
        ("/files/metrics", "debug", None), ("/", "info", None),
        ("/healthz", "info", "method_not_allowed"),
    ]  # fmt: skip


async def test_a_hangup_ends_nothing(tmp_path: Path) -> None:
    """SIGHUP is ignored, and told; sockets live on."""
    with running_service(tmp_path) as service:
        async with Outsider(service) as outsider:
            opened = await outsider.connect("/pingpong")
            service.signal(signal.SIGHUP)
            await asyncio.to_thread(service.wait_for, "reload")
            assert await opened.next() == "ping"
            assert (await outsider.get("/healthz")).status == 200
