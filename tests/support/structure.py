"""What the documentation prints of the code: `python -m tests.support.structure` writes it there anew.

A printed part of the page stands between `<!-- printed: NAME -->` and `<!-- end -->`.
"""

import ast
import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from jackfield.handlers.upload.wire import many, one
from jackfield.handlers.upload.wire.messages import Creation
from tests.support.documents import PROJECT

_PART = re.compile(r"(<!-- printed: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

ARROWS: dict[str, set[str]] = {
    "wire": set(),
    "tasks": set(),
    "settings": {"wire"},
    "store": {"wire", "tasks"},
    "hooks": {"store", "wire", "tasks", "settings"},
    "uploads": {"store", "wire", "tasks", "settings"},
    "sockets": {"uploads", "store", "wire", "tasks", "settings"},
    "http": {"uploads", "store", "wire", "tasks", "settings"},
    "handler": {"hooks", "sockets", "http", "uploads", "store", "wire", "tasks", "settings"},
    "client": {"wire"},
    "command": {"client", "settings", "store", "wire"},
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


def diagram(table: Mapping[Any, tuple[Enum, Enum]], first: Enum) -> str:
    """A transition table as Mermaid draws it: what comes, what is done. States that are left by nothing are final."""
    labels: dict[tuple[Enum, Enum, Enum], list[str]] = {}
    for (state, event), (target, action) in table.items():
        labels.setdefault((state, target, action), []).append(_name(event))
    arrows = [
        f"    {state.value} --> {target.value}: {', '.join(events)} / {action.value}"
        for (state, target, action), events in labels.items()
    ]
    left = {state for state, _ in table}
    final = dict.fromkeys(target for target, _ in table.values() if target not in left)
    ends = [f"    {state.value} --> [*]" for state in final]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {first.value}", *arrows, *ends, "```"])


def _name(event: type | Enum) -> str:
    if isinstance(event, Enum):
        return str(event.value)
    return "create" if event is Creation else event.__name__.lower()


PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "docs/architecture.md": {"arrows": arrows, "modules": modules},
    "docs/protocol.md": {
        "one": lambda: diagram(one.TRANSITIONS, one.State.RECEIVING),
        "many": lambda: diagram(many.TRANSITIONS, many.State.BETWEEN),
    },
}
"""The pages and their printed parts, in order."""


def printed(page: str, text: str) -> str:
    """The text of a page with its printed parts as the code says them now."""
    return _PART.sub(lambda found: f"{found[1]}{PAGES[page][found[2]]()}\n{found[4]}", text)


if __name__ == "__main__":
    for page in PAGES:
        path = PROJECT / page
        path.write_text(printed(page, path.read_text(encoding="utf-8")), encoding="utf-8")
