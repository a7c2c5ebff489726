"""The pages in browsers that lack what newer ones have: a real Chromium from which it is taken away."""

import re
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import CHROMIUM, drop, page_of
from tests.support.service import Service
from tests.support.uploadpage import MEBIBYTE, batch, contents, expect_batch, expect_state, make, open_upload, stored

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
]

OLD = """
delete Promise.withResolvers;
delete Promise.try;
delete AbortSignal.any;
delete AbortSignal.timeout;
delete AbortSignal.prototype.throwIfAborted;
delete Array.prototype.at;
delete Array.prototype.toSorted;
delete Array.fromAsync;
delete Object.groupBy;
delete Map.groupBy;
"""
MISSING = {
    "what came after 2021": OLD,
    "navigator.storage": "delete Navigator.prototype.storage",
    "crypto.subtle": "Object.defineProperty(Crypto.prototype, 'subtle', { get: () => undefined })",
    "webkitGetAsEntry": "delete DataTransferItem.prototype.webkitGetAsEntry",
    "indexedDB": "Object.defineProperty(window, 'indexedDB', { get: () => undefined })",
    "localStorage": "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no') } })",
    "navigator.clipboard": "Object.defineProperty(Navigator.prototype, 'clipboard', { get: () => undefined })",
}


@pytest.mark.parametrize("missing", MISSING)
def test_files_are_stored_without(browser: Browser, service: Service, tmp_path: Path, missing: str) -> None:
    """A large file and small ones are chosen, others dropped, all are stored, and the digest is copied."""
    folder = "old " + re.sub(r"\W", "-", missing)
    files = [make(tmp_path, f"{folder} {name}.bin", size) for name, size in (("a", 9), ("b", 99), ("c", 5 * MEBIBYTE))]
    dropped = [make(tmp_path, f"{folder} {name}.bin", 999) for name in ("d", "e")]
    with page_of(browser, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.add_init_script(MISSING[missing])
        open_upload(page, f"{service.url}/upload")
        page.set_input_files("#files", files)
        expect_batch(page, "stored")
        expect_state(page, files[2].name, "stored")
        page.locator(".upload:not(.batch)").get_by_role("button", name="Copy").click()
        expect(page.locator(".upload:not(.batch)").get_by_role("button", name="Copied")).to_be_visible()
        drop(page, "#zone", dropped)
        expect(page.locator(".batch[data-state=stored]")).to_have_count(2)
        expect(batch(page).locator(".words")).to_contain_text("2 files")
    found = {name: digest for name, digest in stored(service.directory()).items() if name.startswith(f"{folder} ")}
    assert found == contents([*files, *dropped], tmp_path)


def test_the_game_is_played_without(browser: Browser, service: Service) -> None:
    """Ping and pong, and their median, need nothing that came after 2021."""
    with page_of(browser) as page:
        page.add_init_script(OLD)
        page.goto(f"{service.url}/pingpong")
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_role("status")).to_have_text("Closed: 1000 done")
        expect(page.locator("#median")).to_contain_text("ms")


def test_colours_are_there_without_light_dark(service: Service) -> None:
    """Every colour that `light-dark()` gives has a plain one before it, for browsers that do not know that function."""
    for path in ("/assets/app/style.css", "/assets/upload/page.css", "/assets/pingpong/page.css"):
        with urllib.request.urlopen(f"{service.url}{path}") as answer:
            style = answer.read().decode()
        both = dict(re.findall(r"(--[\w-]+): light-dark\((\S+), \S+\)", style))
        plain = dict(re.findall(r"(--[\w-]+): (#\w+);", style))
        assert both.items() <= plain.items(), path
