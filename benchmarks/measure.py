"""One run of an upload: start a server afresh, send, wait for its word, and look at what is stored."""

import hashlib
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contenders import Contender
from benchmarks.load import Transfer
from benchmarks.memory import Reserve, settle
from benchmarks.payload import GIB, MIB, Payload
from benchmarks.processes import Server, Usage

Sample = dict[str, float]
"""What one run came to: the value of each metric."""

RATE = "GiB/s"
CPU = "CPU s/GiB"
USER = "user s/GiB"
SYSTEM = "system s/GiB"
PEAK = "peak MiB"
SECONDS = "seconds"


class Crowd:
    """Transfers that begin at one moment, each in a thread of its own; sending releases the interpreter's lock."""

    def __init__(self, transfers: Sequence[Transfer], reserve: Reserve) -> None:
        self._transfers = transfers
        self._reserve = reserve
        self._lock = threading.Lock()
        self._sent = 0
        self._errors: list[BaseException] = []

    def run(self) -> None:
        """Until every server's word is there. Raises what went wrong first."""
        self._reserve.release(0)
        threads = [threading.Thread(target=self._send, args=[transfer]) for transfer in self._transfers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _send(self, transfer: Transfer) -> None:
        try:
            transfer.send(self._progress)
        except Exception as error:
            self._errors.append(error)

    def _progress(self, sent: int) -> None:
        with self._lock:
            self._sent += sent
            self._reserve.release(self._sent)


def measure_upload(contender: Contender, folder: Path, reserve: Reserve, payload: Payload, streams: int = 1) -> Sample:
    """Send the payload over so many streams at once; raises AssertionError where a stored digest is wrong."""
    folder.mkdir(parents=True)
    try:
        with contender.serving(folder) as server:
            transfers = [contender.transfer(server.port, f"{number}.bin", payload) for number in range(streams)]
            for transfer in transfers:
                transfer.open()
            reserve.hold(payload.size * streams)
            seconds, usage, peak = _run(server, transfers, reserve)
            for transfer in transfers:
                transfer.close()
        for transfer in transfers:
            check(folder / "files" / transfer.stored, payload)
    finally:
        shutil.rmtree(folder)
        reserve.hold(payload.size * streams)
    gibs = payload.size * streams / GIB
    return {
        RATE: gibs / seconds, CPU: usage.total / gibs, USER: usage.user / gibs, SYSTEM: usage.system / gibs,
        PEAK: peak / MIB, SECONDS: seconds,
    }  # fmt: skip


def _run(server: Server, transfers: Sequence[Transfer], reserve: Reserve) -> tuple[float, Usage, int]:
    settle()
    before = server.usage()
    begun = time.perf_counter()
    Crowd(transfers, reserve).run()
    seconds = time.perf_counter() - begun
    return seconds, server.usage() - before, server.peak_memory()


def check(path: Path, payload: Payload) -> None:
    """What is stored must be what was sent, in every run of every server."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    assert digest == payload.sha256, f"{path.name} is stored wrong"
