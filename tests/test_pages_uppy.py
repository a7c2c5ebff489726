"""Uppy's Dashboard, as its users put it into their pages, in a real Chromium: a page of another site sends by tus."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import CHROMIUM, PATIENCE, page_of
from tests.support.clients import NPM, UPPY, WHY_NOT
from tests.support.relay import relay_to
from tests.support.service import running_service
from tests.support.uploadpage import MEBIBYTE, make

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
    pytest.mark.skipif(not UPPY.is_file(), reason=WHY_NOT),
]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def site() -> Iterator[str]:
    """Another site, with the page; its origin."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(NPM)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_uppy_goes_on_over_a_killed_service(browser: Browser, site: str, tmp_path: Path) -> None:
    """Half is sent when the service is killed: once it is there again Uppy goes on by itself, to a stored file."""
    file = make(tmp_path, "holiday äö.mp4", 6 * MEBIBYTE)
    often = {"sync_every": "256KiB"}
    with (
        running_service(tmp_path, server={"allowed_origins": [site]}, upload=often) as service,
        relay_to(service.port) as relay,
        page_of(browser, expected=r"net::ERR_|CORS policy|Failed to load resource") as page,
    ):
        page.goto(f"{site}/uppy.html?endpoint={relay.url}/upload")
        expect(page.locator("html")).to_have_attribute("data-ready", "")
        relay.hold_after(3 * MEBIBYTE)
        page.set_input_files(".uppy-Dashboard-input >> nth=0", file)
        page.wait_for_function("document.querySelector('.uppy-StatusBar-progress')?.ariaValueNow > 10")
        service.kill()
        relay.cut()
        service.start()
        expect(page.locator("html")).to_have_attribute("data-failed", "", timeout=2 * PATIENCE)
        stored = page.locator("html").get_attribute("data-stored")
        assert stored is not None
        assert stored.startswith(f"{relay.url}/upload/")
        assert (service.directory() / file.name).read_bytes() == file.read_bytes()
