"""The README's files for running it for real: nginx in front, a unit of systemd, a certificate."""

import asyncio
import hashlib
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from jackfield.app.descriptors import sockets_within
from jackfield.handlers.upload.client import upload
from tests.support.configs import load
from tests.support.documents import blocks
from tests.support.outsider import content, eventually
from tests.support.service import PATIENCE, Service, jackfield, running_service

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
ANALYZE = shutil.which("systemd-analyze")


@contextmanager
def nginx(service: Service) -> Iterator[Path]:
    """The README's snippet in front of the service; the Unix socket on which nginx listens.

    Beside it are `access.log` and `error.log`.
    """
    (block,) = blocks("README.md", "nginx")
    location = block.text.replace("http://127.0.0.1:8080", service.url)
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path: a Unix socket's path must be short
        sock = Path(folder) / "nginx.sock"
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (Path(folder) / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log info; events {{}}"
            f"http {{ access_log {folder}/access.log; {temporary} server {{ listen unix:{sock}; {location} }} }}",
            encoding="utf-8",
        )
        command = [str(NGINX), "-p", folder, "-e", "stderr", "-c", f"{folder}/nginx.conf"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            ends = time.monotonic() + PATIENCE
            while not sock.exists():
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < ends
                time.sleep(0.01)
            yield sock
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
async def test_the_service_works_behind_nginx(service: Service, tmp_path: Path) -> None:
    """Through the README's nginx a file is uploaded whole, and origins are compared with the host asked for."""
    data = content(9 * 2**20 + 1)
    (tmp_path / "through-nginx.bin").write_bytes(data)
    with nginx(service) as sock:
        async with aiohttp.ClientSession(
            "http://jackfield.example", connector=aiohttp.UnixConnector(str(sock))
        ) as session:
            receipt = await upload(session, "http://jackfield.example", tmp_path / "through-nginx.bin")
            assert receipt.sha256 == hashlib.sha256(data).hexdigest()
            async with session.ws_connect("/pingpong", origin="http://jackfield.example") as socket:
                assert await socket.receive_str() == "ping"
            with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
                await session.ws_connect("/pingpong", origin="http://elsewhere.example")
            assert refusal.value.status == 403


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
async def test_the_proxys_logs_have_no_tokens(tmp_path: Path) -> None:
    """Whatever is done with an upload through the README's nginx, also while the service is away, no log of nginx
    says its URL; other requests are logged."""
    server = {"allowed_hosts": ["jackfield.example"]}
    with running_service(tmp_path, server=server) as service, nginx(service) as sock:
        async with aiohttp.ClientSession(
            "http://jackfield.example", connector=aiohttp.UnixConnector(str(sock))
        ) as session:
            async with session.post("/upload", json={"name": "secret.bin"}) as answer:
                token, url = (created := await answer.json())["token"], created["url"]
            async with session.ws_connect(url) as socket:
                assert (await socket.receive_json())["type"] == "ready"
                await socket.send_bytes(b"begun")
            for method in ("GET", "PATCH", "DELETE"):
                async with session.request(method, url) as answer:
                    assert answer.status in (200, 415, 204)
            service.stop()
            for path in (url, "/pingpong"):
                async with session.get(path) as answer:
                    assert answer.status == 502
        logs = [sock.parent / name for name in ("access.log", "error.log")]  # written after the answer
        for log in logs:
            await eventually(lambda log=log: asyncio.sleep(0, "/pingpong" in log.read_text(encoding="utf-8")))
        assert not [log for log in logs if token in log.read_text(encoding="utf-8")]


def _unit() -> str:
    (block,) = blocks("README.md", "ini")
    return block.text


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
def test_systemd_knows_all_that_the_unit_says(tmp_path: Path) -> None:
    """systemd finds nothing to remark in the unit, once its program and its user are there."""
    unit = tmp_path / "jackfield.service"
    text = re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", _unit())
    unit.write_text(re.sub(r"User=\w+", "User=root", text), encoding="utf-8")
    answer = subprocess.run(
        [str(ANALYZE), "verify", unit], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (answer.returncode, answer.stderr) == (0, "")


def test_the_units_command_and_variables_are_ours(tmp_path: Path) -> None:
    """The unit's variables are settings; its command has the words of ours; its limits exceed those of the defaults."""
    variables = dict(re.findall(r"^Environment=(\w+)=(.*)$", _unit(), re.MULTILINE))
    settings = load(tmp_path, "handlers: {upload: {use: upload, path: /upload}}", **variables)
    assert str(settings.handlers["upload"].options.directory) == "/var/lib/jackfield"
    command = re.findall(r"^ExecStart=\S+/jackfield (\w+) (--config) \S+$", _unit(), re.MULTILINE)
    assert command == [("serve", "--config")]
    assert "StateDirectory=jackfield" in _unit()  # which ProtectSystem leaves writable
    numbers = {name: int(value) for name, value in re.findall(r"^(\w+)=(\d+)$", _unit(), re.MULTILINE)}
    assert sockets_within(numbers["LimitNOFILE"], 10**9) > settings.server.max_connections
    assert numbers["TimeoutStopSec"] > settings.server.shutdown_timeout


def test_the_proxys_limits_exceed_the_heartbeat(tmp_path: Path) -> None:
    """nginx waits longer than a heartbeat, so that an idle socket is not cut."""
    (block,) = blocks("README.md", "nginx")
    limits = [int(seconds) for seconds in re.findall(r"_timeout (\d+)s;", block.text)]
    assert len(limits) == 2
    assert min(limits) > 2 * load(tmp_path, "").server.heartbeat


def test_the_certificates_section_is_a_configuration(tmp_path: Path) -> None:
    """The README's `server.tls` is valid where its files are."""
    (block,) = [block for block in blocks("README.md", "yaml") if not block.note]
    for name in ("fullchain.pem", "privkey.pem"):
        (tmp_path / name).touch()
    settings = load(tmp_path, block.text.replace("/etc/jackfield/", f"{tmp_path}/"))
    assert settings.server.tls is not None
    assert settings.server.tls.key == tmp_path / "privkey.pem"


def test_a_wrong_configuration_is_told(tmp_path: Path) -> None:
    """`jackfield check` exits 2 and names what is wrong, as the README says."""
    (tmp_path / "config.yaml").write_text("server: {prot: 1}", encoding="utf-8")
    answer = jackfield("check", folder=tmp_path)
    assert answer.returncode == 2
    assert "server.prot" in answer.stderr
