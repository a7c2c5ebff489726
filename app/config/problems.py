"""Errors in a configuration: every problem with its file and line, all of them in one exception."""

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

KeyPath = tuple[str | int, ...]
"""Where a value stands in the tree: ("server", "allowed_origins", 0)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written: a file and its line (from 1), or an environment variable (line None)."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; printed as `config.yaml:12: handlers.upload.max_size: expected ...`."""

    message: str
    path: KeyPath = ()
    place: Place | None = None

    def __str__(self) -> str:
        place = str(self.place) if self.place else ""
        text = ": ".join(part for part in (place, dotted(self.path), self.message) if part)
        return " ".join(text.splitlines())


class ConfigError(Exception):
    """A configuration that cannot be used. `str()` is one line a problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=_order)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(slots=True)
class Places:
    """Where each value of the tree was written; what was not written stands where its section does."""

    known: dict[KeyPath, Place] = field(default_factory=dict)

    def of(self, path: KeyPath) -> Place | None:
        """The place of the value, or of the nearest section around it that was written."""
        around = (path[:length] for length in range(len(path), -1, -1))
        return next((self.known[part] for part in around if part in self.known), None)


def dotted(path: KeyPath) -> str:
    """As people write it: handlers.upload.max_size, server.allowed_origins[0]."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def kind(value: Any) -> str:
    """What a value is, in YAML's terms, short enough for a message."""
    if isinstance(value, (list, tuple)):
        return "a list"
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def from_validation(error: ValidationError, model: type[BaseModel], at: KeyPath) -> list[tuple[KeyPath, str]]:
    """What pydantic found, as paths of the whole tree and messages in our words."""
    return [((*at, *each["loc"]), _message(each, model)) for each in error.errors(include_url=False)]


_WORDS = {
    "model_type": "expected keys and values",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
}


def _message(error: Any, model: type[BaseModel]) -> str:
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "extra_forbidden":
        return unknown(str(error["loc"][-1]), model.model_fields if len(error["loc"]) == 1 else ())
    if error["type"] == "value_error":
        words = str(error["ctx"]["error"])
    else:
        words = _WORDS.get(error["type"]) or error["msg"].replace("Input should be", "expected")
    return words if isinstance(error["input"], dict) else f"{words}, got {kind(error['input'])}"


def unknown(key: str, known: Iterable[str]) -> str:
    """The message for a key that nothing knows, with the one that was probably meant."""
    near = difflib.get_close_matches(key, known, 1)
    return f"unknown key; did you mean {near[0]}?" if near else "unknown key"


def _order(problem: Problem) -> tuple[bool, str, int]:
    """By line; the environment after the file."""
    place = problem.place or Place("")
    return place.line is None, place.source, place.line or 0
