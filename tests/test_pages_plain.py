"""The upload page where no WebSocket gets through: it sends by plain requests, by itself, and says so once."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import CHROMIUM, page_of
from tests.support.service import Service
from tests.support.stripping import stripping
from tests.support.uploadpage import (
    MEBIBYTE,
    contents,
    expect_batch,
    expect_state,
    make,
    make_tree,
    open_upload,
    stored,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")

EXPECTED = "WebSocket connection to .* failed|Failed to load resource"


def test_a_page_without_sockets(browser: Browser, service: Service, tmp_path: Path) -> None:
    """A large file over a proxy that takes only small requests, one answer of which is lost; then a folder."""
    file = make(tmp_path, f"plain {os.getpid()}.bin", 5 * MEBIBYTE)
    folder = f"plain-{os.getpid()}"
    files = make_tree(tmp_path / folder, 6)
    with stripping(service.url) as proxy, page_of(browser, expected=EXPECTED) as page:
        proxy.most, proxy.lost = 700_000, {3}
        open_upload(page, f"{proxy.url}/upload")
        expect(page.locator("#plain")).to_be_hidden()
        page.set_input_files("#files", file)
        expect_state(page, file.name, "stored")
        expect(page.locator("#plain")).to_be_visible()
        page.set_input_files("#folder", tmp_path / folder)
        expect_batch(page, "stored")
    assert (service.directory() / file.name).read_bytes() == file.read_bytes()
    assert stored(service.directory(), folder) == contents(files, tmp_path)
