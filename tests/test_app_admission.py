"""TCP connections before they say anything: how many there may be, and for how long."""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from jackfield.app import descriptors
from jackfield.app.admission import ANYBODY, LEAST, Admission
from jackfield.app.proxies import TrustedProxies
from jackfield.testing import JackfieldServer, RunningService
from tests.support.service import pingpong, upload

HERE = ("192.0.2.1", 4711)
SECTIONS = {"pingpong": pingpong(rounds=0, interval="60s")}


def admission(limit: int | None, most: int) -> Admission:
    """With a trusted proxy."""
    refused = Counter("refused", "", ["reason"], registry=CollectorRegistry())
    return Admission(limit, most, TrustedProxies(["10.0.0.0/8", "unix"]), refused, 30)


@pytest.mark.parametrize(("limit", "most", "of_one"), [(1, 10**6, LEAST), (5000, 10**6, 5000), (None, 8, 6), (9, 8, 6)])
def test_one_address_has_so_many(limit: int | None, most: int, of_one: int) -> None:
    """Those of the setting, a thousand at least, and never all that there may be; an end makes room."""
    counted = admission(limit, most)
    taken = [counted.take(HERE) for _ in range(of_one + 1)]
    assert taken == ["192.0.2.1"] * of_one + [None]
    assert counted.take(("192.0.2.2", 1)) == "192.0.2.2"
    counted.give("192.0.2.1")
    assert counted.take(HERE) == "192.0.2.1"


def test_what_carries_a_socket_counts_among_all_alone() -> None:
    """Sockets have a limit of their own, for users."""
    counted = admission(None, 8)
    for _ in range(8):
        who = counted.take(HERE)
        assert who is not None
        counted.carries_socket(who)
    assert counted.take(HERE) is None
    counted.give(ANYBODY)
    assert counted.take(HERE) == "192.0.2.1"


@pytest.mark.parametrize("peer", [("10.1.2.3", 1), ("::ffff:10.1.2.3", 1, 0, 0), "", None])
def test_a_proxy_is_many(peer: object) -> None:
    """Whoever comes through one that is trusted, or by a Unix socket, has no address of its own here."""
    counted = admission(1, 8)
    assert [counted.take(peer) for _ in range(9)] == [ANYBODY] * 8 + [None]


def test_a_subscriber_is_one() -> None:
    """A /64 of IPv6."""
    counted = admission(None, 2)
    assert counted.take(("2001:db8::1", 1, 0, 0)) is not None
    assert counted.take(("2001:db8::2", 1, 0, 0)) is None
    assert counted.take(("2001:db8:0:1::1", 1, 0, 0)) is not None


@contextlib.asynccontextmanager
async def connected(
    service: RunningService, made: socket.socket | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A TCP connection, or the one that is made already."""
    where = {"host": "127.0.0.1", "port": service.port} if made is None else {"sock": made}
    reader, writer = await asyncio.open_connection(**where)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_sockets_leave_room_for_requests(
    jackfield_server: JackfieldServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many sockets as an address may have connections, and it is still answered; what is too many is cut."""
    monkeypatch.setattr(descriptors, "limit", lambda: 48)  # ten connections, seven of one address
    service = await jackfield_server(SECTIONS)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(7):
            await stack.enter_async_context(service.ws_connect("/pingpong"))
        async with service.session.get(service.url) as answer:
            assert answer.status == 200
        for _ in range(10):
            reader, _ = await stack.enter_async_context(connected(service))
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    async with service.session.get(f"{service.url}/metrics") as answer:
        assert 'jackfield_refused_connections_total{reason="too_many"}' in await answer.text()


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
async def test_a_request_has_to_come_soon(jackfield_server: JackfieldServer, said: bytes) -> None:
    """A connection that says nothing, or half a request, ends after `body_timeout`; after an answer one stays."""
    service = await jackfield_server(SECTIONS, body_timeout="0.3s")
    # What it asks is there before the service can look: the test may be held up for longer than the time limit.
    first = socket.create_connection(("127.0.0.1", service.port))
    first.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with connected(service, first) as (kept, asking):
        assert (await kept.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        async with connected(service) as (reader, writer):
            writer.write(said)
            assert await asyncio.wait_for(reader.read(), 30) == b""
        asking.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await kept.readuntil(b"}")).startswith(b"HTTP/1.1 200")


BIG = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 8000) for n in range(100))


@pytest.mark.parametrize("before", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=["first", "second"])
async def test_a_head_is_bounded_as_a_whole(jackfield_server: JackfieldServer, before: bytes) -> None:
    """One of 800 KB whose lines are all short enough is 431 before it is whole, in small pieces or large ones."""
    service = await jackfield_server(SECTIONS)
    for step in (1000, len(BIG)):
        async with connected(service) as (reader, writer):
            if before:
                writer.write(before)
                await reader.readuntil(b"}")
            with contextlib.suppress(ConnectionError):
                for place in range(0, len(BIG), step):
                    writer.write(BIG[place : place + step])
                    await writer.drain()
                    await asyncio.sleep(0)
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 431 ")
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "headers_too_large"
    async with service.session.get(f"{service.url}/metrics") as metrics:
        assert 'jackfield_refused_connections_total{reason="head"} 2.0' in await metrics.text()


@pytest.mark.parametrize(
    ("start", "status"),
    [(b"PUT /upload/a.bin HTTP/1.1\r\n", b"201"), (b"POST /upload HTTP/1.1\r\nContent-Type: text/plain\r\n", b"400")],
)
async def test_a_body_is_no_head(jackfield_server: JackfieldServer, start: bytes, status: bytes) -> None:
    """However long it is, and whatever follows it: each head counts for itself."""
    service = await jackfield_server({"upload": upload(min_free=0)})
    head = start + b"Host: localhost\r\nContent-Length: 300000\r\n\r\n"
    async with connected(service) as (reader, writer):
        for _ in range(3):
            writer.write(head + bytes(300_000))
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 " + status)
            found = re.search(rb"Content-Length: (\d+)", answer)
            assert found is not None
            await reader.readexactly(int(found[1]))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
        for _ in range(50):
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
