"""The tables of the documentation are those of the code: words, codes, events, metrics, numbers, options."""

import ast
import asyncio
import io
import re
from collections import defaultdict
from collections.abc import Iterator

import aiohttp
import pytest

from jackfield.app import errors
from jackfield.app.errors import Kind
from jackfield.app.handler import Handler
from jackfield.app.socket.closing import CLOSE_LIMIT
from jackfield.app.socket.receiver import MAX_EMPTY, MAX_PONGS
from jackfield.app.socket.sending import SEND_LIMIT
from jackfield.app.socket.shared import MESSAGE_MEMORY
from jackfield.handlers.upload.sockets.answers import HIGH_WATER
from jackfield.handlers.upload.sockets.many import MAX_UNANSWERED
from jackfield.handlers.upload.store import part
from jackfield.handlers.upload.store.small import SMALL
from jackfield.handlers.upload.wire import words
from tests.support.documents import PROJECT, code_words, section, tables
from tests.support.outsider import Outsider, content
from tests.support.service import Service, jackfield

KINDS = [value for value in (vars(errors) | vars(words)).values() if isinstance(value, Kind)]
LOG_CALLS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
LOGGERS = {"log", "self.log", "self._log"}
TRACEBACK = {"exc_info"}  # no field: it becomes the traceback


def test_every_word_is_documented() -> None:
    """The table of words has each word of the code, with its status and its close code, and no other."""
    (rows,) = tables(section("docs/protocol.md", "Words"))
    documented = {(code_words(word)[0], int(status), int(close)) for word, status, close, _ in rows}
    assert documented == {(kind.code, kind.status, kind.close) for kind in KINDS}


def test_every_close_code_is_documented() -> None:
    """The table of close codes has those that the code may send; our own are 4000 + the status."""
    (rows,) = tables(section("docs/protocol.md", "Closing"))
    *codes, own = [row[0] for row in rows]
    known = {value for name, value in vars(errors).items() if name.isupper() and isinstance(value, int)}
    never_sent = {errors.NO_CODE, errors.ABNORMAL}
    assert {int(code) for code in codes} == (known | {kind.close for kind in KINDS if kind.close < 4000}) - never_sent
    lowest, highest = map(int, own.split(" … "))
    for kind in KINDS:
        assert kind.close < 4000 or kind.close == 4000 + kind.status
        assert kind.close < 4000 or lowest <= kind.close <= highest


def test_the_numbers_are_those_of_the_code() -> None:
    """Limits and times that no setting changes stand in the table as the code has them."""
    (rows,) = tables(section("docs/protocol.md", "Numbers"))
    numbers = {label: found[0] for label, value in rows if (found := re.search(r"\d+ \w+|\d+", value))}
    seconds = {kind.code: f"{kind.retry_after} s" for kind in KINDS}
    assert numbers["a text message"] == f"{Handler.max_text // 2**10} KiB"
    assert (
        numbers["a binary message, where the handler does not say otherwise"] == f"{Handler.max_message // 2**20} MiB"
    )
    assert numbers["a message that is not taken by the client"] == f"{SEND_LIMIT:g} s"
    assert numbers["your half of the closing handshake"] == f"{CLOSE_LIMIT:g} s"
    assert numbers["messages that all sockets together may hold"] == f"{MESSAGE_MEMORY // 2**20} MiB"
    assert numbers["pings that are answered in one turn"] == f"{MAX_PONGS}"
    assert dict(rows)["data frames without payload, none with some between them"] == f"{MAX_EMPTY:,}"
    assert numbers["`Retry-After` of `too_many_uploads`"] == seconds["too_many_uploads"]
    assert numbers["`Retry-After` of `too_many_connections`, `too_many_files` and `draining`"] == seconds["draining"]
    assert seconds["too_many_connections"] == seconds["too_many_files"] == seconds["draining"]
    assert seconds["draining"] == seconds["too_many_connections"]
    assert numbers["digest in `ready` after a restart of the service"] == f"{part._REHASH_AT_ONCE // 2**20} MiB"
    assert numbers["requests that wait for their answers on one socket"] == f"{MAX_UNANSWERED}"
    assert numbers["answers that wait to be read on one socket"] == f"{HIGH_WATER // 2**20} MiB"
    assert numbers["a file that may be held in memory until its `end`, where there are many on one socket"] == (
        f"{SMALL // 2**10} KiB"
    )


@pytest.mark.parametrize(("size", "word"), [(2**20, "invalid_name"), (2**20 + 1, "too_large")])
async def test_the_limit_of_a_body_is_the_documented_one(service: Service, size: int, word: str) -> None:
    """A body of 1 MiB is read (and is no name), one byte more is too large."""
    body, headers = io.BytesIO(b"x" * size), {"Content-Type": "text/plain"}
    async with (
        aiohttp.ClientSession(service.url) as session,
        session.post("/upload", data=body, headers=headers) as answer,
    ):
        assert (await answer.json(content_type=None))["code"] == word


# -- what is logged


def _logged() -> Iterator[tuple[str, str, set[str]]]:
    """Event, level and the names of the fields, of each call to a logger in the code."""
    for path in [*PROJECT.glob("app/**/*.py"), *PROJECT.glob("handlers/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            event = node.args[0]
            if ast.unparse(node.func.value) in LOGGERS and isinstance(event, ast.Constant):
                yield (
                    str(event.value),
                    LOG_CALLS[node.func.attr],
                    {word.arg for word in node.keywords if word.arg} - TRACEBACK,
                )


def test_every_event_is_documented() -> None:
    """The table of events has each that the code logs, with its levels and all fields it is given by name."""
    levels, fields = defaultdict(set), defaultdict(set)
    for event, level, names in _logged():
        levels[event].add(level)
        fields[event] |= names
    (rows,) = tables(section("docs/operations.md", "Logs"))
    documented = {
        code_words(event)[0]: (set(level.split(", ")), set(code_words(names))) for event, level, names, _ in rows
    }
    by_other_means = {
        "request",
        "request.malformed",
        "request.lost",
    }  # they come through the standard library's logging
    assert documented.keys() == levels.keys() | by_other_means
    for event in levels:
        assert documented[event][0] == levels[event], event
        assert fields[event] <= documented[event][1], event


async def test_what_is_logged_has_the_documented_fields(service: Service, outsider: Outsider) -> None:
    """No event in the log of a service that runs has a field that the documentation does not name."""
    await outsider.send_whole(content(1000))
    opened = await outsider.open(await outsider.create())
    await opened.json(type="nonsense")
    await opened.failed("bad_message", 4400)
    await asyncio.to_thread(service.wait_for, "connection.closed", failure="bad_message")
    (rows,) = tables(section("docs/operations.md", "Logs"))
    documented = {code_words(event)[0]: set(code_words(names)) for event, _, names, _ in rows}
    always = {"event", "level", "timestamp", "connection", "handler", "exception", "remote", "user", "repeated"}
    for event in list(service.events):
        assert event.keys() - always <= documented[event["event"]], event


# -- what is counted


async def test_every_metric_is_documented(outsider: Outsider) -> None:
    """The table of metrics has each of `/metrics`, with its type and its labels, and no other."""
    await outsider.send_whole(content(1000))
    (rows,) = tables(section("docs/operations.md", "Metrics"))
    documented = {code_words(name)[0]: (kind, set(code_words(labels))) for name, kind, labels, _ in rows}
    text = (await outsider.get("/metrics")).body.decode()
    types = dict(re.findall(r"^# TYPE (jackfield_\w+) (\w+)$", text, re.MULTILINE))
    others = "|".join(name for name in outsider.service.settings["handlers"] if name != "upload")
    names = {name for name in types if not name.endswith("_created") and not re.match(f"jackfield_({others})_", name)}
    assert documented.keys() == names
    for name, (kind, labels) in documented.items():
        samples = re.findall(rf"^{name}(?:_count)?(?:\{{(.*)\}})? ", text, re.MULTILINE)
        assert kind == types[name], name
        for sample in samples:
            assert set(re.findall(r'(\w+)="', sample)) == labels, name


# -- what is typed


def _help(command: str) -> str:
    answer = jackfield(*command.split(), "--help", folder=PROJECT, environment={"COLUMNS": "200"})
    assert answer.returncode == 0
    return answer.stdout


def _commands() -> dict[str, str]:
    return dict(re.findall(r"^    (\w+)\s+(.*)$", _help(""), re.MULTILINE))


def _readme_tables() -> list[list[list[str]]]:
    return tables(section("README.md", "Commands"))


def test_every_command_is_documented() -> None:
    """The README's table of commands has those of `jackfield --help`."""
    documented = [code_words(row[0])[0].split()[1] for row in _readme_tables()[0]]
    assert sorted(documented) == sorted(_commands())


@pytest.mark.parametrize("command", ["serve", "check", "schema", "upload", "ping"])
def test_every_option_is_documented(command: str) -> None:
    """What `--help` of a command offers is in the README, and the other way round."""
    offered = set(re.findall(r"(?<![\w-])(--?[a-z][a-z0-9-]*)", _help(command).partition("exit status:")[0]))
    own = {"upload": _readme_tables()[1], "ping": _readme_tables()[2]}.get(command)
    (said,) = [row[1] for row in _readme_tables()[0] if code_words(row[0])[0].split()[1] == command]
    inline = {word for word in code_words(said) if word.startswith("--")}
    documented = {word.split()[0] for row in own for word in code_words(row[0])} if own else {"--config"} | inline
    assert offered - {"-h", "--help"} == documented


def test_every_exit_status_is_documented() -> None:
    """The statuses that `jackfield upload --help` promises are in the README's table."""
    promised = re.findall(r"(?:^|; )(\d+) ", _help("upload").partition("exit status: ")[2])
    documented = {status for row in _readme_tables()[3] for status in row[0].split(", ")}
    assert len(promised) == 8
    assert set(promised) <= documented
