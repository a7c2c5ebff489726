"""strace(1) on the real service: what it asks of the disk, call by call, and death at any one of them."""

import contextlib
import functools
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CALLS: Final = (
    "write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,syncfs,sync_file_range,truncate,ftruncate,"
    "rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat"
)
"""All by which the service changes what a disk holds, but for opening a file: the write to it comes next."""

_LINE: Final = re.compile(r"(?P<thread>\d+) +(?P<call>\w+)\((?P<words>.*?)(?P<end> <unfinished \.\.\.>|\) += .*)?$")
_PATH: Final = re.compile(r'<(?P<folder>/[^>]*)>(?:, "(?P<name>[^"/][^"]*)")?|"(?P<path>/[^"]*)"')
_FLAVOUR: Final = re.compile(r"at2?$|64$|v2?$")  # which of its kin a call is makes no difference to a file
_KEY: Final = re.compile(r"[0-9a-f]{64}")
_MARK: Final = "attached"


@dataclass(frozen=True, slots=True)
class Step:
    """A call on a file below the directory that was watched; keys of uploads are written KEY.

    `number` counts the calls of this name in its thread, from the moment that strace came: its injections do too.
    """

    call: str
    places: tuple[str, ...]
    number: int
    failed: bool

    def __str__(self) -> str:
        return f"{_FLAVOUR.sub('', self.call)} {' '.join(self.places)}"

    @property
    def death(self) -> str:
        """The injection that kills the process instead of this call."""
        return f"{self.call}:signal=KILL:when={self.number}"


def steps(log: Path, directory: Path) -> list[Step]:
    """The calls in a log that were on files below the directory, in the order in which they were made."""
    found = []
    counts: Counter[tuple[str, str]] = Counter()
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        thread, call = match["thread"], match["call"]
        counts[thread, call] += 1
        places = tuple(_places(call, match["words"], directory))
        if places:
            failed = ") = -1 " in line
            found.append(Step(call, places, counts[thread, call], failed))
    return found


def _places(call: str, words: str, directory: Path) -> Iterator[str]:
    """The files that a call is on: a descriptor's, a path, or a name in a descriptor's folder."""
    for match in _PATH.finditer(words):
        named = match["name"] if call.endswith(("at", "at2")) else None
        path = Path(match["path"] or match["folder"]) / (named or "")
        if path.is_relative_to(directory):
            yield _KEY.sub("KEY", str(path.relative_to(directory)))


class Tracer:
    """strace on all threads of a running process, for the length of the block. `log` is what it wrote.

    `inject` is what follows `-e inject=`; without it nothing is harmed. With it the process dies in the block, or
    the block calls `spare`: strace hangs if it is told to let go of what is just dying.
    """

    def __init__(self, pid: int, log: Path, inject: str = "") -> None:
        self.log = log
        self.deadly = bool(inject)
        self._words = [*words(log, inject), "-p", str(pid)]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Tracer":
        self._process = subprocess.Popen(self._words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        said = self._process.stderr.readline()
        assert _MARK in said, said
        return self

    def spare(self) -> None:
        """It did not die: strace counts calls by thread, and which thread makes a call is chance."""
        self.deadly = False

    def __exit__(self, *_: object) -> None:
        """Let the process go, if it lives; then the log is whole."""
        assert self._process is not None
        if not self.deadly:
            self._process.terminate()
        try:
            self._process.communicate(timeout=10)
        finally:
            self._process.kill()


def words(log: Path, inject: str = "") -> list[str]:
    """The command line that writes the calls of a process, all its threads and all it starts, into a log."""
    return [
        "strace",
        "-f",
        "-y",
        "-o",
        str(log),
        "-e",
        f"trace={CALLS}",
        *(["-e", f"inject={inject}"] if inject else []),
    ]


@functools.cache
def unavailable() -> str:
    """Why it cannot be used here; empty where it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    with subprocess.Popen(["sleep", "60"]) as victim:
        try:
            with contextlib.suppress(AssertionError), Tracer(victim.pid, Path("/dev/null")):
                return ""
            return "strace may not attach to a process here"
        finally:
            victim.kill()
