"""A server as its own process, and what it costs, read from outside: CPU seconds and memory of its whole tree."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

START_LIMIT = 60.0  # seconds until a server must take connections
STOP_LIMIT = 20.0  # seconds that a server may take to leave before it is killed
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds, in user space and in the kernel."""

    user: float
    system: float

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(self.user - other.user, self.system - other.system)

    @property
    def total(self) -> float:
        """Both."""
        return self.user + self.system


class Server:
    """A running server: where it listens, and what it used so far."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path, seconds_to_start: float) -> None:
        self.process = process
        self.port = port
        self.folder = folder
        self.seconds_to_start = seconds_to_start

    def usage(self) -> Usage:
        """CPU seconds of the process and all its children, those that have ended included."""
        user = system = 0
        for pid in _tree(self.process.pid):
            fields = _stat(pid)
            user += int(fields[11]) + int(fields[13])
            system += int(fields[12]) + int(fields[14])
        return Usage(user / TICKS, system / TICKS)

    def peak_memory(self) -> int:
        """The most resident memory that each process of the tree ever had (VmHWM), in bytes, added up."""
        return sum(_status(pid, "VmHWM:") for pid in _tree(self.process.pid))

    def memory(self) -> int:
        """Resident memory now, in bytes, counted page by page and not estimated."""
        return sum(_rollup(pid) for pid in _tree(self.process.pid))


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the command's name; 0 is the state."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(") ")[2].split()


def _status(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0


def _rollup(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    return 0


def _tree(root: int) -> list[int]:
    """The process and all that descend from it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
    tree = [root]
    for pid in tree:
        tree += [child for child, parent in parents.items() if parent == pid]
    return tree


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: Sequence[str | Path], port: int, folder: Path) -> Iterator[Server]:
    """Start a server, wait until it takes connections, and end it after the block.

    Raises RuntimeError with the end of its log when it does not come up.
    """
    log = folder / "server.log"
    with log.open("wb") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        _wait_for(process, port, log)
        yield Server(process, port, folder, time.perf_counter() - begun)
    finally:
        _end(process)


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    ends = time.monotonic() + START_LIMIT
    while process.poll() is None and time.monotonic() < ends:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.005)
    raise RuntimeError(f"the server did not come up: {log.read_text(errors='replace')[-500:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
