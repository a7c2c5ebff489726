"""From `use: module:Class` to a handler, and every way that can fail."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jackfield.app import registry
from jackfield.app.registry import RegistryError
from tests.support import plugs

PLUGS = "tests.support.plugs"
HANDLER = """
from jackfield.app.handler import Handler

class Echo(Handler):
    async def serve(self, connection):
        pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a module that can be imported for this test; gives its name, which no other test has."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])

    def write(text: str) -> str:
        name = re.sub(r"\W", "_", f"{tmp_path.parent.name}_{tmp_path.name}")
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return name

    return write


def test_a_handler_is_found_by_its_module_and_class() -> None:
    """`module:Class` gives that very class."""
    assert registry.resolve(f"{PLUGS}:Echo") is plugs.Echo


@pytest.mark.parametrize(
    "use", ["", "echo", "echo:", ":Echo", "echo.Echo", "echo:Echo:x", "e cho:Echo", "./echo:Echo", "a..b:C"]
)
def test_what_does_not_name_a_class_in_a_module_is_refused(use: str) -> None:
    """The message says what was expected, with an example."""
    with pytest.raises(
        RegistryError, match=r"^(expected the name of a handler|there is no handler .* pingpong, upload)"
    ):
        registry.resolve(use)


@pytest.mark.parametrize(
    ("use", "missing"), [("nowhere:Echo", "nowhere"), ("nowhere.at.all:Echo", "nowhere"),
                         (f"{PLUGS}.deeper:Echo", f"{PLUGS}.deeper"), ("tests.nowhere:Echo", "tests.nowhere")]
)  # fmt: skip
def test_a_module_that_does_not_exist_is_named(use: str, missing: str) -> None:
    """Of a dotted name, the part that is missing."""
    with pytest.raises(RegistryError, match=f"^there is no module {re.escape(missing)}$"):
        registry.resolve(use)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import nowhere_else\n", r"ModuleNotFoundError: No module named 'nowhere_else' \(.*\.py:1\)"),
        ("\nfrom jackfield.app.handler import Nothing\n", r"ImportError: cannot import name 'Nothing' .*\.py:2\)"),
        ("class :\n", r"SyntaxError: .* \(/.*\.py:1\)$"),
        ("a = 1\n\na / 0\n", r"ZeroDivisionError: division by zero \(.*\.py:3\)"),
        ("raise SystemExit(3)\n", r"SystemExit: 3 "),
    ],
)
def test_a_module_that_fails_is_told_from_one_that_is_missing(
    module: Callable[[str], str], text: str, why: str
) -> None:
    """What its import raised is said, and in which line; it never ends the process."""
    name = module(text)
    with pytest.raises(RegistryError, match=f"^importing {name} failed: {why}"):
        registry.resolve(f"{name}:Echo")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Nobody", r"module tests\.support\.plugs \(.*plugs\.py\) has no class Nobody"),
        ("Stranger", r"Stranger in module .* \(.*plugs\.py\) is not a subclass of jackfield\.app\.handler\.Handler"),
        ("Path", "Path in .* is not a subclass of jackfield.app.handler.Handler"),
        ("Handler", "Handler has no method serve"),
        ("Silent", "Silent has no method serve"),
        ("Lax", "Lax.Options is not a subclass of jackfield.app.handler.HandlerOptions"),
        ("Greedy", "Greedy.Options may not have path or use"),
    ],
)  # fmt: skip
def test_a_class_that_cannot_serve_is_refused_before_the_first_socket(name: str, why: str) -> None:
    """The message names the file, since another module of that name may have been meant."""
    with pytest.raises(RegistryError, match=f"^{why}$"):
        registry.resolve(f"{PLUGS}:{name}")


def test_what_is_no_class_is_no_handler(module: Callable[[str], str]) -> None:
    """A function or an instance of that name does not do."""
    name = module(f"{HANDLER}\ndef build(): ...\n")
    assert registry.resolve(f"{name}:Echo").__name__ == "Echo"
    with pytest.raises(RegistryError, match="not a subclass"):
        registry.resolve(f"{name}:build")


def test_a_folder_becomes_importable_once_and_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file there with the name of a standard or installed module shadows nothing."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "json.py").write_text("raise RuntimeError\n", encoding="utf-8")
    (tmp_path / "uniquely_named_plug.py").write_text(HANDLER, encoding="utf-8")
    registry.make_importable(tmp_path)
    registry.make_importable(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1
    assert sys.path[-1] == str(tmp_path)
    assert registry.resolve("uniquely_named_plug:Echo").__module__ == "uniquely_named_plug"
    with pytest.raises(RegistryError, match=re.escape(json.__file__)):
        registry.resolve("json:Echo")
