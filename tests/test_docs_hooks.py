"""docs/hooks.md: its receivers run, and its tables and its event are those of the code."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from jackfield.handlers.upload.settings import OnCreate, OnStored
from tests.support.documents import blocks, code_words, read, section, tables
from tests.support.outsider import Outsider, content, digest, eventually
from tests.support.receivers import unused_port
from tests.support.service import running_service
from tests.test_app_typing import checked


async def test_the_program_and_the_server_of_the_page_are_told(tmp_path: Path) -> None:
    """The twelve lines print what is stored; the script writes down its digest."""
    (script,) = blocks("docs/hooks.md", "sh")
    server, _ = blocks("docs/hooks.md", "python")
    port = unused_port()
    (tmp_path / "arrived.sh").write_text(script.text, encoding="utf-8")
    (tmp_path / "arrived.sh").chmod(0o755)
    (tmp_path / "receiver.py").write_text(server.text.replace("9000", str(port)), encoding="utf-8")
    assert len([line for line in server.text.splitlines() if line and not line.startswith("#")]) <= 12
    command = {"command": ["sh", "-c", f'cd {tmp_path} && ./arrived.sh "$1"', "sh", "{path}"]}
    handlers = {"upload": {"on_stored": command}, "other": None}
    with subprocess.Popen([sys.executable, tmp_path / "receiver.py"], stdout=subprocess.PIPE, text=True) as receiver:
        try:
            url = {"url": f"http://127.0.0.1:{port}/hook"}
            other = {"use": "upload", "path": "/other", "directory": "other", "min_free": 0, "on_stored": url}
            with running_service(tmp_path, pingpong=None, **{**handlers, "other": other}) as service:
                async with Outsider(service) as outsider:
                    await outsider.send_whole(data := content(100), "a.bin", at="/other")
                    await outsider.send_whole(data, "b.bin")
                    sums = tmp_path / "sums.txt"

                    async def summed() -> bool:
                        return sums.exists() and sums.read_text(encoding="utf-8").startswith(digest(data))

                    await eventually(summed, 30)
                    service.wait_for("event.delivered", 30)
                    assert receiver.stdout is not None
                    line = await asyncio.wait_for(asyncio.to_thread(receiver.stdout.readline), 30)
                    assert line == f"{service.directory('other')}/a.bin {digest(data)}\n"
        finally:
            receiver.terminate()


async def test_a_handler_in_python_is_asked_and_told(tmp_path: Path) -> None:
    """The page's inbox refuses by a word of its own, and is told with the promise of `on_stored`: killed before that,
    it is told after the next start."""
    _, inbox = blocks("docs/hooks.md", "python")
    *_, section_of_inbox = blocks("docs/hooks.md", "yaml")[:2]
    (tmp_path / "inbox.py").write_text(inbox.text.replace('"list.txt"', repr(str(tmp_path / "list.txt"))), "utf-8")
    options = yaml.safe_load(section_of_inbox.text)["handlers"]["inbox"]
    (tmp_path / "list.txt").mkdir()  # so that it fails
    with running_service(tmp_path, pingpong=None, upload=None, inbox=options | {"min_free": 0}) as service:
        async with Outsider(service) as outsider:
            refusal = await outsider.post_json({"name": "2019/a.tif"}, at="/inbox")
            assert (refusal.status, refusal.problem()) == (403, "too_late")
            assert b"2019 is closed." in refusal.body
            await outsider.send_whole(b"scan", "a.tif", at="/inbox")
            service.wait_for("event.not_delivered", 30)
            service.kill()
            assert "IsADirectoryError" in service.output()
            service.lines.clear()
            (tmp_path / "list.txt").rmdir()
            service.start()
            service.wait_for("event.delivered", 30)
    identifier, path, size, user = (tmp_path / "list.txt").read_text(encoding="utf-8").split()
    assert len(identifier) == 32
    assert (path, size, user) == (str(tmp_path / "scans/a.tif"), "4", "nobody")


def test_the_inbox_is_typed(tmp_path: Path) -> None:
    """`mypy --strict` has nothing to say of it, and finds what an arrival has not."""
    _, inbox = blocks("docs/hooks.md", "python")
    (tmp_path / "inbox.py").write_text(inbox.text, encoding="utf-8")
    assert "Success" in checked(tmp_path / "inbox.py")
    (tmp_path / "inbox.py").write_text(inbox.text.replace("arrival.size", "arrival.seize"), encoding="utf-8")
    assert 'has no attribute "seize"' in checked(tmp_path / "inbox.py")


def test_the_settings_of_hooks_are_those_of_the_code() -> None:
    """The table has each of them, with its default."""
    rows = tables(read("docs/hooks.md"))[0]
    documented = {code_words(name)[0]: (code_words(default) or [None])[0] for name, default, _ in rows}
    known = OnStored().model_dump(mode="json")
    assert documented == {name: None if value is None else str(value) for name, value in known.items()}
    for name in OnCreate.model_fields:
        assert f"`{name}`" in section("docs/hooks.md", "Ask before an upload exists: `on_create`")


def test_the_event_of_the_page_is_json() -> None:
    """It parses, and its id has 32 digits."""
    (event,) = blocks("docs/hooks.md", "json")
    assert re.fullmatch(r"[0-9a-f]{32}", json.loads(event.text)["id"])
    assert os.path.basename(json.loads(event.text)["data"]["path"]) == "scan.tif"
