"""Faults on demand: a disk that fails once, or a process that dies before its Nth step on the disk."""

import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Literal

import pytest

from jackfield.handlers.upload.store import group

Kind = Literal["write", "sync", "name"]

_CALLS: dict[str, Kind] = {
    "pwritev": "write", "write": "write", "ftruncate": "write", "truncate": "write", "sendfile": "write",
    "fsync": "sync", "fdatasync": "sync",
    "link": "name", "replace": "name", "rename": "name", "unlink": "name", "mkdir": "name",
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
    """The dial is asked before each call with which a handler changes something on a disk."""

    def asking(function: Callable[..., Any], kind: Kind) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if _asked_by_a_handler():
                dial.step(kind)
            return function(*arguments, **options)

        return call

    for name, kind in _CALLS.items():
        monkeypatch.setattr(os, name, asking(getattr(os, name), kind))
    monkeypatch.setattr(group, "sync_file_system", asking(group.sync_file_system, "sync"))


def _asked_by_a_handler() -> bool:
    """Whether it is not the test itself, nor pytest, that calls."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("jackfield.handlers."):
            return True
        frame = frame.f_back
    return False
