"""The real service process as an outsider sees it: started, watched, stopped, killed, started again."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

COMMAND = Path(sys.executable).with_name("jackfield")
PATIENCE = 60.0  # seconds a start or an exit may take on a busy machine

Section = Mapping[str, Any]


def jackfield(
    *words: str | Path, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command of `jackfield` in a folder until it ends by itself."""
    return subprocess.run(
        [COMMAND, *words], cwd=folder, env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


def pingpong(path: str = "/pingpong", **options: Any) -> dict[str, Any]:
    """A section of `handlers` for ping and pong, faster than the defaults."""
    return {
        "use": "pingpong", "path": path,
        "interval": 0.05, "rounds": 3, "timeout": "10s",
    } | options  # fmt: skip


def upload(path: str = "/upload", **options: Any) -> dict[str, Any]:
    """A section of `handlers` for uploads; its folder is named after its path."""
    return {
        "use": "upload", "path": path,
        "directory": path.strip("/"), "min_free": "1MiB",
    } | options  # fmt: skip


def configuration(
    server: Section | None = None, logging: Section | None = None, **handlers: Section | None
) -> dict[str, Any]:
    """A whole configuration: ping, pong and uploads for tests, overridden section by section.

    A handler given as None is left out; one that the base has is merged into; any other is added.
    """
    sections: dict[str, dict[str, Any]] = {"pingpong": pingpong(), "upload": upload()}
    for name, options in handlers.items():
        if options is None:
            sections.pop(name, None)
        else:
            sections[name] = {**sections.get(name, {}), **options}
    return {
        "server": {"host": "127.0.0.1", "port": 0, "shutdown_timeout": "2s", **(server or {})},
        "logging": {"level": "info", "format": "json", **(logging or {})},
        "handlers": sections,
    }


class Service:
    """One service, over as many processes as a test kills. `url`, `port` and `events` tell of the newest.

    `lines` keeps what every one of them wrote to standard error.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.settings = dict(settings)
        self.prefix = list(prefix)
        self.environment = dict(environment or {})
        self.url = ""
        self.port = 0
        self.lines: list[str] = []
        self.events: list[dict[str, Any]] = []
        self._checked = 0  # lines that `assert_clean` has seen
        self._news = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """The process's id, which stays readable after its end."""
        assert self._process is not None
        return self._process.pid

    def directory(self, handler: str = "upload") -> Path:
        """Where this handler publishes."""
        return self.folder / str(self.settings["handlers"][handler]["directory"])

    def start(self) -> "Service":
        """Start the process and wait until it says `listening`. A port once chosen is kept."""
        config = self._configure()
        self.events = []
        self._process = subprocess.Popen(
            [*self.prefix, str(COMMAND), "serve", "--config", str(config)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, cwd=self.folder.parent, env={**os.environ, **self.environment},
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, args=(self._process, self.events), daemon=True)
        self._reader.start()
        self.url = str(self.wait_for("listening", PATIENCE)["url"]).rstrip("/")
        self.port = urlsplit(self.url).port or 0
        return self

    def _configure(self) -> Path:
        """Write the configuration file."""
        config = self.folder / "config.yaml"
        self.settings["server"] = {**self.settings["server"], "port": self.port}
        config.write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        return config

    def _read(self, process: subprocess.Popen[str], events: list[dict[str, Any]]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                with contextlib.suppress(ValueError):  # not an event; `assert_clean` speaks of it
                    events.append(dict(json.loads(line)))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def wait_for(self, event: str, timeout: float = 10, **fields: Any) -> dict[str, Any]:
        """The first log event of the newest process with this name and these fields."""
        ends = time.monotonic() + timeout
        with self._news:
            while True:
                for found in self.events:
                    if found.get("event") == event and fields.items() <= found.items():
                        return found
                left = ends - time.monotonic()
                gone = self._reader is not None and not self._reader.is_alive()
                if gone or left <= 0:
                    raise AssertionError(f"no event {event!r} {fields} in:\n{self.output()}")
                self._news.wait(min(left, 0.2))

    def output(self) -> str:
        """All that was written to standard error so far."""
        return "\n".join(self.lines)

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """The exit status (negative: the signal that ended it), once all of its log was read."""
        assert self._process is not None
        assert self._reader is not None
        status = self._process.wait(timeout)
        self._reader.join(timeout)
        if self._process.stderr is not None:
            self._process.stderr.close()
        return status

    @property
    def running(self) -> bool:
        """Whether a process is there."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> int:
        """SIGTERM, then the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL: nothing is said, nothing is flushed."""
        self.signal(signal.SIGKILL)
        self.wait()

    def peak_memory(self) -> int:
        """The most resident memory the process ever had, in bytes (VmHWM)."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the process is gone")

    def assert_clean(self) -> None:
        """Since it was asked last, nothing but JSON events was logged, and no traceback among them."""
        seen, self._checked = self._checked, len(self.lines)
        for line in self.lines[seen : self._checked]:
            assert "Traceback" not in line, line.replace("\\n", "\n")
            assert '"exception"' not in line, line
            assert line.startswith("{"), f"not a JSON event: {line}"


@contextlib.contextmanager
def running_service(
    folder: Path,
    *,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    **overrides: Section | None,
) -> Iterator[Service]:
    """A service on a free port for the length of the block; see `configuration` for the overrides.

    `prefix` are words before the command. At the end it must leave with 0 and a clean log; a test that
    ended it itself has seen its status.
    """
    service = Service(folder, configuration(**overrides), prefix=prefix, environment=environment)
    try:
        service.start()
        yield service
        if service.running:
            status = service.stop()
            assert status == 0, f"exit status {status}:\n{service.output()}"
        service.assert_clean()
    finally:
        if service.running:
            service.kill()
