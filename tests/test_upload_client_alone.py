"""The client needs aiohttp alone, and no call that only one system has: so it imports wherever aiohttp does."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jackfield import Receipt, upload_file
from tests.support.outsider import content, fresh_name
from tests.support.service import Service

PROGRAM = """
import json, os, sys

SERVICES = "fcntl uvloop bitarray tqdm pydantic structlog prometheus_client yaml aiofiles termios".split()
for name in SERVICES:
    sys.modules[name] = None  # to import it is an ImportError
for name in ("preadv", "pwritev", "pread", "O_NONBLOCK", "O_DIRECT", "O_CLOEXEC", "sendfile", "posix_fadvise", "fork"):
    if hasattr(os, name):
        delattr(os, name)
"""
LIBRARY = """
from jackfield import upload_file

receipt = upload_file(sys.argv[1], sys.argv[2])
print(json.dumps([receipt.name, receipt.size, receipt.sha256]))
"""
COMMAND = """
import argparse
from jackfield.handlers.upload.command.parser import command

parser = argparse.ArgumentParser()
command(parser.add_subparsers())
parsed = parser.parse_args(["upload", "-r", "--json", sys.argv[2], sys.argv[1]])
sys.exit(parsed.run(parsed))
"""


def run(program: str, *words: str | Path, state: Path) -> str:
    environment = {**os.environ, "XDG_STATE_HOME": str(state)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program, *words], capture_output=True, text=True, timeout=60, env=environment,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / fresh_name()
    file.write_bytes(content(3_000_000))
    return file


def test_a_file_goes_up_with_aiohttp_alone(service: Service, path: Path, tmp_path: Path) -> None:
    """Without the service's packages, without fcntl and without what only Linux has in `os`, a file is stored."""
    printed = run(LIBRARY, service.url, path, state=tmp_path / "state")
    assert json.loads(printed) == [path.name, 3_000_000, hashlib.sha256(path.read_bytes()).hexdigest()]


def test_a_folder_goes_up_with_aiohttp_alone(service: Service, path: Path, tmp_path: Path) -> None:
    """The command does so too, small files and large ones: it then has no bars, and sends through aiohttp."""
    folder = tmp_path / fresh_name("")
    folder.mkdir()
    (folder / "small").write_bytes(b"small")
    path.rename(folder / "large")
    printed = run(COMMAND, service.url, folder, state=tmp_path / "state")
    assert {json.loads(line)["name"] for line in printed.splitlines()} == {
        f"{folder.name}/{n}" for n in ("small", "large")
    }


def test_without_asyncio(service: Service, path: Path) -> None:
    """`upload_file` blocks until the file is stored."""
    receipt = upload_file(service.url, path, name=f"sub/{path.name}")
    assert receipt == Receipt(f"sub/{path.name}", 3_000_000, hashlib.sha256(path.read_bytes()).hexdigest())


async def test_not_where_a_loop_runs(service: Service, path: Path) -> None:
    """In the thread of a running loop it says what to use instead, and does not stop the loop."""
    with pytest.raises(RuntimeError, match="await upload"):
        upload_file(service.url, path)
