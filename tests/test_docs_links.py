"""The documentation hangs together: links, anchors, and the files that it names."""

import re

import pytest

from tests.support import structure
from tests.support.documents import PAGES, PROJECT, anchors, code_words, links, prose, read, tables

NAMES = [str(page.relative_to(PROJECT)) for page in PAGES]


@pytest.mark.parametrize("page", NAMES)
def test_links_lead_somewhere(page: str) -> None:
    """A relative link leads to a file of the project, and an anchor to a heading in it."""
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (PROJECT / page).parent / path if path else PROJECT / page
        assert target.exists(), f"{page} links to {link}"
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(PROJECT))), f"{page} links to {link}"


@pytest.mark.parametrize("page", NAMES)
def test_named_files_exist(page: str) -> None:
    """What stands in backticks and looks like a path of the project is there; a pattern matches something."""
    for path in re.findall(r"`((?:app|handlers|tests|docs|benchmarks|\.ci)/[\w./*-]*)`", prose(page)):
        assert list(PROJECT.glob(path)), f"{page} names {path}"


@pytest.mark.parametrize("page", structure.PAGES)
def test_what_a_page_prints_of_the_code_is_so(page: str) -> None:
    """The table of modules, the layers and the state diagrams are those of the code; `make docs` writes them anew."""
    assert re.findall(r"<!-- printed: (\w+) -->", read(page)) == list(structure.PAGES[page])
    assert structure.printed(page, read(page)) == read(page)


def test_sections_that_the_code_names_exist() -> None:
    """Where the code points to a section of a page ("Send" in docs/protocol.md), the section is there."""
    sources = [
        path.read_text(encoding="utf-8")
        for folder in ("app", "handlers")
        for path in PROJECT.rglob(f"{folder}/**/*.py")
    ]
    named = re.findall(r'"([A-Z][\w ]+)"\)? in docs/protocol\.md|docs/protocol\.md`, "([A-Z][\w ]+)"', "".join(sources))
    headings = {max(found).lower().replace(" ", "-") for found in named}
    assert headings
    assert headings - anchors("docs/protocol.md") == set()


def test_every_page_is_linked_from_the_readme() -> None:
    """A reader of the README finds every other page from there."""
    linked = {link.partition("#")[0] for link in links("README.md")}
    assert set(NAMES) - {"README.md"} - linked == set()


def test_the_threat_model_names_tests_that_exist() -> None:
    """Each line of SECURITY.md's table has at least one, and each is there."""
    (_, threats) = tables((PROJECT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(threats) > 20
    for threat, _, named in threats:
        found = code_words(named)
        assert found, threat
        for file, _, name in (each.partition("::") for each in found):
            assert f"def {name}(" in (PROJECT / "tests" / file).read_text(encoding="utf-8"), f"{file}::{name}"
