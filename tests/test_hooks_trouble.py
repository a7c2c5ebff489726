"""Receivers that hang, die or refuse, a failing disk, an end in the middle: uploads go on, and no event is lost."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from jackfield.handlers.upload.hooks.webhooks import read_secret, signature
from tests.support import faults
from tests.support.outsider import STAGING, Outsider, content, digest, eventually, pour
from tests.support.receivers import Notebook, endpoint, events_left, told_all, unused_port
from tests.support.service import Service, jackfield, running_service

pytestmark = pytest.mark.slow


@asynccontextmanager
async def serving(folder: Path, hook: dict[str, Any], **server: object) -> AsyncIterator[tuple[Service, Outsider]]:
    """A service with such an `on_stored`, and a client of it."""
    (folder / "service").mkdir()
    options = {"on_stored": hook}
    with running_service(folder / "service", pingpong=None, upload=options, server=server) as service:
        async with Outsider(service) as outsider:
            yield service, outsider


def events(service: Service, *words: str) -> list[dict[str, Any]]:
    """What `jackfield events` says."""
    done = jackfield("events", "--json", *words, "--config", service.folder / "config.yaml", folder=service.folder)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


async def test_a_dead_receiver_costs_uploads_nothing(tmp_path: Path) -> None:
    """Files are stored while nobody listens, few attempts are made, memory does not grow with what waits; and all are
    told as soon as somebody listens."""
    port = unused_port()
    async with serving(tmp_path, {"url": f"http://127.0.0.1:{port}/hook"}) as (service, outsider):
        names = await pour(outsider, 400)
        service.wait_for("event.not_delivered", 30)
        assert {event["name"] for event in await asyncio.to_thread(events, service)} == set(names)
        metrics = (await outsider.get("/metrics")).body.decode()
        assert 'jackfield_events_waiting{handler="upload"} 400.0' in metrics
        assert len([event for event in service.events if event["event"] == "event.not_delivered"]) < 40
        async with endpoint(port=port) as found:
            await told_all(service)
            assert {event["data"]["name"] for event in found.told} == set(names)
        metrics = (await outsider.get("/metrics")).body.decode()
        assert 'jackfield_events_waiting{handler="upload"} 0.0' in metrics
        assert 'jackfield_events_delivered_total{handler="upload"} 400.0' in metrics


async def test_a_receiver_that_never_answers_holds_up_nobody(tmp_path: Path) -> None:
    """It accepts, and says nothing: uploads go on; told to end the service does, and tells again after that."""

    async def never(_: dict[str, Any]) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with endpoint(never) as found:
        hook = {"url": found.url, "timeout": "60s"}
        async with serving(tmp_path, hook, shutdown_timeout="1s") as (service, outsider):
            names = await pour(outsider, 20)
            await found.has(4)
            assert len(found.told) == 4
            assert service.stop() == 0
            assert len(events_left(service)) >= 1
            found.answer = endpoint_takes
            service.start()
            await told_all(service)
            assert {event["data"]["name"] for event in found.told} == set(names)


async def endpoint_takes(_: dict[str, Any]) -> web.StreamResponse:
    """It takes what comes."""
    return web.Response(status=204)


async def test_what_is_being_told_may_end_when_the_service_does(tmp_path: Path) -> None:
    """SIGTERM in the middle of a telling: it has the shutdown's time, and is not told again."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(_: dict[str, Any]) -> web.StreamResponse:
        begun.set()
        await go_on.wait()
        return web.Response(status=204)

    async with endpoint(slowly) as found:
        async with serving(tmp_path, {"url": found.url}, shutdown_timeout="20s") as (service, outsider):
            await outsider.send_whole(content(10))
            await begun.wait()
            service.signal(signal.SIGTERM)
            await asyncio.to_thread(service.wait_for, "draining")
            go_on.set()
            assert await asyncio.to_thread(service.wait) == 0
            assert events_left(service) == []
        assert len(found.told) == 1


async def test_what_is_given_up_is_kept_and_can_be_told_again(tmp_path: Path) -> None:
    """After `give_up` the event is a dead letter with its reason, over a restart too, and is told again when an
    operator wants it, beside the running service."""

    async def fails(_: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({"detail": "The scanner is out."}, status=500)

    async with endpoint(fails) as found:
        hook = {"url": found.url, "give_up": "1s"}
        async with serving(tmp_path, hook) as (service, outsider):
            await outsider.send_whole(content(10), "a.bin")
            given_up = await asyncio.to_thread(service.wait_for, "event.given_up", 60)
            assert given_up["attempts"] == len(found.told)
            service.kill()
            service.start()
            (dead,) = await asyncio.to_thread(events, service, "--failed")
            assert (dead["name"], dead["problem"]) == ("a.bin", "answered 500: The scanner is out.")
            assert await asyncio.to_thread(events, service) == []
            found.answer = endpoint_takes
            done = jackfield("events", "--retry", "f" * 32, folder=service.folder)
            assert (done.returncode, done.stderr) == (1, f"jackfield events: no event {'f' * 32} was given up\n")
            await asyncio.to_thread(events, service, "--retry", dead["id"])
            await told_all(service)
            assert found.told[-1]["id"] == dead["id"]
            assert await asyncio.to_thread(events, service, "--failed") == []


@pytest.mark.parametrize("kind", ["command", "url"])
async def test_never_again_is_never_again(tmp_path: Path, kind: str) -> None:
    """410, and exit 100, make a dead letter of the event at the first attempt; of a group too."""

    async def gone(_: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=410)

    async with endpoint(gone) as found:
        command = ["sh", "-c", "echo I am gone; exit 100"]
        hook: dict[str, Any] = {"url": found.url} if kind == "url" else {"command": command}
        async with serving(tmp_path, hook) as (service, outsider):
            names = await pour(outsider, 12)

            async def all_dead() -> bool:
                return len(events_left(service)) == 12

            await eventually(all_dead, 60)
            dead = await asyncio.to_thread(events, service, "--failed")
            assert {event["name"] for event in dead} == set(names)
            problem = "answered 410" if kind == "url" else "exit status 100: I am gone"
            assert {event["problem"] for event in dead} == {problem}
            metrics = (await outsider.get("/metrics")).body.decode()
            assert 'jackfield_events_failed_total{handler="upload"} 12.0' in metrics


async def test_a_command_and_all_it_began_are_ended(tmp_path: Path) -> None:
    """One that takes too long is ended with what it has begun; the next attempt is made."""
    script = f"sleep 300 & echo $! >> {tmp_path}/began; sleep 300"
    async with serving(tmp_path, {"command": ["sh", "-c", script], "timeout": "300ms"}) as (service, outsider):
        await outsider.send_whole(content(10))
        service.wait_for("event.not_delivered", 30, attempts=2)
        began = [int(line) for line in (tmp_path / "began").read_text(encoding="ascii").split()]

    async def all_gone() -> bool:
        return not any(Path(f"/proc/{pid}/cmdline").exists() and b"sleep" in cmdline(pid) for pid in began)

    assert began
    await eventually(all_gone)


def cmdline(pid: int) -> bytes:
    """The words of a process; empty where it is gone, or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


async def test_events_wait_while_nobody_is_configured(tmp_path: Path) -> None:
    """The hook is taken out of the configuration: what waits is kept and said, and told when it is back."""
    book = Notebook(tmp_path / "told")
    hook = {"url": f"http://127.0.0.1:{unused_port()}/hook"}
    async with serving(tmp_path, hook) as (service, outsider):
        names = await pour(outsider, 5)
        service.wait_for("event.not_delivered", 30)
        assert service.stop() == 0
        section = service.settings["handlers"]["upload"]
        section.pop("on_stored")
        service.start()
        assert service.wait_for("events.unheard")["count"] == 5
        await outsider.send_whole(content(10), "unheard.bin")
        assert service.stop() == 0
        section["on_stored"] = {"command": book.command()}
        service.start()
        await told_all(service)
        assert sorted({event["data"]["name"] for event in book.told}) == sorted(names)


async def test_an_event_outlives_its_receipt(tmp_path: Path) -> None:
    """Where receipts are kept for a moment only, the event still waits, and is told."""
    port = unused_port()
    (tmp_path / "service").mkdir()
    options = {"on_stored": {"url": f"http://127.0.0.1:{port}/hook"}, "receipts_kept": "500ms", "expires": "1s"}
    with running_service(tmp_path / "service", pingpong=None, upload=options) as service:
        async with Outsider(service) as outsider:
            names = await pour(outsider, 6)

            async def receipts_gone() -> bool:
                return not list((service.directory() / STAGING).glob("*.receipt*"))

            await eventually(receipts_gone, 60)
            service.kill()
            service.start()
            async with endpoint(port=port) as found:
                await told_all(service)
                assert {event["subject"] for event in found.told} == set(names)


@faults.needs_strace
async def test_a_disk_that_takes_no_note_tells_once(tmp_path: Path) -> None:
    """Where it cannot be written down that an event was told, it is not told again but after a restart."""
    go_on = asyncio.Event()

    async def waits(_: dict[str, Any]) -> web.StreamResponse:
        await go_on.wait()
        return web.Response(status=204)

    async with endpoint(waits) as found:
        async with serving(tmp_path, {"url": found.url}) as (service, outsider):
            await outsider.send_whole(data := content(10))
            await found.has(1)
            with faults.fault(service, "unlink:error=EIO"):
                go_on.set()
                await asyncio.to_thread(service.wait_for, "event.not_written", 30)
            await told_all(service)
        assert len(found.told) == 1
        assert found.told[0]["data"]["sha256"] == digest(data)


@faults.needs_faketime
async def test_a_clock_that_jumps_gives_nothing_up(tmp_path: Path) -> None:
    """A year forward: the event is as old as before, and is told when somebody listens."""
    port, clock = unused_port(), faults.Clock(tmp_path)
    (tmp_path / "service").mkdir()
    options = {"on_stored": {"url": f"http://127.0.0.1:{port}/hook", "give_up": "1h"}}
    with running_service(tmp_path / "service", pingpong=None, upload=options, environment=clock.environment) as service:
        async with Outsider(service) as outsider:
            await outsider.send_whole(content(10), "a.bin")
            await asyncio.to_thread(service.wait_for, "event.not_delivered", 30)
            clock.jump("+365d")
            await asyncio.to_thread(service.wait_for, "event.not_delivered", 30, attempts=2)
            async with endpoint(port=port) as found:
                await told_all(service)
                assert found.told[0]["subject"] == "a.bin"


async def test_a_signature_is_that_of_standard_webhooks(tmp_path: Path) -> None:
    """The vector of the specification's own library; and what is posted is signed by it."""
    (tmp_path / "secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", encoding="ascii")
    secret = read_secret(tmp_path / "secret")
    said = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert said == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    async with endpoint() as found:
        async with serving(tmp_path, {"url": found.url, "secret_file": str(tmp_path / "secret")}) as (_, outsider):
            await outsider.send_whole(content(10))
            await found.has(1)
        headers, body = found.requests[0]
        assert headers["webhook-id"] == found.told[0]["id"]
        stamp = int(headers["webhook-timestamp"])
        assert abs(time.time() - stamp) < 300
        assert headers["webhook-signature"] == signature(secret, headers["webhook-id"], stamp, body)
        assert headers["Content-Type"] == "application/cloudevents+json"
