"""The plan of the project: which module may import which. docs/architecture.md draws the same arrows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.structure import ARROWS

ROOT = Path(__file__).parents[1]
UPLOAD = "jackfield.handlers.upload"
SEAM = {"jackfield.app.handler", "jackfield.app.errors", "jackfield.app.credentials", "jackfield.app.config.load"}
IMPURE = {"aiofiles", "aiohttp", "asyncio", "concurrent", "os", "pathlib", "structlog", "threading", "time"}


def sources(*tops: str) -> dict[str, Path]:
    """The modules below these folders, sub-folders too, by the names under which they are imported."""
    found = {}
    for path in (path for top in tops for path in (ROOT / top).rglob("*.py")):
        place = path.relative_to(ROOT).with_suffix("")
        if not re.search(r"(^|/)(\.|node_modules|__pycache__)", str(place)):
            found["jackfield." + ".".join(place.parts).removesuffix(".__init__")] = path
    return found


def imported(path: Path) -> Iterator[str]:
    """Every module of which it imports something, wherever in the file; of `from package import module` the module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = "." * node.level + (node.module or "")
            modules = {f"{package}.{alias.name}" for alias in node.names} & KNOWN.keys()
            yield from modules or {package}


KNOWN = sources("app", "handlers")
PURE = {name for name, path in KNOWN.items() if "Pure" in (ast.get_docstring(ast.parse(path.read_bytes())) or "")}
"""Modules that say so in their docstrings."""


def ours(module: str) -> bool:
    """Whether it is part of this project; a relative name would be, and the folders' own names are never right."""
    return module.partition(".")[0] in ("jackfield", "app", "handlers", "tests", "")


def test_the_service_knows_no_handler() -> None:
    """`app` imports of this project only `app`: the registry imports handlers by the name in the YAML."""
    found = {name: [module for module in imported(path) if ours(module)] for name, path in sources("app").items()}
    assert len(found) > 10
    strange = {(name, module) for name in found for module in found[name]}
    assert not {pair for pair in strange if not f"{pair[1]}.".startswith("jackfield.app.")}


EXTENSIBLE = {
    f"jackfield.handlers.{name.split('.')[2]}"
    for name, path in sources("handlers").items()
    if re.search(r"^    extensible = True$", path.read_text(encoding="utf-8"), re.MULTILINE)
}
"""Handlers that may be subclassed: their packages' public names."""


def strangers(path: Path, own: str) -> set[str]:
    """What a module of the handler `own` imports and should not."""
    known = {module for module in imported(path) if ours(module)} - SEAM - EXTENSIBLE
    return {module for module in known if not f"{module}.".startswith(f"{own}.")}


def test_a_handler_knows_the_seam_and_itself() -> None:
    """Neither the rest of `app` nor another handler."""
    for name, path in sources("handlers").items():
        assert not strangers(path, ".".join(name.split(".")[:3])), name


def test_a_handler_may_know_one_that_may_be_subclassed(tmp_path: Path) -> None:
    """By its public names alone; and no other."""
    assert {UPLOAD} == EXTENSIBLE
    path = tmp_path / "inbox.py"
    own = "jackfield.handlers.inbox"
    path.write_text(f"from {UPLOAD} import Arrival, Upload\nfrom jackfield.app.errors import Failure", encoding="utf-8")
    assert not strangers(path, own)
    wrong = {f"{UPLOAD}.handler", "jackfield.handlers.pingpong", "jackfield.app.dispatcher"}
    path.write_text("\n".join(f"import {module}" for module in sorted(wrong)), encoding="utf-8")
    assert strangers(path, own) == wrong


@pytest.mark.parametrize("part", ARROWS)
def test_the_arrows_between_the_parts_of_the_upload_handler(part: str) -> None:
    """Each part imports what is below it and nothing else."""
    found = {name: path for name, path in KNOWN.items() if f"{name}.".startswith(f"{UPLOAD}.{part}.")}
    assert found
    for name, path in found.items():
        own = {module.split(".")[3] for module in imported(path) if module.startswith(f"{UPLOAD}.")}
        assert own - {part} <= ARROWS[part], name


def test_every_part_of_the_upload_handler_has_its_arrows() -> None:
    """No folder or module is left out above."""
    parts = {name.split(".")[3] for name in KNOWN if name.startswith(f"{UPLOAD}.")}
    assert parts == ARROWS.keys()


def test_no_module_imports_itself_by_a_detour() -> None:
    """There is no circle."""
    arrows = {name: {module for module in imported(path) if module in KNOWN} for name, path in KNOWN.items()}
    while leaves := {name for name, targets in arrows.items() if not targets & arrows.keys() - {name}}:
        arrows = {name: targets for name, targets in arrows.items() if name not in leaves}
    assert not arrows


def test_what_is_pure_stays_pure() -> None:
    """No loop, no clock, no file and no log there; and of our own nothing that is not pure. All of `wire` is."""
    assert {name for name in KNOWN if name.startswith(f"{UPLOAD}.wire.")} <= PURE
    for name in PURE:
        modules = set(imported(KNOWN[name]))
        assert not {module for module in modules if module.partition(".")[0] in IMPURE}, name
        assert not {module for module in modules if ours(module)} - PURE, name
