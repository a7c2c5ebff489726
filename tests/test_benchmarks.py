"""The benchmark runs, judges fairly, and what the page shows is what it wrote down."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.payload import FRAGMENTS, MESSAGES, ONE_FRAME, Framing, Payloads
from benchmarks.picture import draw
from benchmarks.rows import Entry, Goal, Results, Row
from tests.support.rawsocket import mask

PROJECT = Path(__file__).parent.parent
PAGE, FIGURES, PICTURE = (PROJECT / "docs" / f"benchmarks.{kind}" for kind in ("md", "json", "svg"))


def test_a_row_runs_to_its_figures(tmp_path: Path) -> None:
    """One command starts the service, sends in every framing, reads back what is stored, and reports it."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--only", "framings", "--size", "1", "--disk", tmp_path],
        cwd=PROJECT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "131,000-byte fragments" in done.stdout
    assert "failed" not in done.stdout
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


@pytest.mark.parametrize("framing", [MESSAGES, ONE_FRAME, FRAGMENTS, Framing("tiny", 100)])
def test_prebuilt_frames_carry_the_body(tmp_path: Path, framing: Framing) -> None:
    """Unmasked and put together, the prebuilt frames are the body whose digest is compared; no key is zero."""
    payload = Payloads(tmp_path).get(300_001, framing)
    wire, place, body = payload.framed.read_bytes(), 0, b""
    while place < len(wire):
        length = wire[place + 1] & 0x7F
        wide = {126: 2, 127: 8}.get(length, 0)
        start = place + 2 + wide
        length = int.from_bytes(wire[place + 2 : start], "big") if wide else length
        key = wire[start : start + 4]
        assert any(key)
        body += mask(wire[start + 4 : start + 4 + length], key)
        place = start + 4 + length
    assert body == payload.body.read_bytes()


def _results(ours: list[float], theirs: list[float], goal: Goal) -> Results:
    row = Row("row", "Row", ["rate"], [Entry("ours", dict), Entry("theirs", dict)], [goal], len(ours))
    return Results(row, {"ours": [{"rate": one} for one in ours], "theirs": [{"rate": one} for one in theirs]})


def test_a_ratio_is_taken_within_a_round() -> None:
    """A slow spell that meets both in one round does not move their ratio."""
    goal = Goal("ours", "rate", at_least=2, against="theirs")
    judged = _results([4, 0.4, 4], [2, 0.2, 2], goal).judged(goal)
    assert judged is not None
    assert judged[0].samples == [2, 2, 2]
    assert judged[1] is True


def test_the_median_is_judged() -> None:
    """One lucky round does not meet a goal, nor does one bad one miss it."""
    goal = Goal("ours", "rate", at_most=5)
    for samples, met in (([9, 9, 1], False), ([1, 1, 9], True)):
        judged = _results(samples, [1, 1, 1], goal).judged(goal)
        assert judged is not None
        assert judged[1] is met
        assert judged[0].noisy


def test_what_was_not_measured_is_not_judged() -> None:
    """A goal against a peer that is left out says so, and is neither met nor missed."""
    goal = Goal("ours", "rate", at_least=1, against="nobody")
    document = report.as_document(_results([1], [1], goal), "revision")
    assert report.verdict(document["goals"][0]) == "not measured"


def test_the_page_shows_what_was_written_down(tmp_path: Path) -> None:
    """Figures and picture on the page are those of the JSON; nobody has edited them by hand."""
    page = PAGE.read_text(encoding="utf-8")
    if not FIGURES.exists():  # and where nothing is written down, nothing is shown
        assert page.endswith(f"{report.BEGIN}\n{report.END}\n")
        return
    document = json.loads(FIGURES.read_text(encoding="utf-8"))
    copy = shutil.copy(PAGE, tmp_path / "page.md")
    report.fill(copy, document)
    assert copy.read_text(encoding="utf-8") == page
    assert draw(document["rows"]["one-stream"]) == PICTURE.read_text(encoding="utf-8")
