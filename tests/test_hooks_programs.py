"""Hooks that are commands: how a program is run, what is kept of its output, and how it ends."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from jackfield.handlers.upload.hooks.programs import filled, run
from tests.support.outsider import eventually

PLACES = {"path": "/srv/a b", "name": "$(touch x); {id}", "id": "0" * 32}


def test_a_name_is_an_argument_whatever_it_is() -> None:
    """There is no shell, and what a place brings is not looked at again; unknown places are left alone."""
    words = ["x", "{name}", "--path={path}", "{id}{id}", "{other}", "{{name}}"]
    assert filled(words, PLACES) == [
        "x", PLACES["name"], "--path=/srv/a b", "0" * 64, "{other}", "{$(touch x); {id}}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "status", "line"),
    [
        ("exit 0", 0, ""),
        ("echo; echo first; echo second; exit 3", 3, "first"),
        ("cat", 0, "the event"),
        ("kill -9 $$", -9, ""),
        ("printf 'a\\tb\\033[31mc'", 0, "ab[31mc"),
        ("head -c 300000 /dev/zero | tr '\\0' x; exit 4", 4, "x" * 500),
        ("exec <&- >&- 2>&-; exit 5", 5, ""),
        ("echo wrong >&2; exit 6", 6, "wrong"),
    ],
)
async def test_how_it_ends_and_what_it_says(script: str, status: int, line: str) -> None:
    """The exit status, or the signal; of its output the first line, printable and short, however much there is."""
    ended = await run(["sh", "-c", script], b"the event\n", 60, errors=True)
    assert (ended.status, ended.line) == (status, line)


async def test_standard_error_is_left_out_where_it_is_not_asked_for() -> None:
    """The first line is then that of standard output."""
    ended = await run(["sh", "-c", "echo wrong >&2; echo right"], b"", 60, errors=False)
    assert ended.line == "right"


async def test_what_it_has_begun_and_left_behind_is_not_waited_for() -> None:
    """A process that goes on in the background and holds the output: the end is that of the program."""
    begun = time.monotonic()
    ended = await run(["sh", "-c", "sleep 60 & echo $!; exit 0"], b"", 50, errors=True)
    assert ended.status == 0
    assert time.monotonic() - begun < 40
    os.kill(int(ended.line), 9)


async def test_one_that_is_not_there_is_an_error() -> None:
    """And leaves no descriptor open."""
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        await run(["/nowhere/program"], b"", 60, errors=True)
    assert set(os.listdir("/proc/self/fd")) <= before | {str(max(map(int, before)) + 1)}


async def test_one_that_is_cancelled_is_ended_too(tmp_path: Path) -> None:
    """Even where it does not heed SIGTERM; and what it has begun."""
    script = f"trap '' TERM; sleep 300 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/parent; sleep 300; sleep 300"
    task = asyncio.create_task(run(["sh", "-c", script], b"", 60, errors=True))

    async def begun() -> bool:
        return (tmp_path / "parent").exists() and (tmp_path / "parent").read_text(encoding="ascii") != ""

    await eventually(begun)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for name in ("parent", "child"):
        pid = int((tmp_path / name).read_text(encoding="ascii"))

        async def gone(pid: int = pid) -> bool:
            try:
                return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
            except FileNotFoundError:
                return True

        await eventually(gone)
