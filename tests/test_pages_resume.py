"""The upload page after drops, reloads and take-overs, in a real Chromium against the real service process."""

import random
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import CHROMIUM, LOST, page_of
from tests.support.relay import Relay, relay_to
from tests.support.service import Service, running_service
from tests.support.uploadpage import MEBIBYTE, expect_state, make, open_upload, row, wait_until_durable

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")


def begin_and_reload(page: Page, relay: Relay, file: Path) -> None:
    """Send the first 3 MiB of a file and load the page anew; what the relay held is lost."""
    open_upload(page, f"{relay.url}/upload")
    relay.hold_after(3 * MEBIBYTE)
    page.set_input_files("#files", file)
    wait_until_durable(page, file.name)
    page.reload()
    relay.cut()
    expect_state(page, file.name, "parked")


def test_upload_survives_a_killed_service(browser: Browser, tmp_path: Path) -> None:
    """After SIGKILL and a new start of the service the page goes on by itself from what was durable."""
    file = make(tmp_path, "film.mp4", 5 * MEBIBYTE)
    with running_service(tmp_path) as service, relay_to(service.port) as relay:
        with page_of(browser, expected=LOST) as page:
            open_upload(page, f"{relay.url}/upload")
            relay.hold_after(3 * MEBIBYTE)
            page.set_input_files("#files", file)
            wait_until_durable(page, file.name)
            service.kill()
            expect_state(page, file.name, "waiting")
            relay.hold_after(None)
            before = relay.passed
            service.start()
            expect_state(page, file.name, "stored")
        assert (service.directory() / file.name).read_bytes() == file.read_bytes()
        assert relay.passed - before < 4 * MEBIBYTE  # what was there was not sent again


def test_silent_link_is_given_up(browser: Browser, service: Service, tmp_path: Path) -> None:
    """A link on which nothing comes back for half a minute is left for a new one, and the upload goes on."""
    file = make(tmp_path, "browser silent.bin", 5 * MEBIBYTE)
    with relay_to(service.port) as relay, page_of(browser) as page:
        page.clock.install()
        open_upload(page, f"{relay.url}/upload")
        relay.hold_after(3 * MEBIBYTE)  # on each link: the second one has room for the rest
        page.set_input_files("#files", file)
        wait_until_durable(page, file.name)
        page.clock.fast_forward("01:00")
        expect_state(page, file.name, "stored")
    assert (service.directory() / file.name).read_bytes() == file.read_bytes()


def test_page_loaded_anew_remembers_its_uploads(browser: Browser, service: Service, tmp_path: Path) -> None:
    """After a reload the unfinished upload waits for its file, and goes on when that is chosen."""
    file = make(tmp_path, "browser reload.bin", 5 * MEBIBYTE)
    with relay_to(service.port) as relay, page_of(browser) as page:
        begin_and_reload(page, relay, file)
        before = relay.passed
        page.set_input_files("#files", file)
        expect_state(page, file.name, "stored")
        expect(page.locator(".upload")).to_have_count(1)
        assert relay.passed - before < 4 * MEBIBYTE
        open_upload(page, f"{relay.url}/upload")
        expect(page.locator(".upload")).to_have_count(0)
    assert (service.directory() / file.name).read_bytes() == file.read_bytes()


def test_changed_file_is_sent_from_its_start(browser: Browser, service: Service, tmp_path: Path) -> None:
    """Going on with a file whose beginning has changed stores the new file, not a mixture."""
    file = make(tmp_path, "browser changed.bin", 5 * MEBIBYTE)
    with relay_to(service.port) as relay, page_of(browser) as page:
        begin_and_reload(page, relay, file)
        file.write_bytes(random.Random("other").randbytes(5 * MEBIBYTE))
        with page.expect_file_chooser() as chooser:
            row(page, file.name).get_by_role("button", name="Choose file").click()
        chooser.value.set_files(file)
        expect_state(page, file.name, "stored")
    assert (service.directory() / file.name).read_bytes() == file.read_bytes()


def test_file_of_another_size_is_refused(browser: Browser, service: Service, tmp_path: Path) -> None:
    """A file that cannot be the one an upload was begun with is refused, and the upload waits on."""
    file = make(tmp_path, "browser sized.bin", 5 * MEBIBYTE)
    other = make(tmp_path, "browser other.bin", 1000)
    with relay_to(service.port) as relay, page_of(browser) as page:
        begin_and_reload(page, relay, file)
        with page.expect_file_chooser() as chooser:
            row(page, file.name).get_by_role("button", name="Choose file").click()
        chooser.value.set_files(other)
        expect(row(page, file.name).locator(".code")).to_have_text("other_file")
        expect_state(page, file.name, "parked")


def test_own_page_takes_the_upload_over(browser: Browser, service: Service, tmp_path: Path) -> None:
    """An upload's own address goes on with it in another browser; the first page is told and stands back."""
    file = make(tmp_path, "browser moved.bin", 5 * MEBIBYTE)
    with relay_to(service.port) as relay, page_of(browser) as first, page_of(browser) as second:
        open_upload(first, f"{relay.url}/upload")
        relay.hold_after(3 * MEBIBYTE)
        first.set_input_files("#files", file)
        wait_until_durable(first, file.name)
        url = row(first, file.name).locator(".link").get_attribute("href")
        open_upload(second, f"{service.url}{url}")
        second.set_input_files("#files", file)
        expect_state(second, file.name, "stored")
        expect_state(first, file.name, "taken")
        expect(row(first, file.name).locator(".words")).to_contain_text("taken over elsewhere")
        row(first, file.name).get_by_role("button", name="Take it back").click()
        expect_state(first, file.name, "stored")
        open_upload(second, f"{service.url}{url}")
        expect(second.get_by_role("heading", level=1)).to_have_text("A stored file")
    assert (service.directory() / file.name).read_bytes() == file.read_bytes()
