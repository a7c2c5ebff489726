"""The commands against a service that has a certificate of its own making."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificate import certificate
from tests.support.service import running_service

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The URL of a service that speaks https, and the certificate to trust."""
    folder = tmp_path_factory.mktemp("tls")
    certificate(folder)
    tls = {"certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
    with running_service(folder, server={"tls": tls}, pingpong={"interval": "10ms", "rounds": 2}) as service:
        yield service.url, folder / "cert.pem"


def _jackfield(*arguments: str, state: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jackfield", *arguments]
    environment = {**os.environ, "XDG_STATE_HOME": str(state)}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


def test_upload_trusts_the_certificate_it_is_given(secure: tuple[str, Path], tmp_path: Path) -> None:
    """With --cacert a file goes up over https and wss; without it nothing is sent."""
    url, certificate = secure
    assert url.startswith("https://")
    file = tmp_path / "secret.bin"
    file.write_bytes(b"over tls" * 100_000)
    refused = _jackfield("upload", str(file), url, state=tmp_path)
    assert refused.returncode == 1
    assert "certificate" in refused.stderr
    stored = _jackfield("upload", "--cacert", str(certificate), str(file), url, state=tmp_path)
    assert (stored.returncode, stored.stderr) == (0, "")
    assert stored.stdout.endswith("  secret.bin\n")


def test_ping_trusts_the_certificate_it_is_given(secure: tuple[str, Path], tmp_path: Path) -> None:
    """With --cacert the pings of wss are answered; without it that is an error."""
    url, certificate = secure
    assert _jackfield("ping", url, state=tmp_path).returncode == 1
    answered = _jackfield("ping", "--cacert", str(certificate), url, state=tmp_path)
    assert answered.returncode == 0, answered.stderr
    assert "2 pings answered" in answered.stdout


@pytest.mark.parametrize("command", [("ping",), ("upload", "README.md")])
def test_a_file_without_certificates_is_wrong_usage(
    secure: tuple[str, Path], command: tuple[str, ...], tmp_path: Path
) -> None:
    """What holds no certificate cannot be trusted: exit 2, and nothing is sent."""
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate\n")
    ended = _jackfield(*command, "--cacert", str(wrong), secure[0], state=tmp_path)
    assert ended.returncode == 2
    assert "--cacert" in ended.stderr
