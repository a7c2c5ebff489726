"""Faults for real: system calls that fail or hang in the running service, disks that fill, links that go dark."""

import contextlib
import ctypes
import hashlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.outsider import STAGING, Outsider, eventually
from tests.support.service import Service

_SO_ATTACH_FILTER = 26  # socket(7); Python has no name for it

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
needs_faketime = pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")


# --- system calls ------------------------------------------------------------------------------------


class Fault:
    """System calls of a running service that fail or hang for the length of a `with` block."""

    def __init__(self, log: Path) -> None:
        self._log = log

    @property
    def strikes(self) -> int:
        """How many calls were tampered with so far."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return sum("(INJECTED)" in line or "(DELAYED)" in line for line in lines)

    async def struck(self, times: int = 1) -> None:
        """Wait until so many calls were."""
        await eventually(_answer(lambda: self.strikes >= times))


def _answer(question: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def answer() -> bool:
        return question()

    return answer


@contextlib.contextmanager
def fault(service: Service, *injections: str, path: Path | None = None) -> Iterator[Fault]:
    """Tamper with system calls of all the service's threads; the injections are in strace's own words.

    `"fdatasync:error=EIO"`, say; with `path` only those calls that are about this file or folder, by its
    name or by a descriptor. Counts (`when=`) are strace's: for each thread its own.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "strace"
        log.touch()
        calls = ",".join(injection.partition(":")[0] for injection in injections)
        words = ["strace", "-f", "-p", str(service.pid), "-o", str(log), "-e", f"trace={calls}"]
        if path is not None:
            words += ["-P", str(path)]
        for injection in injections:
            words += ["-e", f"inject={injection}"]
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as strace:
            assert strace.stderr is not None
            try:
                said = strace.stderr.readline()
                if "Operation not permitted" in said:
                    pytest.skip("strace may not attach to a process here")
                assert "attached" in said, said
                yield Fault(log)
            finally:
                _let_go(strace)


def _let_go(strace: subprocess.Popen[str]) -> None:
    """Where it hangs itself, over a service that has ended while a call was held up, it is killed."""
    strace.send_signal(signal.SIGINT)
    try:
        strace.communicate(timeout=3)
    except subprocess.TimeoutExpired:
        strace.kill()


async def ended(service: Service, deadline: float) -> None:
    """Wait until the service has called for its end; whoever traces its threads may still hold them."""
    state = Path(f"/proc/{service.pid}/stat")
    await eventually(_answer(lambda: state.read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"), deadline)


def hung(call: str, seconds: float = 60) -> str:
    """The injection of a system call that does its work and then does not return for so long."""
    return f"{call}:delay_exit={int(seconds * 1e6)}"


# --- disks -------------------------------------------------------------------------------------------


def on_a_disk_of(size: str, folder: Path) -> Sequence[str]:
    """Words before a command: it sees a fresh disk (a tmpfs) of this size mounted on `folder`."""
    return mounted(f'mount -t tmpfs -o size={size} tmpfs "$0"', folder)


def mounted(script: str, folder: Path) -> Sequence[str]:
    """Words before a command: it runs where this script, whose $0 is `folder`, has mounted something."""
    words = ["unshare", "-rm"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("there are no user namespaces here")
    return [*words, "sh", "-c", f'{script} && exec "$@"', str(folder)]


def inside(service: Service, path: Path) -> Path:
    """A path as the service's process sees it, with what is mounted there."""
    return Path(f"/proc/{service.pid}/root") / path.relative_to("/")


def staged(outsider: Outsider, url: str, kind: str) -> Path:
    """A file in staging that belongs to an upload: its `part`, its manifest (`upload`), its `receipt`."""
    at, _, token = url.rpartition("/")
    key = hashlib.sha256(token.encode()).hexdigest()
    return outsider.directory(at) / STAGING / f"{key}.{kind}"


# --- links -------------------------------------------------------------------------------------------


def black_hole(end: socket.socket) -> None:
    """From here on every packet to this end of a connection is dropped before TCP sees it: no byte, no
    acknowledgement, no FIN. As long as this end sends nothing either, the other sees a link gone dark.
    """
    drop_all = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))  # return; keep 0 bytes
    end.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(drop_all)))


# --- clocks ------------------------------------------------------------------------------------------


def _remove_what_the_killed_left() -> None:
    """faketime names its shared memory after a process: one that was killed leaves it to the next of its number."""
    for path in Path("/dev/shm").glob("*faketime_s*_*"):
        if not Path("/proc", path.name.rpartition("_")[2]).exists():
            path.unlink(missing_ok=True)


class Clock:
    """The wall clock of a service that is started with its `environment`; clocks that cannot jump are left alone."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.jump("+0")
        _remove_what_the_killed_left()
        shown = subprocess.run(
            ["faketime", "-m", "--exclude-monotonic", "-f", "+0", "env"],
            capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
        library = next(line for line in shown.stdout.splitlines() if line.startswith("LD_PRELOAD="))
        self.environment = {
            "LD_PRELOAD": library.partition("=")[2],
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }

    def jump(self, offset: str) -> None:
        """From now on it is ahead of the true time by this, `"+2d"` or `"-2d"`, whatever it was before."""
        new = self._file.with_suffix(".new")
        new.write_text(offset, encoding="ascii")
        new.replace(self._file)
