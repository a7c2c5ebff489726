"""What all rows share: at which scale they run, where their files go, and which peers there are."""

import contextlib
import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.contenders import Contender
from benchmarks.install import missing, version
from benchmarks.measure import Sample, measure_upload
from benchmarks.memory import Reserve
from benchmarks.payload import GIB, MESSAGES, MIB, Framing, Payloads
from benchmarks.processes import Server
from benchmarks.rows import Entry

OURS: Final = "Jackfield"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is sent and how often. `size` are the bytes of what the goals call 1 GiB."""

    size: int = GIB
    rounds: int = 5
    few_rounds: int = 3  # of rows whose entries take long
    files: int = 10_000
    idle: int = 2_000  # connections
    receipts: int = 100_000
    ping_seconds: float = 4.0
    growth: int = 8
    warm_up: bool = True


FULL: Final = Scale()
QUICK: Final = Scale(64 * MIB, 1, 1, 500, 300, 2_000, 0.7, 4, warm_up=False)


class Bench:
    """One run of the whole: `disk` is an empty folder where servers store, `memory` one for what is sent."""

    def __init__(self, scale: Scale, disk: Path, memory: Path) -> None:
        self.scale = scale
        self.payloads = Payloads(memory)
        self.reserve = Reserve()
        self.memory = memory
        self._disk = disk
        self._numbers = itertools.count()

    def folder(self) -> Path:
        """A new folder's name, on the disk that is measured."""
        return self._disk / f"run-{next(self._numbers)}"

    @contextlib.contextmanager
    def serving(self, contender: Contender) -> Iterator[Server]:
        """A fresh server in a new folder, which goes with it."""
        folder = self.folder()
        folder.mkdir()
        with contender.serving(folder) as server:
            yield server
        shutil.rmtree(folder)

    def clear(self) -> None:
        """Remove what a row has left."""
        self.payloads.clear()
        for path in self._disk.iterdir():
            shutil.rmtree(path)

    def left_out(self, *names: str) -> list[str]:
        """A line for each of these that cannot be installed."""
        return [f"{name} is left out: {missing(name)}" for name in names if name and missing(name)]

    def there(self, *contenders: Contender) -> list[Contender]:
        """Those that can be measured."""
        return [contender for contender in contenders if not contender.needs or not missing(contender.needs)]

    def label(self, contender: Contender) -> str:
        """Its name, and its version where it was installed for this."""
        return f"{contender.name} {version(contender.needs)}" if contender.needs else contender.name

    def upload(
        self, contender: Contender, label: str = "", *,
        framing: Framing = MESSAGES, size: int | None = None, repeat: int = 1, streams: int = 1,
    ) -> Entry:  # fmt: skip
        """An entry that sends `repeat` times `size` bytes (the scale's, if it is not said) on each of the streams."""

        def run() -> Sample:
            payload = self.payloads.get(self.scale.size if size is None else size, framing, repeat)
            return measure_upload(contender, self.folder(), self.reserve, payload, streams)

        return Entry(label or self.label(contender), run, contender.does)
