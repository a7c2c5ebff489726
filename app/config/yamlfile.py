"""YAML without surprises: the core schema of YAML 1.2, no duplicate keys, and the line of every value.

PyYAML reads YAML 1.1, where `no` is false, `010` is eight and `12:30` is 750, and of two equal keys it
silently keeps the last. A configuration should mean what it says, so the values are made here, from the
nodes that PyYAML composes.
"""

import re
from collections.abc import Callable
from typing import Any

import yaml

from jackfield.app.config.problems import KeyPath, Place, Places, Problem

_TAG = "tag:yaml.org,2002:"
_CORE: list[tuple[str, str, Callable[[str], Any]]] = [
    ("null", r"~|null|Null|NULL|", lambda text: None),
    ("bool", r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,30})", int),
    ("float", r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", float),
]
_SCALARS: dict[str, Callable[[str], Any]] = {_TAG + name: make for name, _, make in _CORE}
_SCALARS[_TAG + "str"] = str


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - PyYAML's own way to replace its table


class _Dumper(yaml.SafeDumper):
    """Quotes what either YAML would take for something else than text."""


for _name, _pattern, _ in _CORE:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern})\Z"), None)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Line ends and other odd characters are escaped; PyYAML leaves U+0085 as it is, and loses it."""
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar(_TAG + "str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def read(text: str, source: str) -> tuple[Any, Places, list[Problem]]:
    """The value of a YAML text (None when it is empty), where each part stands, and what is wrong with it.

    After an error of syntax there is no value, and nothing else can be found.
    """
    reader = _Reader(source)
    try:
        node = _Loader(text).get_single_node()
        return (None if node is None else reader.value(node, ())), reader.places, reader.problems
    except yaml.reader.ReaderError as error:
        place = Place(source, text.count("\n", 0, error.position) + 1)
        return None, reader.places, [Problem("is not YAML: a character that may not stand in it", (), place)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(source, mark.line + 1 if mark else None)
        return None, reader.places, [Problem(f"is not YAML: {error.problem or error.context}", (), place)]
    except RecursionError:
        return None, reader.places, [Problem("is nested too deeply, or contains itself", (), Place(source))]


def read_value(text: str) -> Any:
    """What a single value means when it stands alone, as in an environment variable.

    A list, a mapping or a quoted text is YAML; anything else is one plain value whatever characters it
    has, so that `::` is an address and `/srv/a: b #1` a path. Raises ValueError.
    """
    if not text.startswith(("[", "{", '"', "'")):
        return next((make(text) for _, pattern, make in _CORE if re.fullmatch(pattern, text)), text)
    value, _, problems = read(text, "")
    if problems:
        raise ValueError(problems[0].message)
    return value


def write(value: Any) -> str:
    """YAML that reads back as the same value; keys stay in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False)


class _Reader:
    """Makes values from nodes, noting where each stands."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.places = Places({(): Place(source, 1)})
        self.problems: list[Problem] = []

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        """The value of a node. Raises RecursionError where it contains itself."""
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return self._sequence(node, path)
        try:
            return _SCALARS[node.tag](node.value)
        except (KeyError, ValueError):
            return self._wrong(node, path, f"cannot be read as {node.tag.replace(_TAG, '!!')}")

    def _sequence(self, node: yaml.SequenceNode, path: KeyPath) -> list[Any]:
        for index, item in enumerate(node.value):
            self.places.known[*path, index] = self._place(item)
        return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != _TAG + "str":
                self._wrong(key, path, "a key must be text")
            elif key.value in result:
                first = self.places.known[*path, key.value].line
                self._wrong(key, (*path, key.value), f"duplicate key, first in line {first}")
            else:
                self.places.known[*path, key.value] = self._place(key)
                result[key.value] = self.value(value, (*path, key.value))
        return result

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.source, node.start_mark.line + 1)

    def _wrong(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(message, path, self._place(node)))
