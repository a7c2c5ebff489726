"""Standard error that is closed, full or not read costs lines of the log, which are counted, and nothing else."""

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from jackfield.app import logwriter
from jackfield.app.logwriter import LineWriter
from tests.support.outsider import Outsider, content, eventually
from tests.support.service import COMMAND, PATIENCE, Service, configuration, pingpong, upload

ENDS = ("connection.closed", "request")
"""Said of a socket that has ended. The client does not wait for it, so it may come while the service stops."""


class Quiet:
    """A service whose standard error is the test's own; with `url` and `port` it is enough of one for an Outsider."""

    def __init__(self, folder: Path, log: Any, *prefix: str) -> None:
        settings = configuration(pingpong=pingpong(interval="60s"), brief=upload("/brief", expires=1))
        (folder / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        words = [*prefix, str(COMMAND), "serve", "--config", str(folder / "config.yaml")]
        self.settings = settings
        self.url, self.port = "", 0
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)

    def listens(self, line: bytes) -> None:
        """Take url and port from the first line of the log."""
        self.url = json.loads(line)["url"]
        self.port = int(self.url.rpartition(":")[2])

    def outsider(self) -> Outsider:
        """A client of it."""
        return Outsider(cast("Service", self))

    async def stopped(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, PATIENCE)


@contextmanager
def piped(folder: Path) -> Iterator[tuple[Quiet, int]]:
    """A service that listens, and the reading end of its log."""
    reading, writing = os.pipe()
    service = Quiet(folder, writing)
    os.close(writing)
    try:
        service.listens(os.read(reading, 2**16).splitlines()[0])
        yield service, reading
    finally:
        service.process.kill()
        service.process.wait()


async def lost(client: Outsider) -> float:
    """What the service says it has lost."""
    text = (await client.get("/metrics")).body.decode()
    (line,) = [line for line in text.splitlines() if line.startswith("jackfield_log_lines_lost_total ")]
    return float(line.split()[1])


async def all_is_well(client: Outsider) -> None:
    """Plain HTTP, an upload and its receipt, a socket, and what happens by itself."""
    assert (await client.get("/healthz")).status == 200
    url = await client.create()
    brief = await client.create(at="/brief")
    await client.send_whole(content(1000))
    opened = await client.connect("/pingpong")
    assert await opened.next() == "ping"
    await opened.text("other")
    assert (await opened.closed()).code == 1000
    assert (await client.ask(url))["state"] == "open"

    async def expired() -> bool:
        return (await client.get(brief)).status == 404

    await eventually(expired)


async def test_a_log_whose_reader_has_gone_loses_lines_alone(tmp_path: Path) -> None:
    """After the pipe's reader left all goes on; SIGTERM says 1012 to an open socket, and the status is 0."""
    with piped(tmp_path) as (service, reading):
        os.close(reading)
        async with service.outsider() as client:
            await all_is_well(client)
            assert await lost(client) > 5
            opened = await client.connect("/pingpong")
            assert await opened.next() == "ping"
            service.process.send_signal(signal.SIGTERM)
            assert (await opened.closed()).code == 1012
            await opened.close(1012)
        assert await asyncio.to_thread(service.process.wait, PATIENCE) == 0


async def test_a_log_that_may_not_grow_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    """Lines are lost while the log's file is as long as it may be; when it was emptied whole lines come again."""
    log = tmp_path / "log"
    with log.open("ab") as file:
        service = Quiet(tmp_path, file, "bash", "-c", 'ulimit -f 16; exec "$@"', "bash")
    try:

        async def said() -> bool:
            return b"listening" in log.read_bytes()

        await eventually(said, PATIENCE)
        service.listens(log.read_bytes().splitlines()[0])
        async with service.outsider() as client:
            await all_is_well(client)
            while not await lost(client):
                await client.get("/index")
            await all_is_well(client)
            os.truncate(log, 0)
            await client.get("/after")

            async def told() -> bool:
                return b"/after" in log.read_bytes()

            await eventually(told)
        assert await service.stopped() == 0
        _, *lines = log.read_bytes().splitlines()  # the first may be the rest of one
        said_last = [json.loads(line)["event"] for line in lines]
        assert said_last[-1] == "stopped"
        assert [event for event in said_last if event not in ENDS][-2:] == ["draining", "stopped"]
    finally:
        service.process.kill()
        service.process.wait()


async def test_a_log_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    """Far more lines than the pipe takes are written while nobody reads: all is answered, and later all can be read."""
    with piped(tmp_path) as (service, reading):
        async with service.outsider() as client:
            for _ in range(700):
                assert (await client.get("/index")).status == 200
            assert await lost(client) == 0
            await all_is_well(client)
        with os.fdopen(reading, "rb") as log:
            read = threading.Thread(target=lambda: lines.extend(log))
            lines: list[bytes] = []
            read.start()
            assert await service.stopped() == 0
            await asyncio.to_thread(read.join)
        paths = [json.loads(line).get("path") for line in lines]
        assert paths.count("/index") == 700


async def test_a_log_that_is_never_read_again_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """SIGTERM with a pipe that is full: the drain ends as ever, and the last lines are waited for only a little."""
    with piped(tmp_path) as (service, reading):
        async with service.outsider() as client:
            for _ in range(700):
                assert (await client.get("/index")).status == 200
            assert await service.stopped() == 0
        os.close(reading)


async def test_standard_error_may_be_closed_from_the_beginning(tmp_path: Path) -> None:
    """`2>&-`: the descriptor's number may be anything else then, and nothing is written to it."""
    service = Quiet(tmp_path, subprocess.DEVNULL, "bash", "-c", 'exec "$@" 2>&-', "bash")
    try:
        await eventually(lambda: _port_of(service), PATIENCE)
        async with service.outsider() as client:
            await all_is_well(client)
            assert await lost(client) > 5
        assert await service.stopped() == 0
    finally:
        service.process.kill()
        service.process.wait()


async def _port_of(service: Quiet) -> bool:
    """Find the port at which the process listens."""
    try:
        links = [os.readlink(each) for each in Path(f"/proc/{service.process.pid}/fd").iterdir()]
    except OSError:
        return False
    for line in Path(f"/proc/{service.process.pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in links:
            service.port = int(fields[1].partition(":")[2], 16)
            service.url = f"http://127.0.0.1:{service.port}"
    return service.port > 0


def test_the_line_that_says_why_it_cannot_start_has_its_status(tmp_path: Path) -> None:
    """With nobody to read it the status is still 1, and not that of a command whose output has been read enough of."""
    (tmp_path / "file").touch()
    settings = configuration(upload=upload(directory="file"))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    reading, writing = os.pipe()
    os.close(reading)
    words = [COMMAND, "serve", "--config", tmp_path / "config.yaml"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stderr=writing, timeout=PATIENCE, check=False)
    os.close(writing)
    assert done.returncode == 1


# -- the writer


def test_what_does_not_fit_is_lost_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue is bounded in bytes: lines that find it full are lost; those in it come in order once they are read."""
    monkeypatch.setattr(logwriter, "QUEUED", 200_000)
    reading, writing = os.pipe()
    writer = LineWriter(writing)
    begun = time.monotonic()
    for number in range(10_000):
        writer.write(f"{number:>99}")
    assert time.monotonic() - begun < PATIENCE
    assert 0 < writer.lost < 10_000
    assert not writer.flush(0)
    kept = 10_000 - writer.lost
    with os.fdopen(reading, "rb") as log:
        numbers = [int(log.readline()) for _ in range(kept)]
    assert numbers == sorted(numbers)
    assert writer.flush(PATIENCE)
    os.close(writing)


def test_a_torn_line_is_ended_before_the_next(tmp_path: Path) -> None:
    """A disk that took half a line and then no more: the next whole line stands by itself."""
    script = f"""
import os, resource, signal
from jackfield.app.logwriter import LineWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50, resource.RLIM_INFINITY))
writer = LineWriter(os.open({str(tmp_path / "log")!r}, os.O_CREAT | os.O_APPEND | os.O_WRONLY))
writer.write("a" * 99); writer.flush(9)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
writer.write("b" * 9); writer.flush(9)
assert writer.lost == 1
"""
    subprocess.run([str(COMMAND.with_name("python")), "-c", script], check=True, timeout=PATIENCE)
    assert (tmp_path / "log").read_text(encoding="ascii") == "a" * 50 + "\n" + "b" * 9 + "\n"


def test_a_line_that_cannot_be_made_is_lost() -> None:
    """A value whose `repr` fails, a text that is none, a format that does not fit: whoever logs does not notice."""
    script = """
import logging, structlog
from jackfield.app import logs
from jackfield.app.logwriter import STANDARD_ERROR
class Bad:
    def __repr__(self): raise RuntimeError("no words")
logs.configure("info", "json")
log = structlog.get_logger()
log.info("bad", value=Bad()); log.info("half \\udc80")
logging.getLogger("x").error("%d", "text")
log.info("good")
STANDARD_ERROR.flush(9)
print(STANDARD_ERROR.lost)
"""
    words = [str(COMMAND.with_name("python")), "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout == "2\n"
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["half \udc80", "good"]
