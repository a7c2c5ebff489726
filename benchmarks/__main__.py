"""`python -m benchmarks`: measure, print, and write down.

A run at full scale writes its rows into docs/benchmarks.*; any other writes below this folder, for nobody else.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks import machine, report, rounds
from benchmarks.bench import FULL, QUICK, Bench, Scale
from benchmarks.install import HERE
from benchmarks.memory import raise_descriptor_limit
from benchmarks.payload import MIB
from benchmarks.picture import draw
from benchmarks.report import Document
from benchmarks.rows import Row
from benchmarks.rows_files import small_files, start_up, whole_command
from benchmarks.rows_sockets import idle, neighbours, ping_alone, ping_beside
from benchmarks.rows_upload import bodies, eight_streams, framings, growth, many_streams, one_stream, patches, tls

ROWS: Final[dict[str, Callable[[Bench], Row]]] = {
    "one-stream": one_stream, "bodies": bodies, "patches": patches, "framings": framings,
    "eight-streams": eight_streams, "many-streams": many_streams,
    "growth": growth, "tls": tls, "ping-beside": ping_beside, "ping-alone": ping_alone,
    "neighbours": neighbours, "idle": idle,
    "small-files": small_files, "whole-command": whole_command, "start-up": start_up,
}  # fmt: skip

DOCS: Final = HERE.parent / "docs"
RESULTS: Final = HERE / ".results"
WORK: Final = HERE / ".work"
MEMORY: Final = Path("/dev/shm")


def parser() -> argparse.ArgumentParser:
    """The command's words."""
    words = argparse.ArgumentParser(prog="python -m benchmarks", description="Jackfield beside its peers.")
    words.add_argument("--quick", action="store_true", help="all rows within a minute, small and rough")
    words.add_argument("--only", action="append", choices=ROWS, metavar="ROW", help=f"only this row: {', '.join(ROWS)}")
    words.add_argument("--size", type=int, metavar="MIB", help="MiB in the place of each GiB")
    words.add_argument("--rounds", type=int, metavar="N", help="how often each row runs")
    words.add_argument(
        "--disk", type=Path, default=WORK, metavar="DIR", help="where servers store; on the disk to be measured"
    )
    return words


def scale(arguments: argparse.Namespace) -> Scale:
    """How much to measure."""
    found = QUICK if arguments.quick else FULL
    if arguments.size is not None:
        found = replace(found, size=arguments.size * MIB)
    if arguments.rounds is not None:
        found = replace(found, rounds=arguments.rounds, few_rounds=arguments.rounds)
    return found


def main() -> int:
    """Run the rows; the status is 1 where an entry failed, be it ours or a peer's."""
    arguments = parser().parse_args()
    raise_descriptor_limit()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that servers and folders go as well
    arguments.disk.mkdir(parents=True, exist_ok=True)
    disk = Path(tempfile.mkdtemp(dir=arguments.disk)).resolve()
    memory = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    try:
        bench = Bench(scale(arguments), disk, memory)
        return measure(bench, arguments.only or list(ROWS), machine.describe(disk))
    finally:
        shutil.rmtree(disk)
        shutil.rmtree(memory)


def measure(bench: Bench, keys: list[str], described: dict[str, str]) -> int:
    """Run these rows and write each down as soon as it is there."""
    folder = DOCS if bench.scale == FULL else RESULTS
    folder.mkdir(exist_ok=True)
    document = report.load(folder / "benchmarks.json", described)
    print(", ".join(described.values()))
    if bench.scale.size != FULL.size:
        print(f"{bench.scale.size // MIB} MiB stand in the place of each GiB; the goals are meant for whole ones")
    failed = False
    for key in keys:
        begun = time.monotonic()
        results = rounds.run(ROWS[key](bench), warm_up=bench.scale.warm_up)
        bench.clear()
        row = report.as_document(results, machine.revision())
        report.print_row(row)
        print(f"  ({time.monotonic() - begun:.0f} s)", flush=True)
        measured = {**document["rows"], key: row}
        document["rows"] = {name: measured[name] for name in ROWS if name in measured}
        write(folder, document)
        failed |= bool(results.failures)
    return int(failed)


def write(folder: Path, document: Document) -> None:
    """The JSON, the picture, and the page's figures."""
    report.save(folder / "benchmarks.json", document)
    if "one-stream" in document["rows"]:
        (folder / "benchmarks.svg").write_text(draw(document["rows"]["one-stream"]), encoding="utf-8")
    if folder == DOCS:
        report.fill(folder / "benchmarks.md", document)


if __name__ == "__main__":
    sys.exit(main())
