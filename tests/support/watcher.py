"""Polls a target directory all the while: what is seen under a final name must be a whole file, and must stay."""

import os
import threading
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.outsider import STAGING, digest

_PAUSE = 0.002  # seconds between two looks


class Watcher:
    """Looks into `directory` from a thread of its own. `problems` tells what it should never have seen.

    A file is recognised by its name up to the first full stop, so that `a.1.bin` may be what `a.bin` may be.
    """

    def __init__(self, directory: Path) -> None:
        self.problems: list[str] = []
        self.seen: set[str] = set()
        self.looks = 0
        self._directory = directory
        self._whole: defaultdict[str, set[str]] = defaultdict(set)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def expect(self, name: str, data: bytes) -> None:
        """From now on a file of this name may be seen, with these bytes."""
        self._whole[_stem(name)].add(digest(data))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Raise AssertionError for anything it has seen and should not have."""
        assert self._thread.is_alive(), "the watcher has died"
        assert not self.problems, self.problems

    def _watch(self) -> None:
        while not self._stop.wait(_PAUSE):
            self.look()

    def look(self) -> None:
        """Look once."""
        found = set(self._names(self._directory, ""))
        self.problems += [f"{name} has vanished" for name in self.seen - found]
        for name in found - self.seen:
            self._inspect(name)
        self.seen = found
        self.looks += 1

    def _names(self, folder: Path, prefix: str) -> list[str]:
        names = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if prefix or entry.name != STAGING:
                            names += self._names(folder / entry.name, f"{prefix}{entry.name}/")
                    else:
                        names.append(prefix + entry.name)
        except FileNotFoundError:  # before the first start
            pass
        return names

    def _inspect(self, name: str) -> None:
        try:
            data = (self._directory / name).read_bytes()
        except FileNotFoundError:
            self.problems.append(f"{name} was seen for a moment")
            return
        if digest(data) not in self._whole.get(_stem(name), ()):
            self.problems.append(f"{name} was seen with {len(data)} bytes that are no whole file")


def _stem(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]
