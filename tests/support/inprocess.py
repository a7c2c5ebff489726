"""The service inside the test: real sockets and real files, a clock that can be put forward, a death without a word."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from jackfield.app.config import build
from jackfield.app.service import HANDLERS, create_app
from jackfield.handlers.upload.handler import Upload
from tests.support.places import DirectoryPlace


class Clock:
    """The module `time`, `ahead` seconds ahead, for all that the upload handler asks of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        for name, module in list(sys.modules.items()):
            if name.startswith("jackfield.handlers.upload") and getattr(module, "time", None) is time:
                monkeypatch.setattr(module, "time", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        """See the module."""
        return time.time() + self.ahead

    def monotonic(self) -> float:
        """See the module."""
        return time.monotonic() + self.ahead

    def clock_gettime(self, clock: int) -> float:
        """See the module."""
        return time.clock_gettime(clock) + self.ahead


class InProcess:
    """An upload service on `/upload`, over as many lives as a test gives it. `port` is the newest one's."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.place = DirectoryPlace(folder / "uploads", monkeypatch)
        self.port = 0
        section = {"use": "upload", "path": "/upload", "directory": "uploads", "min_free": 0}
        tree = {"server": {"shutdown_timeout": 2}, "handlers": {"upload": {**section, **options}}}
        self._settings = build(tree, folder)
        self._runner: web.AppRunner | None = None

    @property
    def handler(self) -> Upload:
        """The handler that runs now."""
        assert self._runner is not None
        found = self._runner.app[HANDLERS]["upload"]
        assert isinstance(found, Upload)
        return found

    async def start(self) -> None:
        """A new life on the same directory."""
        self._runner = web.AppRunner(create_app(self._settings), handle_signals=False, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """As SIGTERM ends it."""
        assert self._runner is not None
        await self._runner.cleanup()

    async def kill(self) -> None:
        """As SIGKILL ends it: from here on nothing of this life touches the disk, whatever it still tries."""
        await self.place.kill(self.handler.store)
        await self.stop()
