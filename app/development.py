"""`jackfield serve --reload`, for development: the service in a child process, started anew when a file has changed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from types import FrameType
from typing import Any, Final

from jackfield.app.config import yamlfile

_LOOK: Final = 0.3  # seconds from one look at the files to the next
_PATIENCE: Final = 15.0  # seconds for the service to end its sockets, before it is told a second time
_WATCHED: Final = {".py", ".yaml", ".yml", ".html", ".css", ".js"}

_State = dict[Path, tuple[int, int]]  # when each file was changed, and its size


class Supervisor:
    """Serves a configuration, and anew when it, a file below its folder or a handler's module has changed.

    A service that has failed is started when something changes. SIGTERM and SIGINT end it, as they end `serve`.
    """

    def __init__(self, config: Path) -> None:
        self._config = config.absolute()
        self._child: subprocess.Popen[bytes] | None = None
        self._told = False  # to end

    def run(self) -> int:
        """Until a signal comes; the exit status is that of the service."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        while True:
            seen = _state(self._config)
            self._start()
            while not self._told and (now := _state(self._config)) == seen:
                time.sleep(_LOOK)
            if self._told:
                return self._wait()
            changed = sorted(path.name for path in {*seen, *now} if seen.get(path) != now.get(path))
            print(f"jackfield: {', '.join(changed)} changed: the service starts anew", file=sys.stderr, flush=True)
            self._end()

    def _start(self) -> None:
        words = [sys.executable, "-m", "jackfield", "serve", "--config", str(self._config)]
        # A group of its own: what a terminal sends is passed on once, since a second signal would end it at once.
        self._child = subprocess.Popen(words, process_group=0)  # noqa: S603 - our own program
        if self._told:
            self._child.terminate()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._told = True
        if self._child is not None:
            self._child.send_signal(number)

    def _end(self) -> None:
        """As SIGTERM does: sockets are closed 1012, and clients come back."""
        assert self._child is not None
        self._child.terminate()
        try:
            self._child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._child.terminate()
            self._child.wait()

    def _wait(self) -> int:
        assert self._child is not None
        status = self._child.wait()
        return status if status >= 0 else 128 - status


def _state(config: Path) -> _State:
    """All files that are watched, as they are now; a folder that the configuration names holds data, not code."""
    section = _handlers(config)
    data = {config.parent / value for options in section for value in options.values() if isinstance(value, str)}
    found: _State = {}
    for path in {config, *_files(config.parent, data), *_modules(section, config.parent)}:
        try:
            stat = path.stat()
        except OSError:
            continue
        found[path] = stat.st_mtime_ns, stat.st_size
    return found


def _handlers(config: Path) -> list[dict[str, Any]]:
    """The sections of the handlers, as far as they can be read."""
    try:
        tree = yamlfile.read(config.read_text(encoding="utf-8"), "")[0]
    except (OSError, UnicodeDecodeError):
        return []
    handlers = tree.get("handlers") if isinstance(tree, dict) else None
    return [section for section in handlers.values() if isinstance(section, dict)] if isinstance(handlers, dict) else []


def _files(folder: Path, data: set[Path]) -> Iterator[Path]:
    """Those of code below a folder; not in hidden ones, nor in virtual environments."""
    for name, folders, files in os.walk(folder):
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        folders[:] = [each for each in folders if not each.startswith((".", "__")) and Path(name, each) not in data]
        yield from (Path(name, each) for each in files if Path(each).suffix in _WATCHED)


def _modules(section: list[dict[str, Any]], folder: Path) -> Iterator[Path]:
    """The files of the modules that `use` names, wherever they are; those of their packages too."""
    for options in section:
        top = str(options.get("use", "")).partition(":")[0].partition(".")[0]
        spec = PathFinder.find_spec(top, [*sys.path, str(folder)]) if top.isidentifier() else None
        if spec is not None and spec.submodule_search_locations is not None:
            for place in spec.submodule_search_locations:
                yield from _files(Path(place), set())
        elif spec is not None and spec.origin is not None:
            yield Path(spec.origin)
