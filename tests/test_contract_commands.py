"""The contract, "Commands": check, schema, ping, upload, and what serve logs."""

import json
import os
import pty
import re
import socket
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml

from tests.support.outsider import Outsider, content, digest, fresh_name
from tests.support.rawsocket import Refusal
from tests.support.service import COMMAND, Service, configuration, jackfield, running_service

OPTIONS = {
    "pingpong": {"use", "path", "interval", "rounds", "timeout"},
    "upload": {
        "use", "path", "directory", "max_size", "max_open", "max_open_per_user", "min_free", "reserve",
        "daily_quota", "on_conflict", "expires", "unused", "receipts_kept", "idle_timeout", "min_rate", "sync_every",
        "message_size", "window", "memory",
    },
}  # fmt: skip


def write(folder: Path) -> Path:
    """A good configuration file."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(configuration()), encoding="utf-8")
    return file


def test_check_prints_the_effective_configuration(tmp_path: Path) -> None:
    """A good file: status 0, every setting with its value, nothing on standard error; `config.yaml` is the default."""
    write(tmp_path)
    done = jackfield("check", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = yaml.safe_load(done.stdout)
    assert found["server"].keys() >= {
        "host", "port", "allowed_origins", "max_connections", "heartbeat", "shutdown_timeout", "tls",
    }  # fmt: skip
    assert found["logging"].keys() >= {"level", "format"}
    for handler, options in OPTIONS.items():
        assert found["handlers"][handler].keys() >= options


def test_what_check_prints_is_a_configuration(tmp_path: Path) -> None:
    """The effective configuration, given back as the file, is the same configuration."""
    printed = jackfield("check", "--config", write(tmp_path), folder=tmp_path).stdout
    (tmp_path / "config.yaml").write_text(printed, encoding="utf-8")
    again = jackfield("check", folder=tmp_path)
    assert (again.returncode, again.stdout) == (0, printed)


def test_the_schema_has_the_handlers_options(tmp_path: Path) -> None:
    """`schema` prints a JSON Schema that knows each section and every option of the named handlers."""
    done = jackfield("schema", "--config", write(tmp_path), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    schema = json.loads(done.stdout)
    assert schema["type"] == "object"
    assert schema["properties"].keys() >= {"server", "logging", "handlers"}
    for word in set().union(*OPTIONS.values(), {"rename", "reject", "replace", "heartbeat", "console"}):
        assert f'"{word}"' in done.stdout, word


@pytest.mark.parametrize("command", ["check", "schema"])
def test_a_closed_standard_output(tmp_path: Path, command: str) -> None:
    """What nobody reads is not printed, and is no failure."""
    line = f"{COMMAND} {command} --config {write(tmp_path)} >&-"
    done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_words_that_are_no_command_are_a_usage_error(tmp_path: Path) -> None:
    """Unknown commands and options leave with 2; help leaves with 0 and names all commands."""
    for words in (["dance"], ["serve", "--dance"], ["ping"], ["upload"]):
        assert jackfield(*words, folder=tmp_path).returncode == 2, words
    done = jackfield("--help", folder=tmp_path)
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("serve", "check", "schema", "ping", "upload"))


@pytest.mark.parametrize("form", ["{http}", "{http}/", "{http}/pingpong", "{ws}", "{ws}/pingpong"])
def test_ping_answers_every_round(service: Service, form: str) -> None:
    """`ping` takes the service or the path, ws or http, and prints each round and a summary."""
    url = form.format(http=service.url, ws=service.url.replace("http", "ws", 1))
    done = jackfield("ping", url, folder=service.folder)
    assert (done.returncode, done.stderr) == (0, "")
    first, second, third, summary = done.stdout.splitlines()
    assert re.fullmatch(r"ping 1: answered; it came \d+\.\d ms after the connection was asked for", first)
    assert re.fullmatch(r"ping 2: answered; it came \d+\.\d ms after ping 1", second)
    assert third.endswith("ms after ping 2")
    assert re.fullmatch(r"3 pings answered; ms between them: min \d+\.\d, mean \d+\.\d, max \d+\.\d", summary)


def test_ping_leaves_after_its_count(service: Service) -> None:
    """`--count` ends a conversation that would go on for ever."""
    done = jackfield("ping", service.url + "/endless", "--count", "5", folder=service.folder)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 6, "five rounds and a summary"
    once = jackfield("ping", service.url + "/endless", "--count", "1", folder=service.folder)
    assert once.stdout.splitlines()[1:] == ["1 ping answered"]


def test_ping_of_nobody_fails_in_one_line(tmp_path: Path) -> None:
    """A service that is not there, and a path that is none, are a status other than 0 and a clear line."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        done = jackfield("ping", f"http://127.0.0.1:{unused.getsockname()[1]}", folder=tmp_path)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_upload_prints_the_digest_and_the_name(service: Service, tmp_path: Path) -> None:
    """The smallest use of `upload`: a file, a URL, and the line that `sha256sum` would print."""
    data, name = content(100_000), fresh_name()
    (tmp_path / name).write_bytes(data)
    done = jackfield("upload", name, service.url, folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{digest(data)}  {name}\n"), done.stderr
    assert (service.directory() / name).read_bytes() == data


def test_every_log_line_is_an_event(service: Service) -> None:
    """JSON lines have event, level and a UTC timestamp; `listening` comes once and has the URL."""
    service.assert_clean()
    for event in list(service.events):
        assert isinstance(event["event"], str)
        assert event["level"] in {"debug", "info", "warning", "error", "critical"}
        stamp = datetime.fromisoformat(event["timestamp"])
        assert stamp.utcoffset() == timedelta(0)
    assert [event["url"] for event in service.events if event["event"] == "listening"] == [
        f"http://127.0.0.1:{service.port}"
    ]


async def test_without_a_terminal_the_log_is_json(tmp_path: Path) -> None:
    """`format: auto` is JSON lines where standard error is no terminal, and `console` never is."""
    with running_service(tmp_path, logging={"format": "auto", "level": "info"}) as service:
        assert service.events[0]["level"] == "info"


def test_on_a_terminal_the_log_is_for_people(tmp_path: Path) -> None:
    """`format: auto` is no JSON where standard error is a terminal."""
    settings = configuration(logging={"format": "auto"})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    ours, theirs = pty.openpty()
    process = subprocess.Popen([COMMAND, "serve"], cwd=tmp_path, stderr=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    with os.fdopen(ours, encoding="utf-8") as terminal:
        try:
            first = next(line for line in terminal if "listening" in line)
        finally:
            process.terminate()
            assert process.wait(10) == 0
    assert not first.startswith("{")
    assert "http://127.0.0.1:" in first


async def test_a_token_is_never_logged(tmp_path: Path) -> None:
    """Through creation, sockets, errors, take-over, cancelling, refusal and restart no log line has a token."""
    with running_service(tmp_path, logging={"level": "debug"}, upload={"idle_timeout": 0.3}) as service:
        async with Outsider(service) as outsider:
            urls = [await outsider.create(f"{number}.bin") for number in range(3)]
            await (await outsider.open(urls[0])).finish(b"")
            first, second = await outsider.open(urls[1]), await outsider.open(urls[1])
            await first.failed("superseded", 4409)
            await second.text("nonsense")
            await second.failed("bad_message", 4400)
            await (await outsider.open(urls[1])).failed("idle", 4408)
            (await outsider.open(urls[2])).reset()
            await outsider.http("HEAD", urls[2])
            await outsider.http("PATCH", urls[2])
            await outsider.http("DELETE", urls[2])
            with pytest.raises(Refusal):
                await outsider.connect(urls[2])
            metrics = (await outsider.get("/metrics")).body.decode()
            service.stop()
            service.start()
            await outsider.get(urls[1])
            service.stop()
    for url in urls:
        token = url.rpartition("/")[2]
        assert token not in service.output()
        assert token not in metrics
        kept = [path for path in service.folder.rglob("*") if path.is_file()]
        assert not [path for path in kept if token in str(path) or token.encode() in path.read_bytes()]
