"""HTTP as nobody should write it: methods, targets, headers and bodies of every kind, with an upgrade and without."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fuzz import Fuzzing, fuzzing
from tests.support.outsider import DEADLINE
from tests.support.rawsocket import Opcode, RawSocket, frame

METHODS = st.sampled_from([
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW", "get", "G\xc9T", "",
    "A" * 300,
])  # fmt: skip
PATHS = [
    "/", "/index", "/healthz", "/readyz", "/metrics", "/upload", "/upload/", "/upload/x", "/upload/" + "x" * 32,
    "/upload/" + "x" * 6000, "/upload/a/b/c", "/upload/%ff%fe", "/upload/%", "/upload/%zz", "/upload/%00",
    "/upload/\xff", "/upload/" + "%2e%2e/" * 9, "/upload?token=" + "x" * 32, "/upload#x", "//upload",
    "/./upload/../upload", "/assets/../cli.py", "/assets/style.css", "/pingpong", "/echo", "/endless", "*", "",
    "upload", "http://other.example/upload", "/\\", "/%0d%0aX: y",
    "http://[::1", "http://a:99999/upload", "/upload/" + "\u00e9" * 20,
]  # fmt: skip
HEADERS = st.sampled_from([
    "Origin: https://evil.example", "Origin: null", "Origin: ", "Origin: http://[", "Origin: http://127.0.0.1:\xb2",
    "Host: other.example", "Host: ", "Host: a b", "Host: [::1", "Host: 127.0.0.1:99999", "Accept: text/html",
    "Accept: */*;q=x, text/html;q=2", "Accept: " + "a/b, " * 900, "Accept: \xff", "Content-Type: application/json",
    "Content-Type: application/json; charset=none", "Content-Type: text/plain", "Content-Type: /", "Content-Type: \xe9",
    "Content-Type: multipart/form-data", "Expect: 100-continue", "Expect: more", "Content-Encoding: gzip",
    "Content-Encoding: br", "Cookie: a=b; c", "Authorization: Basic !!!!", "Range: bytes=0-1", "If-None-Match: *",
    "If-Modified-Since: never", "X-HTTP-Method-Override: DELETE", "Access-Control-Request-Method: POST",
    "Access-Control-Request-Method: \xff", "Sec-WebSocket-Protocol: upload.v1", "Sec-WebSocket-Protocol: \xff, ,",
    "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99", "Sec-WebSocket-Extensions: ;;=",
    "X-Long: " + "x" * 9000, "No-Colon", ": no-name", "A b: c", " folded: x", "A:\tb", "Connection: close",
    "Transfer-Encoding: gzip", "Keep-Alive: x",
])  # fmt: skip
UPGRADE = [
    "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
]  # fmt: skip
SPOILED = st.sampled_from([
    "Upgrade: h2c", "Upgrade: websocket, h2c", "Connection: keep-alive", "Connection: close, upgrade",
    "Sec-WebSocket-Version: 12", "Sec-WebSocket-Version: x", "Sec-WebSocket-Key: short", "Sec-WebSocket-Key: \xff",
    "Sec-WebSocket-Key: " + "A" * 5000,
])  # fmt: skip
BODIES = st.one_of(
    st.just(b""),
    st.sampled_from(
        [b'{"name":"a"}', b'{"name":"../a"}', b"plain.bin", b"\xff\xfe", b"\x1f\x8b" + bytes(20), b"x" * 70_000]
    ),
    st.binary(max_size=200),
)
VERSIONS = st.sampled_from(
    ["HTTP/1.1"] * 8 + ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.10", "HTTPS/1.1", "", "HTTP/x"]
)


@dataclass(frozen=True)
class Request:
    """One request as it goes out; `whole` says that its body has the length that its head announces, if any."""

    head: list[str]
    body: bytes
    whole: bool

    def __bytes__(self) -> bytes:
        return "\r\n".join([*self.head, "", ""]).encode("latin-1", "replace") + self.body


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """A request: near to one that is right, with some of it spoiled."""
    path = draw(st.sampled_from(PATHS) | st.sampled_from(["/upload", "/echo", "/upload/" + "x" * 32]))
    headers = ["Host: 127.0.0.1"] * draw(st.sampled_from([1, 1, 1, 1, 0, 2]))
    upgrade = draw(st.booleans())
    if upgrade:
        headers += UPGRADE
        if draw(st.booleans()):
            headers[-draw(st.integers(1, 4))] = draw(SPOILED)
    headers += draw(st.lists(HEADERS, max_size=4))
    body, framing, whole = draw(_bodies())
    method = "GET" if upgrade and draw(st.booleans()) else draw(METHODS)
    return Request([f"{method} {path} {draw(VERSIONS)}", *draw(st.permutations(headers)), *framing], body, whole)


@st.composite
def _bodies(draw: st.DrawFn) -> tuple[bytes, list[str], bool]:
    """A body, the headers that say how long it is, and whether that is true."""
    body = draw(BODIES)
    chunked = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n" if body else b"0\r\n\r\n"
    return draw(
        st.sampled_from([
            (body, [f"Content-Length: {len(body)}"], True),
            (body, [f"Content-Length: {len(body)}"], True),
            (b"", [], True),
            (body, [], True),
            (chunked, ["Transfer-Encoding: chunked"], True),
            (chunked, ["Transfer-Encoding: chunked", f"Content-Length: {len(body)}"], True),
            (chunked, ["Transfer-Encoding: chunked, chunked"], True),
            (b"zz\r\n" + body, ["Transfer-Encoding: chunked"], False),
            (b"ffffffffffffffffff\r\n" + body, ["Transfer-Encoding: chunked"], False),
            (body, [f"Content-Length: {len(body) + 5}"], False),
            (body, ["Content-Length: -1"], True),
            (body, ["Content-Length: 1e3"], True),
            (body, [f"Content-Length: {10**30}"], False),
            (body, [f"Content-Length: {len(body)}", f"Content-Length: {len(body) + 1}"], True),
        ])
    )  # fmt: skip


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzing]:
    """A service for this module."""
    with fuzzing(tmp_path_factory.mktemp("fuzz")) as running:
        yield running


async def _answer(fuzzed: Fuzzing, request: Request) -> None:
    """A status that is no fault of the service comes; behind a handshake the socket ends with a Close frame."""
    opened = await RawSocket.connect(fuzzed.service.port)
    try:
        await _send(opened, request)
        status = await _status(opened)
        if status == 101:
            await _goodbye(opened, request)
        assert status is None or 200 <= status < 500 or status in (101, 505, 507), status
        assert status or not request.whole, "no answer to a whole request"
    finally:
        await opened.dispose()


async def _send(opened: RawSocket, request: Request) -> None:
    with contextlib.suppress(ConnectionError):
        await opened.send(bytes(request))
        if not request.whole:
            opened.half_close()


async def _status(opened: RawSocket) -> int | None:
    """The status of the final answer; None where the link was closed without one."""
    try:
        async with asyncio.timeout(DEADLINE):
            while True:
                head = await opened.reader.readuntil(b"\r\n\r\n")
                status = int(head.split()[1])
                if status >= 200 or status == 101:
                    return status
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def _goodbye(opened: RawSocket, request: Request) -> None:
    """Leave the socket that the request became, with a Close frame where our side is not shut yet."""
    if request.whole:
        with contextlib.suppress(ConnectionError):
            await opened.send(frame(Opcode.CLOSE))
    with contextlib.suppress(asyncio.IncompleteReadError):
        while (found := await opened.frame()).opcode != Opcode.CLOSE:
            pass
        assert int.from_bytes(found.payload[:2], "big") in {1000, 1002, 1007, 1009, 4400}


REQUESTS = given(asked=requests())


@settings(max_examples=300)
@REQUESTS
def test_every_request_is_answered(fuzzed: Fuzzing, asked: Request) -> None:
    """No request gets a 500 or silence, whatever is wrong in it."""
    fuzzed.play(_answer(fuzzed, asked))


@pytest.mark.torture
@pytest.mark.timeout(3600)
@settings(max_examples=20_000)
@REQUESTS
def test_every_request_is_answered_long(fuzzed: Fuzzing, asked: Request) -> None:
    """See above."""
    fuzzed.play(_answer(fuzzed, asked))
