"""Faults on demand: a disk that fails once, or a process that dies before its Nth step on the disk."""

import os
from collections.abc import Callable
from typing import Any, Literal

import pytest

from jackfield.handlers.upload.store.disk import Disk

Kind = Literal["write", "sync", "name"]

_CALLS: dict[str, Kind] = {
    "pwritev": "write", "write": "write", "truncate": "write", "sendfile": "write",
    "fsync": "sync", "fdatasync": "sync", "syncfs": "sync",
    "link": "name", "replace": "name", "unlink": "name", "mkdir": "name",
}  # fmt: skip


class Killed(BaseException):
    """The process is gone: no handler of exceptions in it gets a word in."""


class Dial:
    """Asked before every step on the disk."""

    def __init__(self) -> None:
        self.dead = False
        self._left: int | None = None
        self._faults: list[tuple[Kind, OSError]] = []

    def fail(self, kind: Kind, number: int) -> None:
        """The next step of this kind fails with this errno."""
        self._faults.append((kind, OSError(number, os.strerror(number))))

    def die_before(self, step: int) -> None:
        """The process dies before its Nth step from now on (from 1)."""
        self._left = step

    def revive(self) -> None:
        """There is a new process."""
        self.dead, self._left = False, None
        self._faults.clear()

    def step(self, kind: Kind) -> None:
        """Raises what was asked for."""
        if self._left is not None:
            self._left -= 1
            self.dead = self.dead or self._left <= 0
        if self.dead:
            raise Killed
        for fault in self._faults:
            if fault[0] == kind:
                self._faults.remove(fault)
                raise fault[1]


def dialled(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dial is asked before each call with which a store changes something on a disk."""
    made = Disk.call

    def call(disk: Disk, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
        kind = _CALLS.get(function.__name__)
        if kind is not None:
            dial.step(kind)
        return made(disk, function, *arguments, **options)

    monkeypatch.setattr(Disk, "call", call)
