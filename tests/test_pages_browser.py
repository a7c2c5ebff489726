"""The pages in a real Chromium, against the real service process."""

import hashlib
import json
import os
import random
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, WebSocket, WebSocketRoute, expect

from tests.support.browser import CHROMIUM, LOST, drop, page_of
from tests.support.relay import relay_to
from tests.support.service import Service, running_service
from tests.support.uploadpage import MEBIBYTE, batch, expect_batch, expect_state, make, open_upload, row

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")


def without_receipt(socket: WebSocketRoute) -> None:
    """Keep the receipt and the end of the socket from the page."""
    server = socket.connect_to_server()
    server.on_message(lambda message: None if '"stored"' in str(message) else socket.send(message))
    server.on_close(lambda code, reason: None)


DIGESTS = """async (data) => {
  const { Sha256 } = await import("/assets/upload/sha256.js");
  const bytes = Uint8Array.from(data);
  return data.map((_, length) => {
    const hash = new Sha256();
    const step = 1 + (length % 70);
    for (let from = 0; from < length; from += step) {
      hash.update(bytes.subarray(from, Math.min(length, from + step)));
      hash.hex(); // a digest in between changes nothing
    }
    return hash.hex();
  });
}"""


class TestIndex:
    def test_index_leads_to_every_page(self, browser: Browser, service: Service) -> None:
        """The index lists each handler under its name, and the name leads to its page."""
        with page_of(browser) as page:
            page.goto(service.url)
            page.get_by_role("link", name="pingpong", exact=True).click()
            expect(page.get_by_role("heading", level=1)).to_have_text("Ping-pong")
            page.get_by_role("link", name="Jackfield").click()
            page.get_by_role("link", name="upload", exact=True).click()
            expect(page.get_by_role("heading", level=1)).to_have_text("Upload files")


class TestPingPong:
    def test_game_is_played_to_its_end(self, browser: Browser, service: Service) -> None:
        """Start opens the socket, every ping is answered, and all is shown, to the close 1000 `done`."""
        with page_of(browser) as page:
            page.goto(f"{service.url}/pingpong")
            page.get_by_role("button", name="Start").click()
            expect(page.get_by_role("status")).to_have_text("Closed: 1000 done")
            kinds = page.locator("#events li b").all_inner_texts()
            assert kinds == ["open", *["message", "sent"] * 3, "close"]
            expect(page.locator("#rounds")).to_have_text("3")
            expect(page.locator(".chart .trip")).to_have_count(3)  # each answer was measured
            assert len(page.locator(".chart .late").all()) == 2  # no ping follows the last pong

    def test_stop_closes_the_socket(self, browser: Browser, service: Service) -> None:
        """Stop ends a game that would have no end, with the close code 1000, and Start begins another."""
        with page_of(browser) as page:
            page.goto(f"{service.url}/endless")
            page.get_by_role("button", name="Start").click()
            expect(page.locator("#events li.sent").nth(4)).to_be_visible()
            page.get_by_role("button", name="Stop").click()
            expect(page.get_by_role("status")).to_have_text("Stopped")
            expect(page.locator("#events li").last).to_contain_text("close1000")
            page.get_by_role("button", name="Start again").click()
            expect(page.get_by_role("status")).to_have_text("Connected")

    def test_lost_service_is_shown(self, browser: Browser, tmp_path: Path) -> None:
        """A service that dies in the middle is shown as close 1006, one that is not there as error and close."""
        with running_service(tmp_path, pingpong={"rounds": 0}) as service, page_of(browser, expected=LOST) as page:
            page.goto(f"{service.url}/pingpong")
            page.get_by_role("button", name="Start").click()
            expect(page.locator("#events li.sent").first).to_be_visible()
            service.kill()
            expect(page.get_by_role("status")).to_contain_text("Closed: 1006")
            shown = page.locator("#events li").count()
            page.get_by_role("button", name="Start again").click()
            expect(page.locator("#events li")).to_have_count(shown + 2)
            assert page.locator("#events li b").all_inner_texts()[-2:] == ["error", "close"]


class TestUpload:
    def test_chosen_file_is_stored(self, browser: Browser, service: Service, tmp_path: Path) -> None:
        """A chosen file of 5 MiB is stored byte for byte and keeps its time of modification, and the receipt has its
        SHA-256, ready to copy."""
        film = make(tmp_path, "browser film.mp4", 5 * MEBIBYTE)
        os.utime(film, (1_000_000_000, 1_000_000_000))
        with page_of(browser, permissions=["clipboard-read", "clipboard-write"]) as page:
            open_upload(page, f"{service.url}/upload")
            with page.expect_file_chooser() as chooser:
                page.get_by_role("button", name="Choose files").click()
            chooser.value.set_files(film)
            expect_state(page, film.name, "stored")
            digest = hashlib.sha256(film.read_bytes()).hexdigest()
            expect(row(page, film.name).locator(".sha256")).to_have_text(digest)
            row(page, film.name).get_by_role("button", name="Copy").click()
            expect(row(page, film.name).get_by_role("button", name="Copied")).to_be_visible()
            assert page.evaluate("navigator.clipboard.readText()") == digest
        assert (service.directory() / film.name).read_bytes() == film.read_bytes()
        assert (service.directory() / film.name).stat().st_mtime == 1_000_000_000

    def test_dropped_files_and_folders_are_stored(self, browser: Browser, service: Service, tmp_path: Path) -> None:
        """Dropped files are stored, a dropped folder with its tree, without the hidden files in it."""
        single = make(tmp_path, "browser single.bin", 300_000)
        empty = make(tmp_path, "browser empty.bin", 0)
        names = ["browser tree/one.bin", "browser tree/deep/two.bin", "browser tree/deep/three.bin"]
        files = [single, empty, *(make(tmp_path, name, 70_000) for name in names)]
        make(tmp_path, "browser tree/.DS_Store", 10)
        with page_of(browser) as page:
            open_upload(page, f"{service.url}/upload")
            drop(page, "#zone", [single, empty, tmp_path / "browser tree"])
            expect_batch(page, "stored")
            expect(batch(page).locator(".words")).to_contain_text(f"{len(files)} files")
        for file in files:
            assert (service.directory() / file.relative_to(tmp_path)).read_bytes() == file.read_bytes()

    def test_taken_name_is_told(self, browser: Browser, service: Service, tmp_path: Path) -> None:
        """Where the name was taken, the receipt says under which one the file was stored."""
        with page_of(browser) as page:
            for size in (20, 21):
                open_upload(page, f"{service.url}/upload")
                page.set_input_files("#files", make(tmp_path, "browser twice.txt", size))
                expect(page.locator(".upload")).to_have_attribute("data-state", "stored")
            expect(page.locator(".name")).to_have_text("browser twice.1.txt")
            expect(page.locator(".renamed")).to_contain_text("browser twice.txt")

    def test_taken_up_file_of_many_pieces_is_whole(self, browser: Browser, service: Service, tmp_path: Path) -> None:
        """A file that the browser reads for itself, piece by piece, arrives in order and whole."""
        film = make(tmp_path, "browser pieces.mp4", 21 * MEBIBYTE + 7)
        with page_of(browser) as page:
            open_upload(page, f"{service.url}/upload")
            page.set_input_files("#files", film)
            expect_state(page, film.name, "stored")
        assert (service.directory() / film.name).read_bytes() == film.read_bytes()

    def test_refusal_is_told_in_words(self, browser: Browser, service: Service, tmp_path: Path) -> None:
        """What the service refuses is shown with a sentence and its detail, and no button that cannot help."""
        file = make(tmp_path, "browser large.bin", MEBIBYTE + 1)
        with page_of(browser, expected="status of 413") as page:
            open_upload(page, f"{service.url}/small")
            page.set_input_files("#files", file)
            expect_state(page, file.name, "failed")
            expect(row(page, file.name).locator(".words")).to_have_text("This is larger than the service takes.")
            expect(row(page, file.name).locator(".detail-text")).to_have_text("An upload may have 1.0\u00a0MiB.")
            expect(row(page, file.name).get_by_role("button", name="Try again")).to_be_hidden()  # it cannot help
            expect(row(page, file.name)).to_have_attribute("data-code", "too_large")

    def test_page_keeps_to_the_window(self, browser: Browser, service: Service, tmp_path: Path) -> None:
        """Never are more than `window` bytes beyond the last ack, and each message is half of it: two are under way."""
        file = make(tmp_path, "browser narrow.bin", 2 * MEBIBYTE)
        sent, acked, sizes, ahead = 0, 0, [], []

        def on_sent(payload: bytes | str) -> None:
            nonlocal sent
            if isinstance(payload, bytes):
                sent += len(payload)
                sizes.append(len(payload))
                ahead.append(sent - acked)

        def on_received(payload: bytes | str) -> None:
            nonlocal acked
            message = json.loads(payload)
            acked = message["offset"] if message["type"] == "ack" else acked

        def on_socket(socket: WebSocket) -> None:
            socket.on("framesent", on_sent)
            socket.on("framereceived", on_received)

        with page_of(browser) as page:
            page.on("websocket", on_socket)
            open_upload(page, f"{service.url}/narrow")
            page.set_input_files("#files", file)
            expect_state(page, file.name, "stored")
        assert sent == file.stat().st_size
        assert max(sizes) == 128 * 1024
        assert max(ahead) <= 256 * 1024

    def test_cancel_frees_the_upload(self, browser: Browser, service: Service, tmp_path: Path) -> None:
        """Cancel in the middle makes the upload unknown to the service, and the page does not remember it."""
        file = make(tmp_path, "browser cancelled.bin", 2 * MEBIBYTE)
        with relay_to(service.port) as relay, page_of(browser, expected="status of 404") as page:
            open_upload(page, f"{relay.url}/upload")
            relay.hold_after(MEBIBYTE)
            page.set_input_files("#files", file)
            expect(row(page, file.name).locator(".bar")).to_have_attribute("aria-valuenow", re.compile("^[1-9]"))
            url = row(page, file.name).locator(".link").get_attribute("href")
            row(page, file.name).get_by_role("button", name="Cancel").click()
            expect_state(page, file.name, "cancelled")
            open_upload(page, f"{relay.url}/upload")
            expect(page.locator(".upload")).to_have_count(0)
            open_upload(page, f"{relay.url}{url}")
            expect(page.get_by_role("heading", level=1)).to_have_text("No such upload")
        assert not (service.directory() / file.name).exists()

    def test_finished_upload_cannot_be_cancelled(self, browser: Browser, service: Service, tmp_path: Path) -> None:
        """A file that was stored before the cancel reached the service is shown as stored, not as cancelled."""
        file = make(tmp_path, "browser late.bin", 1000)
        with page_of(browser, expected="status of 409") as page:
            page.route_web_socket(re.compile("/upload/"), without_receipt)
            open_upload(page, f"{service.url}/upload")
            page.set_input_files("#files", file)
            expect_state(page, file.name, "finishing")
            while not (service.directory() / file.name).exists():
                page.wait_for_timeout(20)
            row(page, file.name).get_by_role("button", name="Cancel").click()
            expect_state(page, file.name, "stored")
        assert (service.directory() / file.name).read_bytes() == file.read_bytes()


class TestDigest:
    def test_digest_agrees_with_hashlib(self, browser: Browser, service: Service) -> None:
        """The page's own SHA-256 is right at every length around its blocks, in whatever pieces bytes come."""
        data = random.Random(0).randbytes(300)
        with page_of(browser) as page:
            page.goto(f"{service.url}/upload")
            digests = page.evaluate(DIGESTS, list(data))
        assert digests == [hashlib.sha256(data[:length]).hexdigest() for length in range(len(data))]
