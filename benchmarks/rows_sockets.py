"""The rows of sockets that carry little: how quick they are, alone and beside uploads, and what they weigh."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import OURS, Bench
from benchmarks.contenders import ECHO, NAIVE, Contender, jackfield
from benchmarks.measure import Crowd, Sample, check
from benchmarks.memory import settle
from benchmarks.neighbour import KINDS, PLACES
from benchmarks.payload import GIB, KIB, MIB
from benchmarks.processes import Server
from benchmarks.rows import Entry, Goal, Row
from benchmarks.wire import Link

RATE: Final = "round trips/s"
P50, P99, WORST = "p50 ms", "p99 ms", "max ms"
UPLOADS: Final = "uploads GiB/s"
WEIGHT: Final = "KiB each"

_PINGPONG: Final[dict[str, Any]] = {"interval": 0, "rounds": 0, "timeout": "1h"}
_PATHS: Final = {OURS: "/pingpong", NAIVE.name: "/echo", ECHO.name: "/echo"}
_WARM: Final = 100  # connections opened before memory is read: the first ones load code


class Pings:
    """A pinger in its own process, connected and waiting."""

    def __init__(self, server: Server, path: str, connections: int, pause: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.pinger", str(server.port), path, str(connections), str(pause)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent,
        )  # fmt: skip
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise ConnectionError("the pinger could not connect")

    def begin(self) -> None:
        """From now on it counts."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def end(self) -> Sample:
        """What it saw."""
        output, _ = self._process.communicate(timeout=30)
        seen = json.loads(output)
        return {RATE: seen["rate"], P50: seen["p50"] * 1e3, P99: seen["p99"] * 1e3, WORST: seen["max"] * 1e3}


def ping_alone(bench: Bench) -> Row:
    """A hundred connections that answer at once."""

    def entry(contender: Contender) -> Entry:
        def run() -> Sample:
            with bench.serving(contender) as server:
                pings = Pings(server, _PATHS[contender.name], 100, 0)
                pings.begin()
                time.sleep(bench.scale.ping_seconds)
                return pings.end()

        return Entry(contender.name, run, "ping and pong" if contender.name == OURS else "on the same loop, uvloop")

    return Row(
        "ping-alone", "Ping/pong alone, 100 connections", (RATE, P50, P99),
        [entry(jackfield(**_PINGPONG)), entry(ECHO)],
        [Goal(OURS, RATE, at_least=0.9, against=ECHO.name)], bench.scale.rounds,
    )  # fmt: skip


def ping_beside(bench: Bench) -> Row:
    """Whether a ping waits while eight uploads hold the machine; each of ten connections asks 20 times a second."""

    def entry(contender: Contender) -> Entry:
        def run() -> Sample:
            with bench.serving(contender) as server:
                return _beside(bench, contender, server)

        return Entry(contender.name, run, contender.does)

    return Row(
        "ping-beside", "Ping/pong beside eight uploads", (P50, P99, WORST, UPLOADS),
        [entry(jackfield(**_PINGPONG)), entry(NAIVE)], [Goal(OURS, P99, at_most=10)], bench.scale.rounds,
    )  # fmt: skip


def _beside(bench: Bench, contender: Contender, server: Server) -> Sample:
    payload = bench.payloads.get(max(bench.scale.size // 2, MIB))
    transfers = [contender.transfer(server.port, f"{number}.bin", payload) for number in range(8)]
    for transfer in transfers:
        transfer.open()
    pings = Pings(server, _PATHS[contender.name], 10, 0.05)
    bench.reserve.hold(8 * payload.size)
    settle()
    pings.begin()
    begun = time.perf_counter()
    Crowd(transfers, bench.reserve).run()
    seconds = time.perf_counter() - begun
    sample = pings.end()
    for transfer in transfers:
        transfer.close()
        check(server.folder / "files" / transfer.stored, payload)
    return {**sample, UPLOADS: 8 * payload.size / GIB / seconds}


def neighbours(bench: Bench) -> Row:
    """Whether a ping waits beside one socket that sends frames as small as they can be, at each place in turn."""
    alone = "nobody"

    def entry(kind: str) -> Entry:
        def run() -> Sample:
            with bench.serving(jackfield(**_PINGPONG)) as server:
                places = PLACES if kind != alone else PLACES[:1]
                samples = [_pinged_beside(server, kind, place, bench.scale.ping_seconds / 4) for place in places]
                return {metric: max(sample[metric] for sample in samples) for metric in (P50, P99, WORST)}

        return Entry(kind, run, "the worst of four places" if kind != alone else "ping and pong")

    def _pinged_beside(server: Server, kind: str, place: str, seconds: float) -> Sample:
        with contextlib.ExitStack() as stack:
            if kind != alone:
                stack.enter_context(_neighbour(server, kind, place))
            pings = Pings(server, "/pingpong", 10, 0.05)
            pings.begin()
            time.sleep(seconds)
            return pings.end()

    return Row(
        "neighbours", "The others' ping beside each kind of bad neighbour", (P50, P99, WORST),
        [entry(kind) for kind in (alone, *KINDS)],
        [goal for kind in KINDS for goal in (Goal(kind, P50, at_most=20), Goal(kind, WORST, at_most=200))],
        bench.scale.few_rounds,
    )  # fmt: skip


@contextlib.contextmanager
def _neighbour(server: Server, kind: str, place: str) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.neighbour", str(server.port), place, kind],
        stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise ConnectionError("the neighbour could not connect")
        yield
        if process.poll() is not None:
            raise ConnectionError("the neighbour could not go on")
    finally:
        process.kill()
        process.communicate()


def idle(bench: Bench) -> Row:
    """Sockets that were opened and say nothing."""

    def entry(contender: Contender) -> Entry:
        def run() -> Sample:
            with bench.serving(contender) as server:
                return {WEIGHT: _weight(server, _PATHS[contender.name], bench.scale.idle) / KIB}

        return Entry(contender.name, run, "ping and pong" if contender.name == OURS else "on the same loop, uvloop")

    return Row(
        "idle", f"{bench.scale.idle:,} idle connections", (WEIGHT,),
        [entry(jackfield(**_PINGPONG)), entry(ECHO)],
        [Goal(OURS, WEIGHT, at_most=3, beyond=ECHO.name)], bench.scale.few_rounds,
    )  # fmt: skip


def _weight(server: Server, path: str, count: int) -> float:
    """Bytes by which the server grows for each connection."""
    links = [_opened(server, path) for _ in range(_WARM)]
    time.sleep(0.2)
    before = server.memory()
    links += [_opened(server, path) for _ in range(count)]
    time.sleep(0.2)
    after = server.memory()
    for link in links:
        link.close()
    return (after - before) / count


def _opened(server: Server, path: str) -> Link:
    link = Link(server.port)
    link.upgrade(path)
    if path == "/pingpong":
        link.receive()
    return link
