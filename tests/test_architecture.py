"""The plan of the house: who may import whom, and how long things may be."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SEAM = {"app.handler", "app.errors", "app.testing"}
PURE = {
    "app.errors",
    "app.frames",
    *(f"handlers.upload.{name}" for name in ("messages", "names", "protocol", "records")),
}
IMPURE = {"aiofiles", "aiohttp", "asyncio", "concurrent", "os", "pathlib", "structlog", "threading", "time"}
LONGEST_FILE, LONGEST_FUNCTION = 300, 40


def files(*tops: str, kinds: tuple[str, ...] = (".py",)) -> dict[str, Path]:
    """The source files below these folders, by their names in the tree; what a tool made is not looked at."""
    found = [path for top in tops for path in (ROOT / top).rglob("*") if path.suffix in kinds]
    named = {str(path.relative_to(ROOT)): path for path in found}
    return {name: path for name, path in named.items() if not re.search(r"(^|/)(\.|node_modules|__pycache__)", name)}


def imported(path: Path) -> Iterator[str]:
    """Every module that it imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def ours(module: str) -> bool:
    """Whether it is part of this project; a relative name would be."""
    return module.partition(".")[0] in ("app", "handlers", "tests", "")


def test_the_service_knows_no_handler() -> None:
    """`app` imports of this project only `app`: the registry imports handlers by the name in the YAML."""
    found = {name: [module for module in imported(path) if ours(module)] for name, path in files("app").items()}
    assert len(found) > 10
    assert not {(name, module) for name in found for module in found[name] if not module.startswith("app")}


def test_a_handler_knows_the_seam_and_itself() -> None:
    """Neither the rest of `app` nor another handler."""
    for name, path in files("handlers").items():
        own = ".".join(name.split("/")[:2]).removesuffix(".py")
        strange = {module for module in imported(path) if ours(module) and module not in SEAM}
        assert not {module for module in strange if not f"{module}.".startswith(f"{own}.")}, name


def test_what_is_pure_stays_pure() -> None:
    """No loop, no clock, no file and no log in the vocabulary, the frames, the messages, the names, the records, the
    protocol; and of our own nothing that is not pure as well."""
    for name in PURE:
        modules = set(imported(ROOT / f"{name.replace('.', '/')}.py"))
        assert not {module for module in modules if module.partition(".")[0] in IMPURE}, name
        assert not {module for module in modules if ours(module)} - PURE, name


def test_nothing_is_too_long_to_be_read() -> None:
    """No file over 300 lines, and no function over 40, but where a comment says why: `# long: …`, behind the
    file's docstring or above the function."""
    sources = files("app", "handlers", "tests", "benchmarks", "docs", kinds=(".py", ".js", ".css", ".html"))
    texts = {name: path.read_text(encoding="utf-8") for name, path in sources.items()}
    excused = {name for name, text in texts.items() if re.match(r'"""[^"]*"""\n# long: \w', text)}
    lengths = {name: len(text.splitlines()) for name, text in texts.items() if name not in excused}
    assert not {name: length for name, length in lengths.items() if length > LONGEST_FILE}
    assert not {each for name, path in sources.items() if name.endswith(".py") for each in long_functions(path)}


def long_functions(path: Path) -> Iterator[str]:
    """Those that no comment excuses."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            above = text.splitlines()[first - 2]
            if node.end_lineno - node.lineno >= LONGEST_FUNCTION and not re.match(r"\s*# long: \w", above):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
