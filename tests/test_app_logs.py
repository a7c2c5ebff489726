"""What the service writes down: one chain for all lines, one pair of lines a socket, and no secret in any."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.outsider import Outsider, content, digest, eventually
from tests.support.rawsocket import Opcode, RawSocket, Refusal, close_payload, fragments, frame
from tests.support.service import Service, running_service

WRITE_LINES = """
import logging, structlog
from jackfield.app import logs
logs.configure({level!r}, {form!r})
log = structlog.get_logger(handler="echo")
structlog.contextvars.bind_contextvars(connection="c1")
log.debug("fine"); log.info("ours", number=1); log.warning("ours")
logging.getLogger("aiohttp.server").error("theirs %s", "formatted", extra={{"more": 2}})
def fail(secret):
    raise RuntimeError("broken")
try:
    fail("s3cr3t")
except RuntimeError:
    log.exception("ours failed"); logging.getLogger("x").exception("theirs failed")
"""


def lines_of(level: str, form: str) -> list[str]:
    """What a program writes to standard error by both logging libraries."""
    script = WRITE_LINES.format(level=level, form=form)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True)
    assert not done.stdout
    return done.stderr.splitlines()


# -- one chain


def test_every_line_is_one_json_object() -> None:
    """Our events and those of libraries alike: event, level, timestamp, what was bound, and what was added."""
    events = [json.loads(line) for line in lines_of("info", "json")]
    said = [(event["level"], event["event"]) for event in events]
    assert said == [
        ("info", "ours"), ("warning", "ours"), ("error", "theirs formatted"),
        ("error", "ours failed"), ("error", "theirs failed"),
    ]  # fmt: skip
    assert all(event["timestamp"].endswith("Z") and event["connection"] == "c1" for event in events)
    assert (events[0]["number"], events[0]["handler"], events[2]["more"]) == (1, "echo", 2)


def test_a_traceback_is_part_of_its_line_and_has_no_values() -> None:
    """Of an exception the log says where it came from, never what was in the variables there."""
    lines = lines_of("info", "json")
    for line in lines[-2:]:
        (exception,) = json.loads(line)["exception"]
        assert (exception["exc_type"], exception["exc_value"]) == ("RuntimeError", "broken")
        assert [each["name"] for each in exception["frames"]] == ["<module>", "fail"]
    for form in ("json", "console"):
        assert "s3cr3t" not in "\n".join(lines_of("debug", form))


@pytest.mark.parametrize(("level", "count"), [("debug", 6), ("info", 5), ("warning", 4), ("error", 3), ("critical", 0)])
def test_the_level_is_kept_by_both_libraries(level: str, count: int) -> None:
    """What is below it is not written."""
    assert len(lines_of(level, "json")) == count


def test_on_a_console_lines_are_for_people() -> None:
    """Plain text, without colors where it is no terminal."""
    lines = lines_of("info", "console")
    assert not [line for line in lines if line.startswith("{")]
    assert "\x1b" not in "".join(lines)


# -- sockets


@pytest.fixture
def service(tmp_path: Path) -> Any:
    """A service of the test's own, to count its lines."""
    with running_service(tmp_path) as running:
        yield running


async def closed_events(service: Service, count: int) -> list[dict[str, Any]]:
    """The `connection.closed` lines, once there are so many."""

    async def found() -> list[dict[str, Any]]:
        events = [event for event in service.events if event["event"] == "connection.closed"]
        return events if len(events) >= count else []

    return await eventually(found)


async def test_a_socket_has_one_line_when_it_opens_and_one_with_totals_when_it_closes(service: Service) -> None:
    """Both name the connection; the second says code, reason, seconds, and the bytes of the messages each way."""
    opened = await RawSocket.connect(service.port)
    await opened.upgrade("/pingpong", {"Sec-WebSocket-Protocol": "unknown"})
    for part in fragments(Opcode.TEXT, [b"po", b"ng"]):
        await opened.send(part)
    for _ in range(2):
        assert await opened.next() == "ping"
    await opened.send(frame(Opcode.PING, b"not counted"))
    await opened.text("pang")
    assert (await opened.closed()).code == 1000
    await opened.close()
    await opened.dispose()
    (event,) = await closed_events(service, 1)
    service.stop()
    (first,) = [each for each in service.events if each["event"] == "connection.opened"]
    assert (first["connection"], first["handler"]) == (event["connection"], "pingpong")
    assert (first["remote"], first["subprotocol"]) == ("127.0.0.1", None)
    assert (event["code"], event["reason"]) == (1000, "Expected 'pong'")
    assert (event["received"], event["sent"]) == (len("pongpang"), len("pingping"))
    assert 0 <= event["seconds"] < 60
    assert not [each for each in service.events if each["level"] != "info"]


async def test_how_a_socket_ended_is_written_down(service: Service) -> None:
    """A lost link is 1006, a Close frame has its code, a failure its word."""
    ends = (RawSocket.drop, lambda each: each.write(frame(Opcode.CLOSE, close_payload(3333, b"bye"))))
    for end in ends:
        opened = await RawSocket.connect(service.port)
        await opened.upgrade("/pingpong")
        end(opened)
        await opened.ended()
        await opened.dispose()
    lost, left = await closed_events(service, 2)
    assert (lost["code"], left["code"], left["reason"]) == (1006, 3333, "bye")
    assert "failure" not in lost
    async with Outsider(service) as outsider:
        failing = await outsider.open(await outsider.create())
        await failing.text("nonsense")
        await failing.failed("bad_message", 4400)
    assert (await closed_events(service, 3))[2]["failure"] == "bad_message"


async def test_every_turn_of_an_uploads_life_is_one_line(service: Service) -> None:
    """created, left, resumed, failed, stored: in this order, with what matters, under one name that opens nothing."""
    data = content(5000)
    async with Outsider(service) as outsider:
        url = await outsider.create("a.bin", size=5000)
        first = await outsider.open(url)
        await first.binary(data[:2000])
        await first.durable(2000)
        await first.close(1001)
        await first.ended()
        second = await outsider.open(url)
        await second.end()
        await second.failed("incomplete", 4400)
        third = await outsider.open(url)
        await third.binary(data[2000:])
        receipt = await third.finish(data)
        service.wait_for("upload.stored")
    turns = [event for event in service.events if event["event"].startswith("upload.")]
    assert len({event["upload"] for event in turns}) == 1
    assert turns[0]["upload"] not in url
    said = [event["event"].removeprefix("upload.") for event in turns]
    assert said == ["created", "suspended", "resumed", "failed", "resumed", "stored"]
    created, left, resumed, failed, _, stored = turns
    assert (created["name"], created["size"]) == ("a.bin", 5000)
    assert (left["offset"], resumed["offset"], failed["failure"]) == (2000, 2000, "incomplete")
    assert (stored["name"], stored["size"], stored["sha256"]) == (receipt["name"], 5000, digest(data))
    assert resumed["connection"] == failed["connection"] != stored["connection"]


# -- HTTP


async def test_an_answer_is_one_line_without_secrets(service: Service) -> None:
    """Method, status and seconds of every answer; of the path what the routes know of it, or its first part."""
    async with Outsider(service) as outsider:
        url = await outsider.create()
        token = url.rpartition("/")[2]
        for method, path in (
            ("GET", url), ("HEAD", url), ("DELETE", url), ("GET", f"{url}?secret={token}"), ("GET", f"/elsewhere{url}"),
            ("PUT", "/upload/a.bin"), ("GET", f"/{token}"), ("GET", f"//{token}"), ("GET", f"/upload/{token}/more"),
        ):  # fmt: skip
            await outsider.http(method, path)
        with pytest.raises(Refusal):
            await outsider.connect(url)
    service.stop()
    answers = [(each["method"], each["path"], each["status"]) for each in service.events if each["event"] == "request"]
    known, hidden = "/upload/{token}", f"/{token[:20]}/…"
    assert answers == [
        ("POST", "/upload", 201), ("GET", known, 200), ("HEAD", known, 200), ("DELETE", known, 204),
        ("GET", known, 404), ("GET", "/elsewhere/…", 404), ("PUT", "/upload/{name}", 201),
        ("GET", hidden, 404), ("GET", hidden, 404), ("GET", "/upload/{name}", 404), ("GET", known, 404),
    ]  # fmt: skip
    assert token not in service.output()


MALFORMED = [
    b"NONSENSE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nNONSENSE\r\n\r\n", b"\x16\x03\x01\x02\x00",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: NONSENSE\r\n\r\n", b"GET /" + b"NONSENSE" * 2000,
]  # fmt: skip


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_what_is_no_http_is_information_that_repeats_nothing(tmp_path: Path, level: str) -> None:
    """A client's fault is told once, and answered 400 as any request: no warning, no traceback, none of its bytes."""
    with running_service(tmp_path, logging={"level": level}) as service:
        for number, nonsense in enumerate(MALFORMED, 1):
            opened = await RawSocket.connect(service.port)
            await opened.send(nonsense)
            assert b" 400 " in await opened.reader.readline()
            await opened.dispose()

            async def told(number: int = number) -> bool:
                return sum(event["event"] == "request" for event in service.events) == number

            await eventually(told)
        assert not [event for event in service.events if event["level"] not in ("info", "debug")]
        assert sum(event["event"] == "request.malformed" for event in service.events) <= len(MALFORMED)
        assert {event["status"] for event in service.events if event["event"] == "request"} == {400}
    assert "NONSENSE" not in service.output()


def test_a_client_that_leaves_is_no_fault() -> None:
    """Where aiohttp cannot answer a client that has gone, there is a line at level info, without a traceback."""
    script = """
import logging
from jackfield.app import logs
logs.configure("info", "json")
try:
    raise ConnectionResetError("Cannot write to closing transport")
except ConnectionResetError:
    logging.getLogger("aiohttp.server").exception("Error handling request from 127.0.0.1")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True)
    (event,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (event["event"], event["level"]) == ("request.lost", "info")
    assert "exception" not in event
