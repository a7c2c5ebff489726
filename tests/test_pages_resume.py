"""The upload page after drops, reloads and take-overs, in a real Chromium against the real service process."""

import os
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


def choose_for(page: Page, name: str, file: Path, button: str = "Choose file") -> None:
    """Give a file to the upload of this name, by its button and the dialog of the system."""
    with page.expect_file_chooser() as chooser:
        row(page, name).get_by_role("button", name=button).click()
    chooser.value.set_files(file)


def expect_question(page: Page, name: str, words: str, *answers: str) -> None:
    """Wait until the upload asks, and for exactly these answers."""
    expect_state(page, name, "asking")
    expect(row(page, name).locator(".words")).to_have_text(words)
    assert row(page, name).locator(".question button:visible").all_inner_texts() == list(answers)
    expect(page.locator("#news")).to_have_text(f"{name}: {words}")


def offset(page: Page, name: str) -> int:
    """The bytes that the service has of the upload of this name."""
    url = str(row(page, name).locator(".link").evaluate("(link) => link.href"))
    answer = page.request.get(url, headers={"Accept": "application/json"})
    return int(answer.json()["offset"])


OTHER_NAME = ("Keep what is there", "Begin anew", "Store it as browser film.bin")


def test_another_file_is_stored_under_its_own_name(browser: Browser, service: Service, tmp_path: Path) -> None:
    """A file of another name and content and the same size: asked before a byte is sent or thrown away. Stored as
    itself it leaves what is there alone, and the upload still goes on with its own file."""
    file, film = (make(tmp_path, f"browser {name}.bin", 5 * MEBIBYTE) for name in ("movie", "film"))
    with relay_to(service.port) as relay, page_of(browser) as page:
        begin_and_reload(page, relay, file)
        there = offset(page, file.name)
        before = relay.passed
        choose_for(page, file.name, film)
        expect_question(page, file.name, "This is another file.", *OTHER_NAME)
        assert relay.passed - before < 100_000
        assert offset(page, file.name) == there > 0
        row(page, file.name).get_by_role("button", name="Store it as browser film.bin").click()
        expect_state(page, film.name, "stored")
        expect_state(page, file.name, "parked")
        assert offset(page, file.name) == there
        choose_for(page, file.name, file)
        expect_state(page, file.name, "stored")
    for each in (file, film):
        assert (service.directory() / each.name).read_bytes() == each.read_bytes()


def test_another_file_can_be_left_alone(browser: Browser, service: Service, tmp_path: Path) -> None:
    """To keep what is there sends nothing and stores nothing: the upload waits for its own file, as before."""
    file, film = (make(tmp_path, f"browser kept {name}.bin", 5 * MEBIBYTE) for name in ("movie", "film"))
    with relay_to(service.port) as relay, page_of(browser) as page:
        begin_and_reload(page, relay, file)
        there = offset(page, file.name)
        choose_for(page, file.name, film)
        row(page, file.name).get_by_role("button", name="Keep what is there").click()
        expect_state(page, file.name, "parked")
        assert offset(page, file.name) == there > 0
        choose_for(page, file.name, file)
        expect_state(page, file.name, "stored")
    assert (service.directory() / file.name).read_bytes() == file.read_bytes()
    assert not (service.directory() / film.name).exists()


def test_changed_file_is_asked_about(browser: Browser, service: Service, tmp_path: Path) -> None:
    """The same name with a changed beginning: asked. To begin anew cancels what was there and stores the new file."""
    file = make(tmp_path, "browser changed.bin", 5 * MEBIBYTE)
    with relay_to(service.port) as relay, page_of(browser, expected="status of 404") as page:
        begin_and_reload(page, relay, file)
        url = row(page, file.name).locator(".link").get_attribute("href")
        there = offset(page, file.name)
        file.write_bytes(random.Random("other").randbytes(5 * MEBIBYTE))
        choose_for(page, file.name, file)
        expect_question(page, file.name, "This is another file.", "Keep what is there", "Begin anew")
        assert offset(page, file.name) == there > 0
        row(page, file.name).get_by_role("button", name="Begin anew").click()
        expect_state(page, file.name, "stored")
        open_upload(page, f"{relay.url}{url}")
        expect(page.get_by_role("heading", level=1)).to_have_text("No such upload")
    assert (service.directory() / file.name).read_bytes() == file.read_bytes()


def test_renamed_file_goes_on(browser: Browser, service: Service, tmp_path: Path) -> None:
    """The right file under another name, of the same size and time: its beginning proves it, nothing is asked."""
    file = make(tmp_path, "browser before.bin", 5 * MEBIBYTE)
    with relay_to(service.port) as relay, page_of(browser) as page:
        begin_and_reload(page, relay, file)
        before = relay.passed
        choose_for(page, file.name, file.rename(tmp_path / "browser after.bin"))
        expect_state(page, file.name, "stored")
        assert relay.passed - before < 4 * MEBIBYTE
    stored = service.directory() / file.name
    assert stored.read_bytes() == (tmp_path / "browser after.bin").read_bytes()


def test_file_that_only_begins_alike_is_asked_about(browser: Browser, service: Service, tmp_path: Path) -> None:
    """Another name and the same beginning: it may be a copy, or another file. It goes on only when that is said."""
    file = make(tmp_path, "browser original.bin", 5 * MEBIBYTE)
    copy = tmp_path / "browser copy.bin"
    copy.write_bytes(file.read_bytes())
    os.utime(copy, (1, 1))
    with relay_to(service.port) as relay, page_of(browser) as page:
        begin_and_reload(page, relay, file)
        before = relay.passed
        choose_for(page, file.name, copy)
        answers = ("Go on with it", "Keep what is there", "Begin anew", "Store it as browser copy.bin")
        expect_question(page, file.name, "This may be another file.", *answers)
        assert relay.passed - before < 100_000
        row(page, file.name).get_by_role("button", name="Go on with it").click()
        expect_state(page, file.name, "stored")
        assert relay.passed - before < 4 * MEBIBYTE
    assert (service.directory() / file.name).read_bytes() == file.read_bytes()


def test_file_of_another_size_is_asked_about(browser: Browser, service: Service, tmp_path: Path) -> None:
    """A file that cannot be the one an upload was begun with is asked about at once; begun anew it takes its place."""
    file = make(tmp_path, "browser sized.bin", 5 * MEBIBYTE)
    other = make(tmp_path, "browser other.bin", 1000)
    with relay_to(service.port) as relay, page_of(browser) as page:
        begin_and_reload(page, relay, file)
        choose_for(page, file.name, other)
        expect(row(page, file.name).locator(".detail-text")).to_contain_text("1000")
        answers = ("Keep what is there", "Begin anew", "Store it as browser other.bin")
        expect_question(page, file.name, "This is another file.", *answers)
        row(page, file.name).get_by_role("button", name="Begin anew").click()
        expect_state(page, file.name, "stored")
    assert (service.directory() / file.name).read_bytes() == other.read_bytes()


def test_dead_link_is_left_and_healed(browser: Browser, service: Service, tmp_path: Path) -> None:
    """A link that keeps connections open and lets nothing through: sockets and requests on it are given up, Try now
    is offered, and when new connections work again the upload goes on by itself."""
    file = make(tmp_path, "browser dead.bin", 5 * MEBIBYTE)
    with relay_to(service.port) as relay, page_of(browser, expected=LOST) as page:
        page.clock.install()
        open_upload(page, f"{relay.url}/upload")
        relay.hold_after(3 * MEBIBYTE)
        page.set_input_files("#files", file)
        wait_until_durable(page, file.name)
        relay.freeze()
        relay.hold_after(None)
        page.clock.fast_forward("00:40")
        expect_state(page, file.name, "waiting")
        page.clock.fast_forward("00:31")
        expect_state(page, file.name, "connecting")
        page.clock.fast_forward("00:05")
        row(page, file.name).get_by_role("button", name="Try now").click()
        expect_state(page, file.name, "connecting")
        page.clock.fast_forward("00:12")
        expect(row(page, file.name).locator(".words")).to_contain_text("The service cannot be reached.")
        relay.heal()
        # Kept connections of the browser are dead too; each is noticed by the request that is tried on it.
        while row(page, file.name).get_attribute("data-state") != "stored":
            expect_state(page, file.name, "waiting|connecting|stored")
            page.clock.fast_forward("00:12")
    assert (service.directory() / file.name).read_bytes() == file.read_bytes()


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
