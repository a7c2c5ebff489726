"""The contract, `server.tls`: https and wss, end to end, and what is no TLS."""

import asyncio
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
import yaml

from tests.support.manyfiles import answers, assert_stored, begin, binary, file, text
from tests.support.outsider import Outsider, UploadSocket, content, digest, eventually, fresh_name
from tests.support.rawsocket import Closed, Opcode, RawSocket, header
from tests.support.service import Service, configuration, jackfield, running_service

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")

MIB = 2**20
DATA = content(5 * MIB + 3)


@dataclass(frozen=True)
class Pair:
    """A certificate for 127.0.0.1 and its key, in files."""

    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path, *options: str) -> Self:
        """Sign one by itself."""
        folder.mkdir()
        made = cls(folder / "certificate.pem", folder / "key.pem")
        words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -subj /CN=test"
        files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", made.key, "-out", made.certificate]
        subprocess.run([*words.split(), *files, *(options or ["-nodes"])], capture_output=True, check=True)
        return made

    @property
    def settings(self) -> dict[str, str]:
        """As `server.tls` wants it."""
        return {"certificate": str(self.certificate), "key": str(self.key)}


class TlsSocket(UploadSocket):
    """A socket over TLS that trusts one certificate."""

    trusted: ssl.SSLContext

    @classmethod
    async def connect(cls, port: int, *, receive_buffer: int = 0) -> Self:
        """Open the connection and shake hands for TLS."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=cls.trusted, limit=2**16))

    def finish_tcp(self) -> None:
        """FIN, without a word of TLS before it, and we go on reading."""
        self._socket.shutdown(socket.SHUT_WR)

    def say_goodbye(self) -> None:
        """TLS's close_notify, then FIN."""
        self.writer.close()


class TlsOutsider(Outsider):
    """A client of a service that speaks TLS."""

    def __init__(self, service: Service, trusted: ssl.SSLContext) -> None:
        super().__init__(service)
        TlsSocket.trusted = trusted
        self.session = aiohttp.ClientSession(service.url, connector=aiohttp.TCPConnector(ssl=trusted))

    async def __aexit__(self, *details: object) -> None:
        await self.session.close()
        await super().__aexit__(*details)

    async def ask(self, url: str) -> dict[str, Any]:
        """What the service says of an upload."""
        async with self.session.get(url) as answer:
            assert answer.status == 200
            return dict(await answer.json())

    async def create(self, name: str = "", at: str = "/upload", **promises: Any) -> str:
        """Create an upload; its URL path."""
        async with self.session.post(at, json={"name": name or fresh_name(), **promises}) as answer:
            assert answer.status == 201
            return str(answer.headers["Location"])

    async def create_plain(self, name: str = "", at: str = "/upload") -> str:
        """Create a plain upload; its URL path."""
        async with self.session.post(at, data=name or fresh_name()) as answer:
            return f"{at}/{await answer.text()}"

    async def socket(self, path: str) -> TlsSocket:
        """A socket of which nothing was read."""
        opened = await TlsSocket.connect(self.service.port)
        self._sockets.append(opened)
        return await opened.upgrade(path)

    async def sending(self, url: str) -> TlsSocket:
        """A socket on an upload, its `ready` read."""
        opened = await self.socket(url)
        opened.ready = await opened.message("ready")
        return opened


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair.make(tmp_path_factory.mktemp("tls") / "pair")


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Iterator[Service]:
    """A service that speaks TLS; it must leave with 0 and a clean log."""
    with running_service(tmp_path_factory.mktemp("secure"), server={"tls": pair.settings}) as service:
        yield service


@pytest.fixture
async def outsider(secure: Service, pair: Pair) -> AsyncIterator[TlsOutsider]:
    """A client that trusts the certificate."""
    async with TlsOutsider(secure, ssl.create_default_context(cafile=str(pair.certificate))) as client:
        yield client
    secure.assert_clean()


async def test_the_url_that_is_told_is_https(outsider: TlsOutsider) -> None:
    """`listening` has the https URL, and it answers there."""
    assert outsider.service.url.startswith("https://127.0.0.1:")
    async with outsider.session.get("/healthz") as answer:
        assert answer.status == 200


async def test_ping_and_pong(outsider: TlsOutsider) -> None:
    """All rounds, and the close 1000 behind them."""
    opened = await outsider.socket("/pingpong")
    for _ in range(3):
        assert await opened.next() == "ping"
        await opened.text("pong")
    assert await opened.closed() == Closed(1000, "done")


async def test_an_upload_has_every_receipt(outsider: TlsOutsider) -> None:
    """`ready`, acks, `stored` and Close 1000 of one frame with all of the bytes; and the state over https."""
    url = await outsider.create(size=len(DATA), sha256=digest(DATA))
    opened = await outsider.sending(url)
    await opened.send(header(Opcode.BINARY, len(DATA), key=bytes(4)) + DATA[: 3 * MIB])
    assert (await opened.durable(3 * MIB))["offset"] == 3 * MIB
    await opened.send(DATA[3 * MIB :])
    receipt = await opened.finish(DATA)
    assert outsider.stored(receipt) == DATA
    found = await outsider.ask(url)
    assert (found["state"], found["sha256"]) == ("stored", digest(DATA))
    assert await (await outsider.socket(url)).receipt(DATA) == receipt


async def test_a_plain_upload_has_its_receipt_in_the_close(outsider: TlsOutsider) -> None:
    """The seed's client, over wss."""
    opened = await outsider.sending(await outsider.create_plain())
    await opened.binary(b"plain")
    await opened.close(1000)
    await opened.closed_plainly(f"stored 5 sha256:{digest(b'plain')}")


async def test_many_files(outsider: TlsOutsider) -> None:
    """A hundred files and one large one on one socket, without waiting."""
    sent = {fresh_name(): content(number * 300) for number in range(100)} | {fresh_name(): DATA}
    opened = await outsider.socket("/upload")
    reading = asyncio.create_task(answers(opened, len(sent)))
    for name, data in sent.items():
        await opened.send(file(name, data))
    assert_stored(outsider, await reading, sent)


LEAVES = [TlsSocket.drop, TlsSocket.reset, TlsSocket.finish_tcp, TlsSocket.say_goodbye]


@pytest.mark.parametrize("leave", LEAVES)
@pytest.mark.parametrize("size", [1, 70_000, 2 * MIB + 1])
async def test_what_has_arrived_is_kept(outsider: TlsOutsider, leave: Callable[[TlsSocket], None], size: int) -> None:
    """With a close_notify or without, by FIN or by reset, also in the middle of a frame: it goes on from there."""
    url = await outsider.create()
    opened = await outsider.sending(url)
    await opened.send(header(Opcode.BINARY, len(DATA), key=bytes(4)) + DATA[:size])
    await opened.acked(size)
    leave(opened)
    again = await outsider.sending(url)
    assert (again.ready["offset"], again.ready["sha256"]) == (size, digest(DATA[:size]))
    await again.send(binary(DATA[size:]))
    await again.finish(DATA)


@pytest.mark.parametrize("leave", LEAVES)
async def test_what_was_ended_is_stored(outsider: TlsOutsider, leave: Callable[[TlsSocket], None]) -> None:
    """A link that ends right behind `end`, on a socket of many files: stored, and the receipt is there."""
    opened = await outsider.socket("/upload")
    ready = await begin(opened, fresh_name())
    await opened.send(binary(b"ended") + text(type="end"))
    await opened.delivered()
    leave(opened)

    async def stored() -> bool:
        return bool((await outsider.ask(f"/upload/{ready['token']}"))["state"] == "stored")

    await eventually(stored)


async def test_what_is_no_tls_does_no_harm(outsider: TlsOutsider) -> None:
    """Plain HTTP, rubbish, silence and half a greeting get nothing, and the service goes on."""
    for said in (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(999), b"\0" * 70_000):
        plain = await RawSocket.connect(outsider.service.port)
        plain.write(said)
        plain.half_close()
        assert b"HTTP/1.1 200" not in await asyncio.wait_for(_all(plain), 10)
        await plain.dispose()
    silent = await RawSocket.connect(outsider.service.port)
    strict = ssl.create_default_context()  # that does not know the certificate
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection("127.0.0.1", outsider.service.port, ssl=strict)
    async with outsider.session.get("/healthz") as answer:
        assert answer.status == 200
    await silent.dispose()


async def _all(opened: RawSocket) -> bytes:
    try:
        return await opened.reader.read()
    except ConnectionError:
        return b""


async def test_the_end_of_the_service(tmp_path: Path, pair: Pair) -> None:
    """SIGTERM: the last bytes are acknowledged durable, 1012, status 0; and it goes on from there."""
    trusted = ssl.create_default_context(cafile=str(pair.certificate))
    tls = {"tls": pair.settings, "shutdown_timeout": "20s"}
    with running_service(tmp_path, server=tls) as service:
        async with TlsOutsider(service, trusted) as outsider:
            url = await outsider.create()
            opened = await outsider.sending(url)
            await opened.send(binary(DATA))
            await opened.delivered()
            service.signal(signal.SIGTERM)
            assert (await opened.closed()).code == 1012
            assert opened.acks[-1] == {"type": "ack", "offset": len(DATA), "durable": len(DATA)}
            await opened.close(1012)
        assert await asyncio.to_thread(service.wait) == 0
        service.start()
        async with TlsOutsider(service, trusted) as outsider:
            assert (await outsider.sending(url)).ready["offset"] == len(DATA)


# -- another certificate


async def test_a_new_certificate_is_taken_while_sockets_live_on(tmp_path: Path, pair: Pair) -> None:
    """On SIGHUP, and no upload ends; a pair that does not fit is told, and the old one stays."""
    used = Pair(tmp_path / "used.pem", tmp_path / "used.key")
    for source, target in ((pair.certificate, used.certificate), (pair.key, used.key)):
        shutil.copy(source, target)
    newer = Pair.make(tmp_path / "newer")
    with running_service(tmp_path, server={"tls": used.settings}) as service:
        async with TlsOutsider(service, ssl.create_default_context(cafile=str(pair.certificate))) as outsider:
            sending = await outsider.sending(await outsider.create())
            shutil.copy(newer.key, used.key)
            service.signal(signal.SIGHUP)
            await asyncio.to_thread(service.wait_for, "certificate.refused")
            assert _served(service) == ssl.PEM_cert_to_DER_cert(pair.certificate.read_text("ascii"))
            shutil.copy(newer.certificate, used.certificate)
            service.signal(signal.SIGHUP)
            await asyncio.to_thread(service.wait_for, "certificate.read")
            assert _served(service) == ssl.PEM_cert_to_DER_cert(newer.certificate.read_text("ascii"))
            await sending.binary(DATA)
            await sending.finish(DATA)


def _served(service: Service) -> bytes:
    """The certificate that a new connection gets."""
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", service.port)))


async def test_browsers_are_told_to_come_by_tls_alone(outsider: TlsOutsider) -> None:
    """RFC 6797, in every answer."""
    for path in ("/", "/upload", "/nowhere"):
        async with outsider.session.get(path) as answer:
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


# -- what cannot be served with


@pytest.mark.parametrize("fault", ["another key", "no certificate", "no key", "an encrypted key", "a missing file"])
def test_a_pair_that_does_not_fit_is_one_clear_line(tmp_path: Path, pair: Pair, fault: str) -> None:
    """The status is not 0, the line names a file, and nothing was ever listening; nobody is asked for a password."""
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("this is no PEM", encoding="utf-8")
    wrong = {
        "another key": lambda: Pair(pair.certificate, Pair.make(tmp_path / "other").key),
        "no certificate": lambda: Pair(rubbish, pair.key),
        "no key": lambda: Pair(pair.certificate, rubbish),
        "an encrypted key": lambda: Pair.make(tmp_path / "locked", "-passout", "pass:secret"),
        "a missing file": lambda: Pair(tmp_path / "missing.pem", pair.key),
    }[fault]()
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(configuration(server={"tls": wrong.settings})), encoding="utf-8")
    done = jackfield("serve", "--config", config, folder=tmp_path)
    assert done.returncode > 0
    assert "certificate" in done.stderr or ".pem" in done.stderr
    assert "listening" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "pass phrase" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
