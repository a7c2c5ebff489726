"""on_create: whoever decides is asked before an upload exists, whatever way it is made; and is in nobody else's way."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.outsider import STAGING, Outsider, UploadSocket, content
from tests.support.receivers import endpoint, unused_port
from tests.support.service import Service, running_service, upload

SCRIPT = """
case "$1" in
    bad*) echo "Not $1."; echo "and more"; exit 3;;
    dead*) kill -9 $$;;
    slow*) exec sleep 60;;
esac
grep -q '"io.jackfield.upload.requested"'
"""


@dataclass
class Judge:
    """An endpoint that judges by the name, and counts how many it is asked at the same time."""

    now: int = 0
    most: int = 0
    pause: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def answer(self, event: dict[str, Any]) -> web.StreamResponse:
        """See `Answer`."""
        self.asked.append(event)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.pause)
        self.now -= 1
        status = int(event["data"]["name"].partition("-")[0] or 204)
        return web.json_response({"detail": f"I say {status}."}, status=status)


@dataclass
class Stage:
    """A service that asks, and who is asked."""

    service: Service
    outsider: Outsider
    judge: Judge


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Handlers that ask a command, a URL, nobody who listens, and a command that is not there."""
    judge = Judge()
    async with endpoint(judge.answer) as found:
        hooks = {
            "url": {"url": found.url, "timeout": "10s"},
            "away": {"url": f"http://127.0.0.1:{unused_port()}/"},
            "nowhere": {"url": "http://nowhere.invalid/"},
            "missing": {"command": ["./missing"]},
            "impatient": {"command": ["sh", "-c", SCRIPT, "sh", "{name}"], "timeout": "500ms"},
            "command": {"command": ["sh", "-c", SCRIPT, "sh", "{name}"]},
        }
        handlers = {name: upload(f"/{name}", on_create=hook) for name, hook in hooks.items()}
        with running_service(tmp_path, pingpong=None, upload=None, **handlers) as service:
            async with Outsider(service) as outsider:
                yield Stage(service, outsider, judge)


async def outcome(stage: Stage, at: str, name: str) -> tuple[int, str, str]:
    """What comes of a creation: status, word, detail."""
    answer = await stage.outsider.post_json({"name": name}, at=f"/{at}")
    if answer.status == 201:
        return 201, "", ""
    problem = json.loads(answer.body)
    return answer.status, problem["code"], problem["detail"]


async def last_answer(opened: UploadSocket) -> dict[str, Any]:
    """The next receipt or error."""
    while (said := await opened.said())["type"] not in ("stored", "error"):
        pass
    return said


async def test_what_the_asked_say_is_what_the_client_gets(stage: Stage) -> None:
    """Let in; refused with the first line, or `detail` and a 4xx of its own; and 503 where nobody can be asked."""
    assert await outcome(stage, "command", "good.bin") == (201, "", "")
    assert await outcome(stage, "command", "bad.bin") == (403, "refused", "Not bad.bin.")
    for at, name in (
        ("command", "dead"), ("impatient", "slow"), ("away", "a"), ("nowhere", "a"), ("missing", "a"),
        ("url", "500-a"), ("url", "302-a"),
    ):  # fmt: skip
        assert (await outcome(stage, at, name))[:2] == (503, "hook_unavailable"), (at, name)
    assert await outcome(stage, "url", "200-a") == (201, "", "")
    for status in (400, 403, 404, 422):
        assert await outcome(stage, "url", f"{status}-a") == (status, "refused", f"I say {status}.")
    (event, *_) = (event for event in stage.judge.asked if event["subject"] == "200-a")
    assert event["type"] == "io.jackfield.upload.requested"
    assert event["data"] == {"name": "200-a", "size": None, "sha256": None, "user": None, "remote": "127.0.0.1"}


async def test_it_holds_for_each_way(stage: Stage) -> None:
    """PUT and a socket of many are refused as POST is, large and small; nothing of what is refused is on the disk."""
    put = await stage.outsider.http("PUT", "/url/403-put.bin", b"data")
    assert (put.status, put.problem()) == (403, "refused")
    opened = await stage.outsider.unread("/url")
    await opened.json(type="create", name="403-large")
    assert (await opened.message("error"))["code"] == "refused"
    await opened.json(type="create", name="422-small", size=4)
    await opened.binary(b"data")
    await opened.end()
    error = await last_answer(opened)
    assert (error["status"], error["code"], error["detail"]) == (422, "refused", "I say 422.")
    await opened.json(type="create", name="204-small")
    await opened.binary(b"data")
    await opened.end()
    assert (await last_answer(opened))["name"] == "204-small"
    assert stage.outsider.published("/url") == ["204-small"]
    assert [path.suffix for path in (stage.service.directory("url") / STAGING).iterdir()] in (
        [".receipt", ""],
        ["", ".receipt"],
    )


async def test_small_files_of_a_socket_do_not_wait_for_each_other(stage: Stage) -> None:
    """While one is asked for, so are the next ones, 16 at most; the answers come in their order."""
    stage.judge.pause = 0.1
    opened = await stage.outsider.unread("/url")
    names = [f"{403 if number % 10 == 5 else 204}-{number}" for number in range(60)]
    for name in names:
        await opened.json(type="create", name=name)
        await opened.binary(content(100))
        await opened.end()
    answers: list[str] = []
    while len(answers) < len(names):
        said = await last_answer(opened)
        answers.append(said.get("name", ""))
    assert answers == [name if name.startswith("204") else "" for name in names]
    assert 2 <= stage.judge.most <= 16
    assert sorted(stage.outsider.published("/url")) == sorted(name for name in names if name.startswith("204"))
    assert (await outcome(stage, "url", "204-more"))[0] == 201
