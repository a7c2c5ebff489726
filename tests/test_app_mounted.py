"""The README's program that has the service in it, run by `web.run_app` and by gunicorn as processes of their own."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

import jackfield
from tests.support.documents import PROJECT
from tests.support.service import PATIENCE

RUN_APP = """
import socket
from aiohttp import web
from app import app
listening = socket.create_server(("127.0.0.1", 0))
print("Listening at: http://127.0.0.1:%d" % listening.getsockname()[1], flush=True)
web.run_app(app, sock=listening)
"""
PROGRAMS = {
    "run_app": ["-c", RUN_APP],
    "gunicorn": ["-m", "gunicorn", "--worker-class", "aiohttp.GunicornWebWorker", "--bind", "127.0.0.1:0", "app:app"],
}


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the URL at which it listens."""
    shutil.copy(PROJECT / "docs/examples/embedded/app.py", tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JACKFIELD_")}
    process = subprocess.Popen(
        [sys.executable, *PROGRAMS[request.param]], cwd=tmp_path, env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"Listening at: (http://\S+)", line):
                yield process, found[1]
                break
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


async def test_uploads_in_a_program_of_theirs(
    program: tuple[subprocess.Popen[str], str], session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A file is stored below the prefix; on SIGTERM an open upload is closed 1012, the program ends with 0, and has
    said nothing of a fault."""
    process, url = program
    async with session.get(url) as answer:
        assert (await answer.text()).startswith("Mine.")
    receipt = await jackfield.upload(session, f"{url}/files/upload", __file__)
    assert (tmp_path / "in" / receipt.name).read_bytes() == Path(__file__).read_bytes()
    async with session.post(f"{url}/files/upload", json={"name": "x", "size": 6}) as answer:
        upload = (await answer.json())["url"]
    async with session.ws_connect(url + upload) as socket:
        await socket.send_bytes(b"abc")
        while (await socket.receive_json(timeout=PATIENCE))["offset"] < 3:
            pass
        process.send_signal(signal.SIGTERM)
        while (await socket.receive(timeout=PATIENCE)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert socket.close_code == 1012
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "Traceback" not in output
    assert "connection." not in output  # nobody has asked for our log
