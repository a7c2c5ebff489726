"""The dispatcher: what is raised becomes a status or a close code; liveness; the end of the service."""

import asyncio
import contextlib
import time
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from structlog.testing import capture_logs
from structlog.typing import EventDict

from jackfield.app.errors import Close, Disconnected, Failure
from jackfield.app.handler import Connection, Handler
from jackfield.app.service import DISPATCHER
from jackfield.app.socket.frames import cut_reason
from jackfield.testing import JackfieldServer, RunningService
from tests.support import handlers
from tests.support.handlers import KINDS, raw, sections
from tests.support.outsider import eventually
from tests.support.rawsocket import Closed, Opcode, RawSocket, Refusal, frame

SECTIONS = sections("echo", "failing", "refusing", "busy", "stubborn")
LONGEST_REASON = 123


async def closing(service: RunningService, path: str) -> tuple[int, str]:
    """The code and the reason with which a socket on this path is closed before any message."""
    async with raw(service, path) as opened:
        closed = await opened.closed()
        return closed.code, closed.reason


# -- the table of failures


@pytest.mark.parametrize("word", KINDS)
async def test_a_failure_in_serve_is_its_close_code(jackfield_server: JackfieldServer, word: str) -> None:
    """Every kind of failure, raised in `serve`, closes with the kind's code and says its detail."""
    service = await jackfield_server(SECTIONS)
    with capture_logs() as log:
        assert await closing(service, f"/failing/{word}") == (KINDS[word].close, "It must be.")
        (event,) = await eventually(lambda: events(log, "connection.closed"))
    assert (event["code"], event["failure"]) == (KINDS[word].close, word)
    assert not [event for event in log if event["log_level"] not in ("info", "debug")]


@pytest.mark.parametrize("word", KINDS)
async def test_a_failure_in_admit_is_its_status(jackfield_server: JackfieldServer, word: str) -> None:
    """Every kind of failure, raised in `admit`, is the kind's status with a problem document that says its word."""
    service, kind = await jackfield_server(SECTIONS), KINDS[word]
    with pytest.raises(Refusal) as refusal:
        async with raw(service, f"/refusing/{word}"):
            pass
    assert (refusal.value.status, refusal.value.code) == (kind.status, word)
    asked_again = refusal.value.headers.get("retry-after")
    assert asked_again == (None if kind.retry_after is None else str(kind.retry_after))


def test_codes_say_the_same_as_statuses() -> None:
    """A close code of our own is 4000 + the status; the others are RFC 6455's and IANA's for faults and restarts."""
    exceptions = {word: kind.close for word, kind in KINDS.items() if kind.close != 4000 + kind.status}
    assert exceptions == {
        "too_many_connections": 1013, "overloaded": 1013, "slow_reader": 1013, "draining": 1012, "internal_error": 1011,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("raised", "closed"),
    [
        (Close(1000, "enough"), (1000, "enough")),
        (Close(3999), (3999, "")),
        (RuntimeError("a secret"), (1011, "The service failed; its log says why.")),
        (TimeoutError("a secret"), (1011, "The service failed; its log says why.")),
        (KeyError("a secret"), (1011, "The service failed; its log says why.")),
    ],
)
async def test_whatever_is_raised_closes(
    jackfield_server: JackfieldServer, raised: BaseException, closed: tuple[int, str]
) -> None:
    """`Close` says its code; what nobody foresaw is 1011, one error in the log, and nothing of it on the wire."""
    service = await jackfield_server(SECTIONS)
    failing = service.handlers["failing"]
    assert isinstance(failing, handlers.Failing)
    failing.error = raised
    with capture_logs() as log:
        assert await closing(service, "/failing") == closed
        await eventually(lambda: events(log, "connection.closed"))
    faults = [event["event"] for event in log if event["log_level"] in ("error", "critical", "warning")]
    assert faults == ([] if isinstance(raised, Close) else ["handler.failed"])


async def test_a_fault_in_the_last_words_does_not_hide_the_failure(
    jackfield_server: JackfieldServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket whose handler finds no last words is closed with its failure all the same, and the fault is logged."""
    service = await jackfield_server(SECTIONS)

    def speechless(failure: Failure) -> str:
        raise KeyError(failure.detail)

    monkeypatch.setattr(service.handlers["failing"], "last_words", speechless)
    with capture_logs() as log:
        assert await closing(service, "/failing/timed_out") == (4408, "It must be.")
        await eventually(lambda: events(log, "connection.closed"))
    assert [event["event"] for event in log if event["log_level"] == "error"] == ["handler.failed"]


@pytest.mark.parametrize("raised", [Close(1000), RuntimeError("a secret"), Disconnected(1006)])
async def test_what_is_no_failure_in_admit_is_500(jackfield_server: JackfieldServer, raised: Exception) -> None:
    """A refusal needs a Failure: all else that `admit` raises is a fault of ours, logged once."""
    service = await jackfield_server(SECTIONS)
    refusing = service.handlers["refusing"]
    assert isinstance(refusing, handlers.Refusing)
    refusing.error = raised
    with capture_logs() as log, pytest.raises(Refusal) as refusal:
        async with raw(service, "/refusing"):
            pass
    assert (refusal.value.status, refusal.value.code) == (500, "internal_error")
    assert b"secret" not in refusal.value.body
    assert [event["event"] for event in log if event["log_level"] == "error"] == ["request.failed"]


async def events(log: list[EventDict], name: str) -> list[EventDict]:
    """The events of this name so far."""
    return [event for event in log if event["event"] == name]


# -- the closing reason


@pytest.mark.parametrize("letter", ["a", "ä", "€", "𝄞"])
@pytest.mark.parametrize("shift", range(4))
async def test_a_long_reason_is_cut_between_characters(
    jackfield_server: JackfieldServer, letter: str, shift: int
) -> None:
    """A reason over 123 bytes is cut to fit, on the boundary of a character (fact 7)."""
    service = await jackfield_server(SECTIONS)
    failing = service.handlers["failing"]
    assert isinstance(failing, handlers.Failing)
    reason = "x" * shift + letter * 200
    failing.error = Close(4400, reason)
    code, said = await closing(service, "/failing")
    assert code == 4400
    assert reason.startswith(said)
    width = len(letter.encode())
    assert LONGEST_REASON - width < len(said.encode()) <= LONGEST_REASON


def test_a_reason_may_be_made_from_anything() -> None:
    """Half a surrogate pair, as a file name may have it, becomes a question mark and not an exception."""
    assert cut_reason("a\udc80b") == b"a?b"
    assert cut_reason("x" * LONGEST_REASON) == b"x" * LONGEST_REASON


# -- the handshake


@pytest.mark.parametrize(
    ("headers", "version", "status", "code"),
    [
        ({}, "HTTP/1.0", 400, "bad_request"),
        ({"Sec-WebSocket-Version": "12"}, "HTTP/1.1", 426, "upgrade_required"),
        ({"Sec-WebSocket-Version": None}, "HTTP/1.1", 426, "upgrade_required"),
        ({"Sec-WebSocket-Key": None}, "HTTP/1.1", 400, "bad_request"),
        ({"Sec-WebSocket-Key": "c2hvcnQ="}, "HTTP/1.1", 400, "bad_request"),
        ({"Sec-WebSocket-Key": "!" * 24}, "HTTP/1.1", 400, "bad_request"),
        ({"sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA=="}, "HTTP/1.1", 400, "bad_request"),  # a second one
        ({"Origin": "https://elsewhere.example"}, "HTTP/1.1", 403, "forbidden_origin"),
    ],
)
async def test_a_handshake_that_is_none_is_refused(
    jackfield_server: JackfieldServer, headers: dict[str, str | None], version: str, status: int, code: str
) -> None:
    """What aiohttp would let pass of RFC 6455, 4.2.1 (fact 9), is refused, and never reaches the handler."""
    service = await jackfield_server(SECTIONS)
    opened = await RawSocket.connect(service.port)
    with pytest.raises(Refusal) as refusal:
        await opened.upgrade("/refusing/no_space", headers, version)
    await opened.dispose()
    assert (refusal.value.status, refusal.value.code) == (status, code)


EARLY = {
    "message": frame(Opcode.BINARY, b"early"),
    "ping": frame(Opcode.PING, b"early"),
    "pong": frame(Opcode.PONG),
    "close": frame(Opcode.CLOSE, b"\x03\xe8"),
    "one byte of a frame": frame(Opcode.BINARY, b"early")[:1],
    "half a long frame": frame(Opcode.BINARY, bytes(1000))[:500],
    "messages": frame(Opcode.TEXT, b"early") * 10,
}


@pytest.mark.parametrize("path", ["/echo", "/bulk", "/deflating"])
@pytest.mark.parametrize("early", EARLY)
async def test_what_comes_with_the_handshake_is_an_error(
    jackfield_server: JackfieldServer, early: str, path: str
) -> None:
    """A client that does not wait for the answer (RFC 6455, 4.1) is closed 1002 whatever it sends, and TCP ends."""
    service = await jackfield_server(sections("echo", "bulk", "deflating"))
    opened = await RawSocket.connect(service.port)
    write = opened.write
    opened.write = lambda data: write(bytes(data) + EARLY[early])  # type: ignore[method-assign]
    await opened.upgrade(path, {"Sec-WebSocket-Extensions": "permessage-deflate"})
    assert (await opened.closed()).code == 1002
    opened.half_close()
    assert await opened.reader.read() == b""
    await opened.dispose()


async def test_broken_frames_that_come_with_the_handshake_end_it_too(jackfield_server: JackfieldServer) -> None:
    """What is no frame at all, or text that is none, has one Close with the code that RFC 6455 has for it."""
    service = await jackfield_server(SECTIONS)
    for early, code in ((b"\xff\xff\xff\xff", 1002), (frame(Opcode.TEXT, b"\xff"), 1007)):
        opened = await RawSocket.connect(service.port)
        write = opened.write
        opened.write = lambda data, early=early, write=write: write(bytes(data) + early)  # type: ignore[misc]
        await opened.upgrade("/echo")
        assert (await opened.closed()).code == code
        opened.half_close()
        assert await opened.reader.read() == b""
        await opened.dispose()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Length": "40"}, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n!!!!"),
        ({"Content-Length": "99"}, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"),
        ({"Content-Length": "11"}, frame(Opcode.TEXT, b"early")),
        ({"Transfer-Encoding": "chunked"}, b"5\r\nearly\r\n0\r\n\r\n"),
    ],
    ids=["whole", "half", "frames", "chunked"],
)
async def test_an_upgrade_with_a_body_is_refused(
    jackfield_server: JackfieldServer, headers: dict[str, str], body: bytes
) -> None:
    """400, and the link ends: the body is read neither as frames nor as another request."""
    service = await jackfield_server(SECTIONS)
    opened = await RawSocket.connect(service.port)
    write = opened.write
    opened.write = lambda data: write(bytes(data) + body)  # type: ignore[method-assign]
    with pytest.raises(Refusal) as refusal:
        await opened.upgrade("/echo", headers)
    assert (refusal.value.status, refusal.value.code) == (400, "bad_request")
    opened.half_close()
    assert await opened.reader.read() == b""
    await opened.dispose()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_an_upgrade_is_a_get(jackfield_server: JackfieldServer, method: str) -> None:
    """Another method with `Upgrade` is 405 where sockets are, with what is allowed; elsewhere it is 404 as ever."""
    service = await jackfield_server(sections("echo", "full"))
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    for path, allowed in (("/echo", {"GET", "HEAD"}), ("/full", {"GET", "HEAD", "POST"}), ("/full/x", {"GET", "HEAD"})):
        async with service.session.request(method, service.url + path, headers=upgrade) as answer:
            assert (answer.status, (await answer.json())["code"]) == (405, "method_not_allowed")
            assert set(answer.headers["Allow"].replace(" ", "").split(",")) == allowed
    async with service.session.request(method, f"{service.url}/nowhere", headers=upgrade) as answer:
        assert answer.status == 404


# -- nothing of HTTP after the upgrade


@pytest.mark.parametrize("fault", [RuntimeError("a bug"), BrokenPipeError("a pipe"), Failure(KINDS["timed_out"], "x")])
@pytest.mark.parametrize("where", ["Messages", "Connection", "Session", "finish"])
async def test_after_the_upgrade_nothing_is_answered_as_http(
    jackfield_server: JackfieldServer, monkeypatch: pytest.MonkeyPatch, where: str, fault: Exception
) -> None:
    """Whatever fails between the 101 and the end cuts the link, and is one error in the log."""

    def broken(*_: object, **__: object) -> None:
        raise fault

    service = await jackfield_server(SECTIONS)
    target = "socket.closing.finish" if where == "finish" else f"dispatcher.{where}"
    monkeypatch.setattr(f"jackfield.app.{target}", broken)
    with capture_logs() as log:
        opened = await RawSocket.connect(service.port)
        await opened.upgrade("/echo")
        await opened.close()
        rest = b""
        with contextlib.suppress(ConnectionError):
            rest = await opened.reader.read()
        assert rest == b""
        await opened.dispose()
        await eventually(lambda: errors_of(log))
    assert len(await errors_of(log)) == 1


async def errors_of(log: list[EventDict]) -> list[EventDict]:
    """What was logged as an error so far."""
    return [event for event in log if event["log_level"] == "error"]


async def test_sockets_are_counted_from_their_admission(jackfield_server: JackfieldServer) -> None:
    """At `max_connections` the next one is refused 503, also while the others are being admitted; HTTP is answered."""
    service = await jackfield_server(SECTIONS, max_connections=5)
    opening = [RawSocket.connect(service.port) for _ in range(12)]
    opened = await asyncio.gather(*opening)
    answers = await asyncio.gather(*(each.upgrade("/echo") for each in opened), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Refusal)]
    assert len(refused) == 7
    assert {(answer.status, answer.code) for answer in refused} == {(503, "too_many_connections")}
    async with service.session.get(f"{service.url}/healthz") as answer:
        assert answer.status == 200
    for each in opened:
        await each.dispose()


# -- the end of the service


async def test_the_end_of_the_service_is_told_to_every_socket(jackfield_server: JackfieldServer) -> None:
    """Draining interrupts who waits for a peer, with 1012; new sockets are refused `draining`."""
    service = await jackfield_server(SECTIONS)
    async with service.ws_connect("/echo") as ws:
        draining = asyncio.create_task(service.app[DISPATCHER].drain(5))
        close = await ws.receive(5)
        assert (close.type, close.data) == (WSMsgType.CLOSE, 1012)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with service.ws_connect("/echo"):
                pass
        assert refused.value.status == 503
    await draining


async def test_a_handler_that_does_not_listen_is_cancelled_then_cut(jackfield_server: JackfieldServer) -> None:
    """Within the limit a handler that waits elsewhere is cancelled and its socket closed 1012; one that resists
    even that is cut."""
    service = await jackfield_server(SECTIONS)
    limit = 1.0
    async with raw(service, "/busy") as busy, raw(service, "/stubborn") as stubborn:
        begun = time.monotonic()
        draining = asyncio.create_task(service.app[DISPATCHER].drain(limit))
        assert await busy.closed() == Closed(1012, "The service restarts; come back.")
        await busy.close(1012)
        await stubborn.ended()
        await draining
        assert time.monotonic() - begun < limit + 10


class Gate(Handler):
    """Admits once its `gate` is open."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.gate, self.asked = asyncio.Event(), asyncio.Event()

    async def admit(self, request: web.Request) -> None:
        """Wait for it."""
        self.asked.set()
        await self.gate.wait()

    async def serve(self, connection: Connection) -> None:
        """Nobody comes here."""
        raise AssertionError("was admitted")


@pytest.mark.parametrize("opens", [True, False])
async def test_who_is_being_admitted_is_told_of_the_end(jackfield_server: JackfieldServer, *, opens: bool) -> None:
    """The drain waits for those whom the handler still looks at, and answers them 503, though it must cancel it."""
    service = await jackfield_server({"gate": {"use": f"{__name__}:Gate", "path": "/gate"}})
    gate = service.handlers["gate"]
    assert isinstance(gate, Gate)
    opened = await RawSocket.connect(service.port)
    opening = asyncio.create_task(opened.upgrade("/gate"))
    await gate.asked.wait()
    draining = asyncio.create_task(service.app[DISPATCHER].drain(60 if opens else 1))
    await asyncio.sleep(0)
    async with service.session.get(f"{service.url}/readyz") as answer:
        assert answer.status == 503
    if opens:
        assert not draining.done()
        gate.gate.set()
    with pytest.raises(Refusal) as refusal:
        await opening
    assert (refusal.value.status, refusal.value.code) == (503, "draining")
    await draining
    await opened.dispose()


async def test_no_exception_is_raised_twice(jackfield_server: JackfieldServer) -> None:
    """Each socket that the end of the service interrupts has an exception of its own: no traceback grows."""
    service = await jackfield_server(sections("busy"))
    busy = service.handlers["busy"]
    assert isinstance(busy, handlers.Busy)
    busy.gate.set()
    opened = [await RawSocket.connect(service.port) for _ in range(5)]
    for each in opened:
        await each.upgrade("/busy")
    draining = asyncio.create_task(service.app[DISPATCHER].drain(5))
    for each in opened:
        assert (await each.closed()).code == 1012
        await each.dispose()
    await draining
    assert len({id(end) for end in busy.ends}) == 5
