"""What the upload page says, and offers to do, when something has happened; in a real Chromium."""

import json
import random
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, WebSocket, expect

from jackfield.app import errors
from jackfield.handlers.upload.wire import words
from tests.support.browser import CHROMIUM, LOST, page_of
from tests.support.relay import relay_to
from tests.support.service import Service, running_service
from tests.support.uploadpage import (
    MEBIBYTE,
    batch,
    contents,
    expect_batch,
    expect_state,
    failures,
    make,
    make_tree,
    open_upload,
    row,
    stored,
    wait_until_durable,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")

RESTARTS = f"{LOST}|status of 503"


def test_a_file_that_changed_is_chosen_again(browser: Browser, service: Service, tmp_path: Path) -> None:
    """A file that cannot be read any more has a button to choose it again, and none to try again what fails for ever.
    Chosen, it is compared as any other: its beginning has changed, so the page asks."""
    file = make(tmp_path, "words changed.bin", 20 * MEBIBYTE)
    with relay_to(service.port) as relay, page_of(browser, expected=LOST) as page:
        open_upload(page, f"{relay.url}/upload")
        relay.hold_after(3 * MEBIBYTE)
        page.set_input_files("#files", file)
        wait_until_durable(page, file.name)
        file.write_bytes(random.Random("changed").randbytes(20 * MEBIBYTE))
        relay.cut()
        expect_state(page, file.name, "failed")
        expect(row(page, file.name)).to_have_attribute("data-code", "unreadable")
        expect(row(page, file.name).locator(".words")).to_contain_text(re.compile(r"MiB are kept\.$"))
        expect(row(page, file.name).get_by_role("button", name="Try again")).to_be_hidden()
        with page.expect_file_chooser() as chooser:
            row(page, file.name).get_by_role("button", name="Choose it again").click()
        chooser.value.set_files(file)
        expect_state(page, file.name, "asking")
        row(page, file.name).get_by_role("button", name="Begin anew").click()
        expect_state(page, file.name, "stored")
        expect(page.locator(".upload")).to_have_count(1)
    assert (service.directory() / file.name).read_bytes() == file.read_bytes()


def test_the_title_tells_of_all_files(browser: Browser, service: Service, tmp_path: Path) -> None:
    """The per cent in the window's title are of all files that were chosen, the stored ones too; then it says Done."""
    files = [make(tmp_path, f"words title {at}.bin", 2 * MEBIBYTE) for at in range(2)]
    with relay_to(service.port) as relay, page_of(browser) as page:
        open_upload(page, f"{relay.url}/upload")
        page.set_input_files("#files", files[0])
        expect(page).to_have_title("✓ Done · Upload · Jackfield")
        relay.hold_after(MEBIBYTE)
        page.set_input_files("#files", files[1])
        wait_until_durable(page, files[1].name)
        expect(page).to_have_title(re.compile(r"^[67]\d % · Upload · Jackfield$"))
        relay.hold_after(None)
        expect(page).to_have_title("✓ Done · Upload · Jackfield")


def restart_in_the_middle(page: Page, service: Service) -> None:
    """End the service in order while the page sends, wait until that is said, and start it again."""
    work = page.locator(".upload")
    expect(work.locator(".bar")).to_have_attribute("aria-valuenow", re.compile("^[1-9]"))
    service.signal(signal.SIGTERM)
    expect(work.locator(".words")).to_contain_text("The service restarts.")
    expect(page.locator("#news")).to_contain_text("The service restarts.")
    service.wait()
    service.start()


def test_a_restart_is_said(browser: Browser, tmp_path: Path) -> None:
    """A service that ends in order says so, and the page says it until the service is back; then it goes on."""
    film = tmp_path / "film.mp4"
    with film.open("wb") as file:
        file.truncate(300 * MEBIBYTE)
    with running_service(tmp_path) as service, page_of(browser, expected=RESTARTS) as page:
        open_upload(page, f"{service.url}/upload")
        page.set_input_files("#files", film)
        restart_in_the_middle(page, service)
        expect_state(page, film.name, "checking|sending|finishing|stored")


def test_a_restart_loses_and_doubles_no_file(browser: Browser, tmp_path: Path) -> None:
    """The same for a folder: it is said, and then each file is stored, once."""
    tree = tmp_path / "tree"
    files = [make(tree, f"{at}.bin", 2000) for at in range(2000)]
    with running_service(tmp_path) as service:
        with page_of(browser, expected=RESTARTS) as page:
            open_upload(page, f"{service.url}/upload")
            page.set_input_files("#folder", tree)
            restart_in_the_middle(page, service)
            expect_batch(page, "stored")
        assert stored(service.directory(), "tree") == contents(files, tmp_path)


class Created:
    """How many files were created on sockets."""

    def __init__(self, page: Page) -> None:
        self.count = 0
        page.on("websocket", lambda socket: self._opened(socket))

    def _opened(self, socket: WebSocket) -> None:
        socket.on("framesent", self._sent)

    def _sent(self, payload: bytes | str) -> None:
        self.count += isinstance(payload, str) and json.loads(payload)["type"] == "create"


def test_a_full_disk_is_said_once(browser: Browser, tmp_path: Path) -> None:
    """Where there is no room for a file there is none for the others: nothing more is tried, nothing has failed, it is
    said once; and it goes on when there is room and somebody says so."""
    files = make_tree(tmp_path / "tree", 300)
    with running_service(tmp_path, upload={"min_free": "1000TiB"}) as service, page_of(browser, expected=LOST) as page:
        created = Created(page)
        open_upload(page, f"{service.url}/upload")
        page.set_input_files("#folder", tmp_path / "tree")
        expect_batch(page, "paused")
        said = "0 of 300 files stored. The disk of the service is full, or its quota is used up. Still to be sent: 300."
        expect(batch(page).locator(".words")).to_have_text(said)
        assert failures(page) == {}
        assert created.count < 10
        service.stop()
        service.settings["handlers"]["upload"]["min_free"] = "1MiB"
        service.start()
        batch(page).get_by_role("button", name="Try again").click()
        expect_batch(page, "stored")
        assert stored(service.directory(), "tree") == contents(files, tmp_path)


def test_what_was_paused_can_be_stopped(browser: Browser, tmp_path: Path) -> None:
    """Stopped in a pause all that is left is said to be not sent."""
    make_tree(tmp_path / "tree", 5)
    with running_service(tmp_path, upload={"min_free": "1000TiB"}) as service, page_of(browser) as page:
        open_upload(page, f"{service.url}/upload")
        page.set_input_files("#folder", tmp_path / "tree")
        expect_batch(page, "paused")
        batch(page).get_by_role("button", name="Stop").click()
        expect_batch(page, "cancelled")
        expect(batch(page).locator(".words")).to_have_text("0 of 5 files stored and verified · 5 not sent")


def test_cancel_of_what_another_tab_sends_is_asked_about(browser: Browser, service: Service, tmp_path: Path) -> None:
    """A second tab shows the upload of the first; its Cancel asks, and a no leaves the upload alone."""
    file = make(tmp_path, "words tabs.bin", 5 * MEBIBYTE)
    with relay_to(service.port) as relay, page_of(browser) as page:
        open_upload(page, f"{relay.url}/upload")
        relay.hold_after(3 * MEBIBYTE)
        page.set_input_files("#files", file)
        wait_until_durable(page, file.name)
        second = page.context.new_page()
        second.add_init_script("window.confirm = (words) => { window.asked = words; return false; }")
        open_upload(second, f"{relay.url}/upload")
        second.get_by_role("button", name="Cancel").click()
        assert file.name in str(second.evaluate("window.asked"))
        expect_state(second, file.name, "parked")
        relay.hold_after(None)
        expect_state(page, file.name, "stored")
    assert (service.directory() / file.name).read_bytes() == file.read_bytes()


def test_unseen_characters_are_shown(browser: Browser, service: Service, tmp_path: Path) -> None:
    """Marks of direction and zero-width characters in a name are shown by their numbers, and the name is isolated; one
    that the service refuses is refused in words."""
    mark, wide = make(tmp_path, "words a\u202egnp.exe", 10), make(tmp_path, "words in\u200bvisible.bin", 10)
    with page_of(browser, expected="status of 400") as page:
        open_upload(page, f"{service.url}/upload")
        page.set_input_files("#files", mark)
        expect_state(page, "words a⟨U+202E⟩gnp.exe", "failed")
        refused = row(page, "words a⟨U+202E⟩gnp.exe")
        expect(refused.locator(".words")).to_have_text("The service does not take this name.")
        expect(refused.locator(".detail-text")).to_contain_text("mark of direction")
        assert refused.locator(".name").evaluate("(name) => getComputedStyle(name).unicodeBidi") == "isolate"
        page.set_input_files("#files", wide)
        expect_state(page, "words in⟨U+200B⟩visible.bin", "stored")
        page.set_input_files("#files", [make(tmp_path, f"words {name}.exe", 10) for name in ("b", "\u202ec")])
        expect_batch(page, "failed")
        assert failures(page) == {"words ⟨U+202E⟩c.exe": "invalid_name"}
    assert (service.directory() / wide.name).exists()


SHOWN = """async (names) => (await import("/assets/app/names.js")).shown(names)"""


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name.txt", "plain name.txt"),
        (" lead/trail ", "␣lead/trail␣"),
        ("fa\u200cmily \U0001f469\u200d\U0001f467.jpg", "fa⟨U+200C⟩mily \U0001f469\u200d\U0001f467.jpg"),
        ("\ufeffa\u00adb\u2067c", "⟨U+FEFF⟩a⟨U+00AD⟩b⟨U+2067⟩c"),
        ("a\u200db", "a⟨U+200D⟩b"),
    ],
)
def test_names_as_they_are_shown(browser: Browser, service: Service, name: str, shown: str) -> None:
    """What cannot be seen in a name is made visible, but for the joiner within an emoji."""
    with page_of(browser) as page:
        open_upload(page, f"{service.url}/upload")
        assert page.evaluate(SHOWN, name) == shown


WORDS = """async () => [...(await import("/assets/upload/failure.js")).WORDS.keys()]"""
KINDS = {kind.code for module in (errors, words) for kind in vars(module).values() if isinstance(kind, errors.Kind)}
OF_OTHERS = {  # what no request of this page is answered with
    "method_not_allowed", "upgrade_required", "unsupported_version", "offset_mismatch", "checksum_mismatch",
    "locked", "headers_too_large",
}  # fmt: skip


def test_every_code_word_has_a_sentence(browser: Browser, service: Service) -> None:
    """Whatever failure the service can name to this page, the page has words for it."""
    with page_of(browser) as page:
        open_upload(page, f"{service.url}/upload")
        known = set(page.evaluate(WORDS))
    assert known >= KINDS - OF_OTHERS
