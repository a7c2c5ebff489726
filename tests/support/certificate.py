"""A certificate for the loopback interface, made by openssl."""

import subprocess
from pathlib import Path


def certificate(folder: Path) -> None:
    """cert.pem and key.pem for 127.0.0.1, and both.pem with one behind the other."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    parts = [(folder / name).read_text(encoding="ascii") for name in ("cert.pem", "key.pem")]
    (folder / "both.pem").write_text("".join(parts), encoding="ascii")
