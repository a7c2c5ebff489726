"""The environment's settings: `JACKFIELD_SERVER__PORT=9000` is `server.port`, laid over the file's."""

import re
from collections.abc import Mapping
from typing import Any

from jackfield.app.config.problems import KeyPath, Place, Places, Problem
from jackfield.app.config.settings import LoggingSettings, ServerSettings
from jackfield.app.config.yamlfile import read_value

PREFIX = "JACKFIELD_"
SECTIONS = ("server", "logging", "handlers")
_PART = "__"  # between the keys of a path
_CLIENTS = "JACKFIELD_TOKEN"  # for the commands that send
_UNKNOWN = "there is no such setting"


class _NameRefusedError(ValueError):
    """The name of a variable that leads to no setting."""


def override(tree: dict[str, Any], places: Places, environ: Mapping[str, str]) -> list[Problem]:
    """Put the environment's values into the tree, and note their places. Returns what is wrong with them.

    Whether a key exists and a value fits is for the models to say; here a name must only lead to a
    setting, not to a section, and not to a handler that the file does not have.
    """
    problems = []
    for name in sorted(name for name in environ if name.startswith(PREFIX) and _PART in name):
        path = tuple(name.removeprefix(PREFIX).lower().split(_PART))
        try:
            _check(name, path, tree)
            _put(tree, places, path, read_value(environ[name]), Place(name))
        except ValueError as error:
            problems.append(Problem(str(error), path, Place(name)))
    return problems


def ignored(environ: Mapping[str, str], tree: dict[str, Any]) -> tuple[str, ...]:
    """Names without a path in them are somebody else's, as Kubernetes' `JACKFIELD_PORT`; what may have been meant."""
    names = sorted(name for name in environ if name.startswith(PREFIX) and _PART not in name and name != _CLIENTS)
    meant = ((name, _meant(name, tree)) for name in names)
    return tuple(f"{name} (did you mean {other}?)" if other else name for name, other in meant)


def _check(name: str, path: tuple[str, ...], tree: dict[str, Any]) -> None:
    handlers = tree.get("handlers")
    if name != name.upper() or path[0] not in SECTIONS:
        meant = _meant(name, tree)
        raise _NameRefusedError(f"{_UNKNOWN}; did you mean {meant}?" if meant else _UNKNOWN)
    if len(path) < (3 if path[0] == "handlers" else 2):
        raise _NameRefusedError("names a section; name one of its settings")
    if path[0] == "handlers" and not (isinstance(handlers, dict) and path[1] in handlers):
        raise _NameRefusedError("the configuration file has no such handler")


def _meant(name: str, tree: dict[str, Any]) -> str | None:
    """The variable that was meant where the `_` between two keys is not doubled; None where there is none."""
    handlers = tree.get("handlers")
    named = handlers if isinstance(handlers, dict) else {}
    flat = re.sub("_+", "_", name.removeprefix(PREFIX).lower())
    known: list[tuple[str, ...]] = [("server", key) for key in ServerSettings.model_fields]
    known += [("logging", key) for key in LoggingSettings.model_fields]
    known += [("handlers", handler, key) for handler in named for key in _rest(flat, f"handlers_{handler}_")]
    return next((PREFIX + _PART.join(path).upper() for path in known if "_".join(path) == flat), None)


def _rest(text: str, prefix: str) -> list[str]:
    return [text.removeprefix(prefix)] if text.startswith(prefix) else []


def _put(tree: dict[str, Any], places: Places, path: tuple[str, ...], value: Any, place: Place) -> None:
    section = tree
    for depth, key in enumerate(path[:-1], 1):
        if section.get(key) is None:  # `tls: null`, or a section that the file leaves out
            section[key] = {}
            places.known[path[:depth]] = place
        section = section[key]
        if not isinstance(section, dict):
            raise _NameRefusedError(_UNKNOWN)
    section[path[-1]] = value
    _move(places, path, place)


def _move(places: Places, path: KeyPath, place: Place) -> None:
    """A value that is replaced takes the places of its parts with it."""
    for inner in [known for known in places.known if known[: len(path)] == path]:
        del places.known[inner]
    places.known[path] = place
