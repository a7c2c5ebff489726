"""Who is asked for, by whom, how often, and below which path: what a request passes before any handler."""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from jackfield import Connection, Handler, origin
from jackfield import upload as send
from jackfield.testing import JackfieldServer, RunningService
from tests.support.service import pingpong, upload

SECTIONS = {"pingpong": pingpong(rounds=0), "upload": upload()}
HTML = {"Accept": "text/html"}


async def asked(
    service: RunningService, path: str, method: str = "GET", **options: Any
) -> tuple[int, str, aiohttp.ClientResponse]:
    """Status, code word and the rest of an answer."""
    async with service.session.request(method, service.url + path, **options) as answer:
        body = await answer.json(content_type=None) if "json" in answer.content_type else {}
        return answer.status, body.get("code", ""), answer


@contextlib.asynccontextmanager
async def opened(service: RunningService, **headers: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A socket on which `ping` was heard."""
    async with service.ws_connect("/pingpong", headers=headers) as socket:
        assert await socket.receive_str(timeout=10) == "ping"
        yield socket


# -- whom it is for


@pytest.mark.parametrize(
    ("server", "host", "status"),
    [
        ({}, "127.0.0.1:99", 200),
        ({}, "LOCALHOST", 200),
        ({}, "app.localhost:1", 200),
        ({}, "[::1]:80", 200),
        ({}, "127.9.9.9", 200),
        ({}, "evil.example", 421),
        ({}, "127.0.0.1.evil.example", 421),
        ({}, "", 421),
        ({"allowed_hosts": ["files.example"]}, "files.example:8080", 200),
        ({"allowed_hosts": ["files.example"]}, "Files.Example.", 200),
        ({"allowed_hosts": ["files.example"]}, "localhost", 200),
        ({"allowed_hosts": ["files.example"]}, "evil.example", 421),
        ({"allowed_hosts": ["files.example"], "host": "0.0.0.0"}, "localhost", 421),
        ({"allowed_hosts": ["files.example"], "host": "0.0.0.0"}, "files.example", 200),
        ({"host": "0.0.0.0"}, "whatever.example", 200),
    ],
)
async def test_a_name_that_is_not_ours_is_misdirected(
    jackfield_server: JackfieldServer, server: dict[str, Any], host: str, status: int
) -> None:
    """A page of another site may let its own name point here: then `Origin` and `Host` are the same, and both wrong."""
    service = await jackfield_server(SECTIONS, **server)
    headers = {"Host": host, "Origin": f"http://{host}"}
    found, word, _ = await asked(service, "/", headers=headers)
    assert (found, word) == ((200, "") if status == 200 else (status, "misdirected"))
    with pytest.raises(aiohttp.WSServerHandshakeError) if status != 200 else contextlib.nullcontext() as refused:
        async with service.ws_connect("/pingpong", headers=headers):
            pass
    assert status == 200 or (refused is not None and refused.value.status == 421)
    for probe in ("/healthz", "/readyz"):
        assert (await asked(service, probe, headers={"Host": host}))[0] == 200


# -- who it is from


async def test_the_address_behind_a_trusted_proxy_is_the_one_that_counts(jackfield_server: JackfieldServer) -> None:
    """In limits and in the log; whoever is not trusted says nothing of the kind."""
    limits = {"connections": 1}
    service = await jackfield_server(SECTIONS, limits=limits, trusted_proxies=["127.0.0.1"])
    async with opened(service, **{"X-Forwarded-For": "192.0.2.1"}):
        async with opened(service, **{"X-Forwarded-For": "192.0.2.2"}):
            pass
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with opened(service, **{"X-Forwarded-For": "203.0.113.9, 192.0.2.1"}):
                pass
    forged = await jackfield_server({"pingpong": pingpong(rounds=0)}, limits=limits)
    async with opened(forged):
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with opened(forged, **{"X-Forwarded-For": "192.0.2.2"}):
                pass


class Placed(Handler):
    """Says where it is."""

    async def serve(self, connection: Connection) -> None:
        """Nothing."""

    async def get(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text=origin(request) + self.path)


@pytest.mark.parametrize(
    ("headers", "place"),
    [
        ({}, "http://localhost:81/files/placed"),
        ({"X-Forwarded-Proto": "https"}, "https://localhost:81/files/placed"),
        ({"X-Forwarded-Proto": "https", "Host": "[::1]"}, "https://[::1]/files/placed"),
        ({"Host": ""}, "/files/placed"),
        ({"Host": 'localhost"/'}, "/files/placed"),
    ],
)
async def test_an_absolute_url_is_the_one_that_the_client_sees(
    jackfield_server: JackfieldServer, headers: dict[str, str], place: str
) -> None:
    """With the scheme that a trusted proxy says, the host that was asked for, and the base path; else a path alone."""
    placed = {"placed": {"use": f"{__name__}:Placed", "path": "/placed"}}
    service = await jackfield_server(placed, host="0.0.0.0", base_path="/files", trusted_proxies=["127.0.0.1"])
    async with service.session.get(f"{service.url}/placed", headers={"Host": "localhost:81", **headers}) as answer:
        assert await answer.text() == place


async def test_nobody_else_says_what_is_spoken(jackfield_server: JackfieldServer) -> None:
    """`X-Forwarded-Proto` of whoever is no trusted proxy is not believed."""
    service = await jackfield_server({"placed": {"use": f"{__name__}:Placed", "path": "/placed"}})
    async with service.session.get(f"{service.url}/placed", headers={"X-Forwarded-Proto": "https"}) as answer:
        assert await answer.text() == f"{service.url}/placed"


# -- how much


async def test_one_caller_has_so_many_sockets(jackfield_server: JackfieldServer) -> None:
    """One more is 429 with `Retry-After`; one that has ended makes room; plain HTTP is answered."""
    service = await jackfield_server(SECTIONS, limits={"connections": 2})
    async with opened(service), opened(service) as second:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await service.session.ws_connect(f"{service.url}/pingpong")
        assert refused.value.status == 429
        assert refused.value.headers is not None
        assert int(refused.value.headers["Retry-After"]) > 0
        assert (await asked(service, "/"))[0] == 200
        _, _, metrics = await asked(service, "/metrics")
        assert metrics.status == 200
        await second.close()
        async with opened(service):
            pass


async def test_one_caller_has_so_many_requests(jackfield_server: JackfieldServer) -> None:
    """After a burst of ten seconds' worth 429 `slow_down`; the probes, and other callers, are answered."""
    service = await jackfield_server(SECTIONS, limits={"requests": "12/m"}, trusted_proxies=["127.0.0.1"])
    with capture_logs():
        assert [(await asked(service, "/"))[0] for _ in range(2)] == [200, 200]
        status, word, answer = await asked(service, "/")
    assert (status, word) == (429, "slow_down")
    assert 1 <= int(answer.headers["Retry-After"]) <= 5
    assert (await asked(service, "/healthz"))[0] == 200
    assert (await asked(service, "/", headers={"X-Forwarded-For": "192.0.2.2"}))[0] == 200


async def test_a_flood_from_one_address_keeps_nobody_out(jackfield_server: JackfieldServer, tmp_path: Path) -> None:
    """A thousand connections, each of which asks for a socket: so many get one, and another address uploads beside."""
    service = await jackfield_server(SECTIONS, limits={"connections": 50, "requests": "100/s"})
    (tmp_path / "beside.bin").write_bytes(bytes(100_000))
    lines = [
        "GET /pingpong HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {'A' * 22}==", "", "",
    ]  # fmt: skip
    head = "\r\n".join(lines).encode()

    async def attempt() -> tuple[bytes, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(head)
        return (await reader.readline()).split()[1], writer

    held = [each for _ in range(10) for each in await asyncio.gather(*(attempt() for _ in range(100)))]
    assert Counter(status for status, _ in held) == {b"101": 50, b"429": 950}
    other = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    async with aiohttp.ClientSession(connector=other) as session:
        assert (await send(session, service.url, tmp_path / "beside.bin")).size == 100_000
    for _, writer in held:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_no_limit_is_no_limit(jackfield_server: JackfieldServer) -> None:
    """`null`."""
    service = await jackfield_server(SECTIONS, limits={"requests": None, "connections": None})
    async with opened(service):
        assert (await asked(service, "/"))[0] == 200


# -- where it is


async def test_everything_is_there_with_and_without_the_base_path(jackfield_server: JackfieldServer) -> None:
    """A proxy may keep it or take it away; every URL that is given has it."""
    service = await jackfield_server(SECTIONS, base_path="/files")
    for base in ("", "/files"):
        for path in ("/", "/index", "/healthz", "/readyz", "/metrics", "/upload", "/assets/upload/page.js"):
            assert (await asked(service, base + path, headers=HTML))[0] == 200, base + path
        _, _, answer = await asked(service, f"{base}/upload", "POST", json={"name": f"a{len(base)}"})
        assert answer.headers["Location"].startswith("/files/upload/")
        token = answer.headers["Location"].rpartition("/")[2]
        async with service.ws_connect(f"{base}/upload/{token}") as socket:
            assert (await socket.receive_json(timeout=10))["type"] == "ready"
        assert (await asked(service, f"{base}/upload/{token}", "DELETE"))[0] == 204


async def test_pages_name_places_below_the_base_path(jackfield_server: JackfieldServer) -> None:
    """No link and no file of a page is above it; JSON of the index says the same."""
    service = await jackfield_server(SECTIONS, base_path="/files")
    for path in ("/", "/upload", "/pingpong"):
        async with service.session.get(service.url + path, headers=HTML) as answer:
            page = await answer.text()

        links = re.findall(r'(?:href|src|data-path)="([^"]*)"', page)
        assert links
        assert not [link for link in links if not link.startswith("/files/")], path
    async with service.session.get(service.url) as answer:
        found = [each["path"] for each in (await answer.json())["handlers"]]
    assert found == ["/files/pingpong", "/files/upload"]


async def test_pages_allow_the_sockets_of_their_host_alone(jackfield_server: JackfieldServer) -> None:
    """The content security policy names this host, and no scheme as a whole; a header cannot widen it."""
    service = await jackfield_server(SECTIONS, host="0.0.0.0")
    _, _, answer = await asked(service, "/upload", headers={**HTML, "Host": "files.example:81"})
    policy = answer.headers["Content-Security-Policy"]
    assert "connect-src 'self' ws://files.example:81 wss://files.example:81;" in policy
    _, _, answer = await asked(service, "/upload", headers={**HTML, "Host": "a;script-src *"})
    assert "script-src" not in answer.headers.get("Content-Security-Policy", "")
