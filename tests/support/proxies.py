"""The proxies of deploy/, each started for real in front of a service, with a certificate made for the test."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.certificate import certificate
from tests.support.documents import PROJECT
from tests.support.service import PATIENCE

SEARCH = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
PROXIES = ("nginx", "haproxy", "caddy")


PLACES: dict[str, dict[str, dict[str, str]]] = {
    "root": {},
    "kept": {"nginx": {"location / {": "location /files/ {"}},
    "stripped": {
        "nginx": {
            "location / {": "location /files/ {",
            "proxy_pass http://jackfield;": "proxy_pass http://jackfield/;",
        },
        "haproxy": {"    default_backend": "    http-request replace-path /files(/.*) \\1\n    default_backend"},
        "caddy": {
            "\treverse_proxy": "\thandle_path /files/* {\n\treverse_proxy",
            "\t# An upload's": "\t}\n\t# An upload's",
        },
    },
}


@dataclass
class Proxy:
    """One that runs. `url` is https, `certificate` what to trust, `log` what it has logged of requests."""

    url: str
    certificate: Path
    output: Path

    def log(self) -> str:
        """All lines so far."""
        return self.output.read_text(encoding="utf-8")


def program(name: str) -> str | None:
    """Where it is, or None."""
    return shutil.which(name, path=SEARCH)


@contextmanager
def proxy(name: str, service_port: int, folder: Path, place: str = "root") -> Iterator[Proxy]:
    """The proxy with its file of deploy/, of which only ports and paths are changed.

    `place`: below /files the path is `kept`, or `stripped`, as the file's first lines tell.
    """
    certificate(folder)
    port, output = _free_port(), folder / "log"
    output.touch()
    command = _configured(name, service_port, port, folder, place)
    with output.open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env={"HOME": str(folder)})
        try:
            _wait(port, process, output)
            yield Proxy(f"https://127.0.0.1:{port}{'' if place == 'root' else '/files'}", folder / "cert.pem", output)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _configured(name: str, service_port: int, port: int, folder: Path, place: str) -> list[str]:
    file = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "caddy": "Caddyfile"}[name]
    text = (PROJECT / "deploy" / file).read_text(encoding="utf-8")
    changes = {
        "127.0.0.1:8080": f"127.0.0.1:{service_port}", "listen 443": f"listen 127.0.0.1:{port}",
        "bind :443": f"bind 127.0.0.1:{port}", "\nfiles.example.org": f"\nhttps://127.0.0.1:{port}",
        "/etc/jackfield/fullchain.pem": f"{folder}/cert.pem", "/etc/jackfield/privkey.pem": f"{folder}/key.pem",
        "/etc/jackfield/certificate.pem": f"{folder}/both.pem", "/var/log/nginx/jackfield.log": f"{folder}/log",
    }  # fmt: skip
    for old, new in {**changes, **PLACES[place].get(name, {})}.items():
        text = text.replace(old, new)
    where = folder / file
    if name == "nginx":
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
        text = f"daemon off; pid {folder}/pid; error_log stderr warn; events {{}} http {{ {temporary} {text} }}"
    if name == "caddy":
        text = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text
    where.write_text(text, encoding="utf-8")
    found = str(program(name))
    return {
        "nginx": [found, "-p", str(folder), "-e", "stderr", "-c", str(where)],
        "haproxy": [found, "-db", "-f", str(where)],
        "caddy": [found, "run", "--config", str(where), "--adapter", "caddyfile"],
    }[name]


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _wait(port: int, process: "subprocess.Popen[bytes]", output: Path) -> None:
    """Until somebody listens."""
    ends = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, output.read_text(encoding="utf-8")
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < ends, output.read_text(encoding="utf-8")
        time.sleep(0.02)
