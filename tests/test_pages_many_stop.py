"""Stop in the middle of many small files on the upload page, in a real Chromium against the real service."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import CHROMIUM, LOST, page_of
from tests.support.relay import relay_to
from tests.support.service import Service, running_service
from tests.support.uploadpage import batch, contents, expect_batch, failures, make, make_tree, open_upload, stored

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")


def test_stop_sends_no_more(browser: Browser, service: Service, tmp_path: Path) -> None:
    """After Stop what was sent gets its answer and what was not is left out; it can be taken up again."""
    tree = tmp_path / "many stopped"
    files = make_tree(tree, 400)
    with relay_to(service.port) as relay, page_of(browser) as page:
        open_upload(page, f"{relay.url}/upload")
        relay.hold_after(100_000)
        page.set_input_files("#folder", tree)
        expect(batch(page).locator(".words")).to_contain_text(re.compile("^[1-9].* of 400 files stored"))
        batch(page).get_by_role("button", name="Stop").click()
        expect_batch(page, "stopping")
        relay.hold_after(None)
        expect_batch(page, "cancelled")
        words = batch(page).locator(".words").inner_text()
        found = re.fullmatch(r"(\d+) of 400 files stored and verified · (\d+) not sent", words)
        assert found, words
        assert len(stored(service.directory(), tree.name)) == int(found[1]) == 400 - int(found[2]) < 400
        batch(page).get_by_role("button", name="Try again").click()
        expect_batch(page, "stored")
    assert stored(service.directory(), tree.name) == contents(files, tmp_path)


def test_stop_waits_for_no_connection(browser: Browser, service: Service, tmp_path: Path) -> None:
    """Stopped before anything was sent there is nothing to wait for."""
    files = [make(tmp_path, f"many held {at}.bin", 1000) for at in range(3)]
    with relay_to(service.port) as relay, page_of(browser, expected=LOST) as page:
        open_upload(page, f"{relay.url}/upload")
        relay.hold_after(1)
        page.set_input_files("#files", files)
        expect_batch(page, "connecting")
        batch(page).get_by_role("button", name="Stop").click()
        expect_batch(page, "cancelled")
        expect(batch(page).locator(".words")).to_have_text("0 of 3 files stored and verified · 3 not sent")


def test_stop_while_the_service_is_away_claims_nothing(browser: Browser, tmp_path: Path) -> None:
    """Stopped without a connection: what was sent and not answered may be stored, and that is said."""
    files = make_tree(tmp_path / "tree", 300)
    with (
        running_service(tmp_path) as service,
        relay_to(service.port) as relay,
        page_of(browser, expected=LOST) as page,
    ):
        open_upload(page, f"{relay.url}/upload")
        relay.hold_after(100_000)
        page.set_input_files("#folder", tmp_path / "tree")
        expect(batch(page).locator(".bar")).to_have_attribute("aria-valuenow", re.compile("^[1-9]"))
        service.kill()
        expect_batch(page, "waiting")
        batch(page).get_by_role("button", name="Stop").click()
        expect_batch(page, "failed")
        assert set(failures(page).values()) == {"unanswered"}
        words = batch(page).locator(".words").inner_text()
    count = int(words.partition(" ")[0])
    assert 0 < count <= len(stored(service.directory())) < len(files)
