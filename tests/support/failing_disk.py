"""A disk that fails on demand: the Nth call, or every one from the Nth on, or after it has been held up for a while."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jackfield.handlers.upload.store.disk import Disk, syncfs

ERRORS = (errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EDQUOT, errno.EROFS)

_NEVER = ("access", "close", "flock", "fcntl")
"""Calls that do not raise, or whose failing is told elsewhere: at the start, and in tests of writing past the cache."""
_SYNCS = ("fsync", "fdatasync", "syncfs")


class FailingDisk:
    """Stands in the place of `Disk.call`. A sync is not done, since nobody pulls the plug; where it fails, the bytes
    that were not durable before are lost, as they are when the kernel drops the pages that it could not write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []  # since it was armed
        self.struck = False  # whether a call has failed, or was held up, since then
        self._first, self._last, self._error = 0, -1, 0
        self._held: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._go_on = threading.Event()
        self._lock = threading.Lock()
        self._durable: dict[int, int] = {}  # bytes of each inode that are durable
        self._written: dict[int, str] = {}  # where each inode was that has been written since the last sync
        made = Disk.call

        def call(disk: Disk, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
            return self._call(lambda *a, **o: made(disk, function, *a, **o), function.__name__, arguments, options)

        monkeypatch.setattr(Disk, "call", call)

    def fail(self, number: int, *, on: bool, error: int) -> None:
        """The call of this number from now on fails, and with `on` all that follow."""
        self.calls.clear()
        self._first, self._last, self._error = number, 2**31 if on else number, error
        self.struck = False

    def hold(self, number: int, error: int = 0) -> asyncio.Event:
        """The call of this number waits for `go_on`, and then fails, or does its work where there is no error.

        The event is set once it waits.
        """
        self.fail(number, on=False, error=error)
        self._go_on.clear()
        self._held = asyncio.get_running_loop(), asyncio.Event()
        return self._held[1]

    def go_on(self) -> None:
        """No call waits any more."""
        self._held = None
        self._go_on.set()

    def mend(self) -> None:
        """From here on all calls do their work."""
        self._first, self._last = 0, -1
        self.go_on()

    def _call(self, function: Callable[..., Any], name: str, arguments: Any, options: Any) -> Any:
        if name not in _NEVER and self._strikes(name):
            if (held := self._held) is not None:
                held[0].call_soon_threadsafe(held[1].set)
                self._go_on.wait()
            if self._error:
                if name in _SYNCS:
                    self._lose(None if name == syncfs.__name__ else arguments[0])
                raise OSError(self._error, os.strerror(self._error))
        if name in _SYNCS:
            self._keep(None if name == syncfs.__name__ else arguments[0])
            return None
        if name in ("write", "pwritev", "sendfile"):
            self._note(arguments[0])
        return function(*arguments, **options)

    def _strikes(self, name: str) -> bool:
        with self._lock:
            self.calls.append(name)
            strikes = self._first <= len(self.calls) <= self._last
            self.struck = self.struck or strikes
            return strikes

    # -- what a sync has made durable

    def _note(self, fd: int) -> None:
        with self._lock:
            self._written[os.fstat(fd).st_ino] = os.readlink(f"/proc/self/fd/{fd}")

    def _keep(self, fd: int | None) -> None:
        with self._lock:
            for inode, path in self._of(fd):
                if Path(path).exists():
                    self._durable[inode] = Path(path).stat().st_size
                del self._written[inode]

    def _lose(self, fd: int | None) -> None:
        """Zeros stand where the bytes were, and nothing tells of it."""
        with self._lock:
            for inode, name in self._of(fd):
                path = Path(name)
                if path.exists() and path.stat().st_ino == inode:
                    found, durable = path.stat(), self._durable.get(inode, 0)
                    with path.open("r+b") as file:
                        file.seek(min(durable, found.st_size))
                        file.write(bytes(max(found.st_size - durable, 0)))
                    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))

    def _of(self, fd: int | None) -> list[tuple[int, str]]:
        inode = None if fd is None else os.fstat(fd).st_ino
        return [each for each in self._written.items() if inode in (None, each[0])]
