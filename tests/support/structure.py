"""What docs/architecture.md prints of the code: `python -m tests.support.structure` writes it there anew.

A printed part of the page stands between `<!-- printed: NAME -->` and `<!-- end -->`.
"""

import ast
import re
from collections.abc import Callable
from pathlib import Path

from tests.support.documents import PROJECT

PAGE = PROJECT / "docs" / "architecture.md"
_PART = re.compile(r"(<!-- printed: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

ARROWS: dict[str, set[str]] = {
    "wire": set(),
    "tasks": set(),
    "settings": set(),
    "store": {"wire", "tasks"},
    "uploads": {"store", "wire", "tasks", "settings"},
    "sockets": {"uploads", "store", "wire", "tasks", "settings"},
    "handler": {"sockets", "uploads", "store", "wire", "tasks", "settings"},
    "client": {"wire"},
    "command": {"client", "wire"},
}
"""What each part of `handlers/upload/` may import of the others; nothing points up."""


def arrows() -> str:
    """The layers of the upload handler, as Mermaid draws them; an arrow that another path implies is left out."""
    lines = [
        f"    {part} --> {target}"
        for part, targets in ARROWS.items()
        for target in sorted(targets)
        if not any(target in ARROWS[other] for other in targets)
    ]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"])


def modules() -> str:
    """A table of all modules, each with the first sentence of its docstring."""
    rows = [f"| `{name}` | {_summary(path)} |" for name, path in _sources()]
    return "\n".join(["| module | |", "| --- | --- |", *rows])


def _sources() -> list[tuple[str, Path]]:
    found = [path for top in ("jackfield", "app", "handlers") for path in (PROJECT / top).rglob("*.py")]
    named = {str(path.relative_to(PROJECT)): path for path in found if _summary(path)}
    return sorted((name.replace("/__init__.py", "/"), path) for name, path in named.items())


def _summary(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = " ".join(docstring.partition("\n\n")[0].split())
    return re.split(r"(?<=[^.]\.) (?=[A-Z])", first)[0].replace("|", "\\|")


PARTS: dict[str, Callable[[], str]] = {"arrows": arrows, "modules": modules}


def printed(page: str) -> str:
    """The page with its printed parts as the code says them now."""
    return _PART.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}\n{found[4]}", page)


if __name__ == "__main__":
    PAGE.write_text(printed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
