"""The documentation as tests read it: fenced blocks, tables, headings and links of Markdown pages."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NOTE = re.compile(r"<!-- ([^>]*) -->\n$")
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block. `note` is the HTML comment right before it, `line` where its text begins."""

    page: str
    line: int
    language: str
    text: str
    note: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def read(page: str) -> str:
    """The text of a page, by its path in the project."""
    return (PROJECT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[Block]:
    """The page's fenced blocks of one language, in order."""
    text = read(page)
    return [
        Block(
            page, text.count("\n", 0, found.start()) + 2, found[1], found[2],
            note[1] if (note := _NOTE.search(text, 0, found.start())) and note.end() == found.start() else "",
        )
        for found in _FENCE.finditer(text)
        if found[1] == language
    ]  # fmt: skip


def section(page: str, heading: str) -> str:
    """What stands below this heading, to the next one of its rank or a higher one."""
    found = re.search(rf"^(#+) {re.escape(heading)}\n", read(page), re.MULTILINE)
    assert found, f"{page} has no section {heading!r}"
    rest = read(page)[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def tables(text: str) -> list[list[list[str]]]:
    """All tables: rows of cells, without the head and the line below it. `\\|` in a cell is no border."""
    found: list[list[list[str]]] = []
    rows: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows:
            found.append(rows[2:])
            rows = []
    return found


def code_words(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", read(page))


def links(page: str) -> Iterator[str]:
    """The targets of all links, as they are written."""
    return (found[1] for found in _LINK.finditer(prose(page)))


def anchors(page: str) -> set[str]:
    """What `#…` may lead to: the headings, as GitHub turns them into anchors."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
