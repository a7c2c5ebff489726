"""The rows of whole files and commands: many small ones, one by a command, and a start with many receipts."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final
from unittest import mock

from benchmarks.bench import OURS, Bench
from benchmarks.contenders import COMMAND, NGINX, TUS_NODE, Contender, jackfield
from benchmarks.measure import CPU, PEAK, SECONDS, Sample, check
from benchmarks.memory import settle
from benchmarks.payload import GIB, MIB
from benchmarks.processes import Server
from benchmarks.rows import Entry, Goal, Row
from benchmarks.small import AT_ONCE, SIZE, Client, Conversation, Requests, SmallFile, ask_put, ask_tus, floor, send
from benchmarks.small import small_files as made_files
from benchmarks.wire import Link
from jackfield.handlers.upload.store.staging import Staging
from jackfield.handlers.upload.wire.messages import Receipt

FILES: Final = "files/s"
EACH: Final = "CPU ms each"
COMMAND_CPU: Final = "command's CPU s/GiB"


def small_files(bench: Bench) -> Row:
    """Each file on stable storage before its receipt; the peers sync nothing.

    No file is removed before the row is over: ext4 passes by inodes that were freed a moment ago, so whoever runs
    next would pay, for each new file, for the deletions of the one before.
    """
    files = made_files(bench.scale.files)
    disk = f"the disk's floor, {AT_ONCE} threads"
    clients: dict[Contender, Callable[[int, Sequence[SmallFile]], Client]] = {
        jackfield(): Conversation, TUS_NODE: partial(Requests, ask=ask_tus), NGINX: partial(Requests, ask=ask_put),
    }  # fmt: skip

    def entry(contender: Contender) -> Entry:
        def run() -> Sample:
            with contender.serving(bench.folder()) as server:
                client = clients[contender](server.port, files)
                bench.reserve.hold(len(files) * SIZE)
                settle()
                bench.reserve.release(len(files) * SIZE)
                seconds, cpu = send(server, files, client)
                return {FILES: len(files) / seconds, EACH: cpu / len(files) * 1e3, PEAK: server.peak_memory() / MIB}

        return Entry(bench.label(contender), run, contender.does)

    return Row(
        "small-files", f"{len(files):,} files of 4 KiB over one socket", (FILES, EACH, PEAK),
        [
            *map(entry, bench.there(*clients)),
            Entry(disk, partial(_floor, bench, files), "create, write, fsync, link, fsync of the folder"),
        ],
        [
            Goal(OURS, FILES, at_least=2, against=bench.label(TUS_NODE)),
            Goal(OURS, FILES, at_least=0.7, against=disk),
            Goal(OURS, FILES, against=bench.label(NGINX)),
        ],
        bench.scale.few_rounds, bench.left_out(TUS_NODE.needs, NGINX.needs),
    )  # fmt: skip


def _floor(bench: Bench, files: Sequence[SmallFile]) -> Sample:
    folder = bench.folder()
    settle()
    return {FILES: len(files) / floor(folder, files)}


def whole_command(bench: Bench) -> Row:
    """What a person waits for, from the return key to the prompt."""
    curl = "curl -T to nginx"

    def ours(file: Path, server: Server) -> Sequence[str | Path]:
        return [COMMAND, "upload", "--quiet", file, f"http://127.0.0.1:{server.port}/upload"]

    def theirs(file: Path, server: Server) -> Sequence[str | Path]:
        return ["curl", "--silent", "--fail", "-T", file, f"http://127.0.0.1:{server.port}/"]

    entries = [Entry("jackfield upload", partial(_command, bench, jackfield(), ours), "verifies, syncs and publishes")]
    left_out = bench.left_out("curl", NGINX.needs)
    if not left_out:
        entries.append(Entry(curl, partial(_command, bench, NGINX, theirs), NGINX.does))
    return Row(
        "whole-command", "One file of 1 GiB, the whole command", (SECONDS, COMMAND_CPU, CPU), entries,
        [Goal("jackfield upload", SECONDS, at_most=2.0, against=curl)], bench.scale.rounds, left_out,
    )  # fmt: skip


def _command(bench: Bench, contender: Contender, command: Callable[[Path, Server], Sequence[str | Path]]) -> Sample:
    payload = bench.payloads.get(bench.scale.size)
    gibs = payload.size / GIB
    with bench.serving(contender) as server:
        bench.reserve.hold(payload.size)
        settle()
        bench.reserve.release(payload.size)
        before, others = server.usage(), os.times()
        begun = time.perf_counter()
        subprocess.run(
            command(payload.body, server), check=True, stdout=subprocess.DEVNULL,
            env={**os.environ, "XDG_STATE_HOME": str(server.folder / "state")},
        )  # fmt: skip
        seconds = time.perf_counter() - begun
        usage, own = server.usage() - before, os.times()
        check(server.folder / "files" / payload.body.name, payload)
    spent = own.children_user + own.children_system - others.children_user - others.children_system
    return {SECONDS: seconds, COMMAND_CPU: spent / gibs, CPU: usage.total / gibs}


def start_up(bench: Bench) -> Row:
    """From the command to the first connection, with few and with many receipts of uploads that are kept."""
    few, many = bench.scale.receipts // 1000, bench.scale.receipts
    folders: dict[int, Path] = {}

    def entry(count: int) -> Entry:
        def run() -> Sample:
            if count not in folders:
                folders[count] = bench.folder()
                _make_receipts(folders[count] / "files", count)
            with jackfield().serving(folders[count]) as server:
                link = Link(server.port)
                link.request("GET", "/readyz", {})
                link.response(200)
                link.close()
                return {SECONDS: server.seconds_to_start, PEAK: server.peak_memory() / MIB}

        return Entry(f"{count:,} receipts", run)

    return Row(
        "start-up", f"Start-up with {few:,} and {many:,} receipts", (SECONDS, PEAK), [entry(few), entry(many)],
        [Goal(f"{many:,} receipts", SECONDS, at_most=2)], bench.scale.few_rounds,
    )  # fmt: skip


def _make_receipts(directory: Path, count: int) -> None:
    """As the service writes them, but for the syncs: nothing here has to outlive a power cut."""
    staging = Staging(directory)
    staging.open()
    with mock.patch("os.fsync"):
        for number in range(count):
            staging.save_receipt(f"{number:064x}", Receipt(f"{number}.bin", 4096, "0" * 64))
    staging.close()
    os.sync()
