"""The upload page in a real Chromium, through each of the proxies of deploy/."""

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.browser import CHROMIUM, page_of
from tests.support.proxies import PROXIES, program, proxy
from tests.support.service import Service
from tests.support.uploadpage import expect_batch, expect_state, make, open_upload

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or shutil.which("openssl") is None, reason="chromium or openssl is not installed"
)


@pytest.mark.parametrize("name", PROXIES)
def test_the_page_goes_through(browser: Browser, service: Service, tmp_path: Path, name: str) -> None:
    """Over HTTP/2 where the proxy speaks it: a file by itself, two on one socket, and nothing is forbidden."""
    if program(name) is None:
        pytest.skip(f"{name} is not installed")
    files = [make(tmp_path, f"{name} {which}.bin", size) for which, size in (("a", 9), ("b", 99), ("c", 3_000_000))]
    folder = tmp_path / "proxy"
    folder.mkdir()
    with proxy(name, service.port, folder) as front, page_of(browser, ignore_https_errors=True) as page:
        open_upload(page, f"{front.url}/upload")
        page.set_input_files("#files", files)
        expect_batch(page, "stored")
        expect_state(page, files[2].name, "stored")
