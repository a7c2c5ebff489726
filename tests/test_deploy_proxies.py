"""The proxies of deploy/ in front of the real service: TLS, uploads, sockets, origins, and no token in their logs."""

import asyncio
import hashlib
import shutil
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from jackfield import upload
from jackfield.app.auth import tokens
from jackfield.app.auth.tokens import Token
from tests.support.outsider import STAGING, content, eventually
from tests.support.proxies import PROXIES, Proxy, program, proxy
from tests.support.service import Service, jackfield, running_service

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


TOKEN = "the-secret-of-alice"


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service below a path, with tokens, that believes its proxies."""
    file = tmp_path_factory.mktemp("tokens") / "tokens.yaml"
    tokens.write(file, [Token(name="alice", sha256=tokens.hash_secret(TOKEN))])
    server = {"base_path": "/files", "trusted_proxies": ["127.0.0.1"], "auth": {"tokens": str(file)}}
    with running_service(tmp_path_factory.mktemp("below"), server=server) as running:
        yield running


@pytest.fixture(params=PROXIES, scope="module")
def name(request: pytest.FixtureRequest) -> str:
    """One of them that is installed."""
    if program(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


@pytest.fixture(scope="module")
def front(name: str, service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """It, in front of the shared service."""
    with proxy(name, service.port, tmp_path_factory.mktemp("proxy")) as running:
        yield running


def trusting(front: Proxy) -> aiohttp.TCPConnector:
    """Connections to the proxy, by its own certificate."""
    return aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(front.certificate)))


async def test_a_file_goes_through_whole_and_its_token_is_not_logged(front: Proxy, service: Service) -> None:
    """By hand over wss: the receipt is right, and neither the address nor anything else in the log has the token."""
    data = content(3 * 2**20 + 7)
    async with aiohttp.ClientSession(front.url, connector=trusting(front)) as session:
        async with session.post("/upload", json={"name": "proxied.bin", "size": len(data)}) as answer:
            made = await answer.json()
            assert answer.headers["Location"] == made["url"]
        async with session.ws_connect(made["url"], origin=front.url) as socket:
            assert (await socket.receive_json(timeout=10))["offset"] == 0
            await socket.send_bytes(data)
            await socket.send_json({"type": "end"})
            while (said := await socket.receive_json(timeout=10))["type"] != "stored":
                pass
        assert said["sha256"] == hashlib.sha256(data).hexdigest()
        async with session.get(made["url"]) as answer:
            assert (await answer.json())["state"] == "stored"
    assert "/upload" in front.log()
    assert made["token"] not in front.log()


async def test_a_body_is_passed_on_while_it_comes(front: Proxy, service: Service) -> None:
    """A PUT is not spooled: the service has its first bytes before the last are sent."""
    data, name = content(2 * 2**20), f"{front.certificate.parent.name}.bin"
    arrived = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield data[: 2**20]
        await arrived.wait()
        yield data[2**20 :]

    async def staged() -> bool:
        found = (service.directory() / STAGING).glob("*.part")
        return any(path.stat().st_size >= 2**19 for path in found)

    async with aiohttp.ClientSession(front.url, connector=trusting(front)) as session:
        headers = {"Content-Length": str(len(data))}
        putting = asyncio.create_task(session.put(f"/upload/{name}", data=body(), headers=headers))
        await eventually(staged)
        arrived.set()
        async with await putting as answer:
            assert (answer.status, (await answer.text())[:64]) == (201, hashlib.sha256(data).hexdigest())


async def test_the_client_and_the_pings_go_through(front: Proxy, tmp_path: Path) -> None:
    """`upload()`, `jackfield upload` and `jackfield ping` need nothing but the certificate."""
    data = content(2**20)
    (tmp_path / "a.bin").write_bytes(data)
    async with aiohttp.ClientSession(connector=trusting(front)) as session:
        receipt = await upload(session, front.url, tmp_path / "a.bin")
        assert receipt.sha256 == hashlib.sha256(data).hexdigest()
    trust = ["--cacert", str(front.certificate)]
    state = {"XDG_STATE_HOME": str(tmp_path)}
    for words in (["upload", "a.bin", front.url], ["ping", "--count", "1", front.url]):
        done = jackfield(*words, *trust, folder=tmp_path, environment=state)
        assert done.returncode == 0, done.stderr


async def test_origins_are_compared_with_the_host_that_was_asked(front: Proxy) -> None:
    """The page's own sockets get in, those of other pages do not."""
    async with aiohttp.ClientSession(front.url, connector=trusting(front)) as session:
        async with session.ws_connect("/pingpong", origin=front.url) as socket:
            assert await socket.receive_str(timeout=10) == "ping"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect("/pingpong", origin="https://elsewhere.example")
        assert refused.value.status == 403


@pytest.mark.parametrize("place", ["kept", "stripped"])
async def test_below_a_path_everything_is_found(name: str, place: str, below: Service, tmp_path: Path) -> None:
    """Whether the proxy keeps the path or takes it away: page, upload, ping; the log says whose address and name."""
    with proxy(name, below.port, tmp_path, place) as front:
        headers = {"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "192.0.2.66"}
        async with aiohttp.ClientSession(connector=trusting(front), headers=headers) as session:
            async with session.get(f"{front.url}/upload", headers={"Accept": "text/html"}) as answer:
                assert 'src="/files/assets/upload/page.js"' in await answer.text()
            async with session.get(f"{front.url}/assets/upload/page.js") as answer:
                assert answer.status == 200
            receipt = await upload_bytes(session, front.url, b"below")
            assert receipt["sha256"] == hashlib.sha256(b"below").hexdigest()
            async with session.ws_connect(f"{front.url}/pingpong") as socket:
                assert await socket.receive_str(timeout=10) == "ping"
        below.wait_for("connection.opened", remote="127.0.0.1", user="alice")
        assert not [line for line in below.lines if "192.0.2.66" in line]  # what a caller writes is not believed
        assert TOKEN not in below.output() + front.log()


async def upload_bytes(session: aiohttp.ClientSession, url: str, data: bytes) -> dict[str, str]:
    """By hand, at the URL that is given; the receipt."""
    async with session.post(f"{url}/upload", json={"name": "below.bin"}) as answer:
        made = await answer.json()
        at = answer.url.join(URL(answer.headers["Location"]))
    assert made["url"] == at.path
    async with session.ws_connect(at) as socket:
        await socket.receive_json(timeout=10)
        await socket.send_bytes(data)
        await socket.send_json({"type": "end"})
        while (said := await socket.receive_json(timeout=10))["type"] != "stored":
            pass
    return dict(said)
