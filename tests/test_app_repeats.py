"""A flood of refusals is a few lines of the log, and no refusal is left uncounted."""

import json
import subprocess
import sys
from typing import Any

import pytest

from jackfield.app.repeats import FEW, Repeats

REFUSED = {"event": "upload.refused", "failure": "no_space", "remote": "192.0.2.1"}


class Time:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    "event",
    [
        {"event": "upload.stored", "remote": "192.0.2.1"},
        {"event": "request", "status": 200},
        {"event": "upload.failed", "failure": "digest_mismatch"},
        {"event": "task.failed"},
        {**REFUSED, "repeated": 7},
    ],
)
def test_what_is_no_refusal_is_always_written(event: dict[str, Any]) -> None:
    """However often it comes."""
    repeats = Repeats(Time())
    assert all(repeats.wanted(event) for _ in range(100))
    assert repeats.due(all_of_them=True) == []


@pytest.mark.parametrize(
    "event",
    [REFUSED, {"event": "request", "failure": "not_found"}, {"event": "request.malformed", "problem": "BadStatusLine"}],
)
def test_the_first_few_are_written_and_the_rest_is_one_line(event: dict[str, Any]) -> None:
    """It says how many it stands for, and is the last of them; a second later it begins anew."""
    clock = Time()
    repeats = Repeats(clock)
    assert [repeats.wanted({**event, "name": f"{number}"}) for number in range(100)] == [True] * FEW + [False] * 95
    assert repeats.due() == []
    clock.now += 1
    assert repeats.due() == [{**event, "name": "99", "repeated": 95}]
    assert len(repeats) == 0
    assert repeats.wanted(event)


def test_a_few_are_no_repetition() -> None:
    """Nothing more is said of them, and nothing is remembered."""
    clock = Time()
    repeats = Repeats(clock)
    assert all(repeats.wanted(REFUSED) for _ in range(FEW))
    clock.now += 1
    assert (repeats.due(), len(repeats)) == ([], 0)


@pytest.mark.parametrize("other", [{"failure": "too_large"}, {"remote": "192.0.2.2"}, {"user": "alice"}])
def test_another_word_and_another_caller_are_another_kind(other: dict[str, str]) -> None:
    """The flood of one hides nothing of the others."""
    repeats = Repeats(Time())
    for _ in range(100):
        repeats.wanted(REFUSED)
    assert repeats.wanted({**REFUSED, **other})


FLOOD = """
import asyncio, logging, structlog
from jackfield.app import logs
logs.configure("info", "json")
structlog.contextvars.bind_contextvars(remote="192.0.2.1")
log = structlog.get_logger()
access = logging.getLogger("aiohttp.access")
for number in range(1000):
    log.warning("upload.refused", failure="no_space", name=str(number))
    access.info("request", extra={"failure": "slow_down", "path": "/", "status": 429})
asyncio.run(logs.say_repeats(last=True))
log.info("stopped")
"""


def test_both_logging_libraries_are_summed_up() -> None:
    """Our lines and the access log's: each line is whole, and the sums are right."""
    done = subprocess.run([sys.executable, "-c", FLOOD], capture_output=True, text=True, timeout=20, check=True)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(events) == 2 * (FEW + 1) + 1
    assert all(event["timestamp"] and event["remote"] == "192.0.2.1" for event in events)
    upload, request = (
        [each for each in events if each["event"] == name and "repeated" in each]
        for name in ("upload.refused", "request")
    )
    assert [(each["name"], each["level"], each["repeated"]) for each in upload] == [("999", "warning", 1000 - FEW)]
    assert [(each["status"], each["level"], each["repeated"]) for each in request] == [(429, "info", 1000 - FEW)]
