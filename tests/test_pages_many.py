"""The upload page with many small files, which share one socket, in a real Chromium against the real service."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, WebSocket, WebSocketRoute, expect

from tests.support.browser import CHROMIUM, ELSEWHERE, drop, page_of
from tests.support.service import Service
from tests.support.uploadpage import (
    MEBIBYTE,
    batch,
    contents,
    expect_batch,
    expect_state,
    make,
    make_tree,
    open_upload,
    row,
    stored,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")

AT_ONCE, IN_FLIGHT = 256, 8 * MEBIBYTE  # files without an answer and bytes of them, as many.js has them


class Wire:
    """What went over the sockets on `/upload`, and over the others."""

    def __init__(self, page: Page) -> None:
        self.sockets: list[str] = []
        self.created = self.unanswered = self.most_files = 0
        page.on("websocket", self._opened)

    def _opened(self, socket: WebSocket) -> None:
        self.sockets.append(socket.url)
        if socket.url.endswith("/upload"):
            socket.on("framesent", self._sent)
            socket.on("framereceived", self._received)

    def _sent(self, payload: bytes | str) -> None:
        if isinstance(payload, str) and json.loads(payload)["type"] == "create":
            self.created += 1
            self.unanswered += 1
            self.most_files = max(self.most_files, self.unanswered)

    def _received(self, payload: bytes | str) -> None:
        if json.loads(payload)["type"] in ("stored", "error"):
            self.unanswered -= 1


def choose_folder(page: Page, folder: Path) -> None:
    """As the button and the dialog of the system do it."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(folder)


def answering_one(heard: list[bytes | str]) -> Callable[[WebSocketRoute], None]:
    """A service that refuses the first file, and takes all others without a word; `heard` is what it was sent."""

    def opened(socket: WebSocketRoute) -> None:
        def hear(message: bytes | str) -> None:
            heard.append(message)
            if [str(each) for each in heard if '"end"' in str(each)] == [message]:
                socket.send(json.dumps({"type": "error", "status": 409, "code": "name_taken", "detail": ""}))

        socket.on_message(hear)

    return opened


def test_a_folder_goes_over_one_socket(browser: Browser, service: Service, tmp_path: Path) -> None:
    """300 small files in folders and a large one, dropped: the small ones over exactly one socket, without
    waiting for answers, the large one over its own; on disk each has the digest that it has here."""
    tree = tmp_path / "many dropped"
    files = [*make_tree(tree, 300), make(tree, "large.bin", 5 * MEBIBYTE)]
    with page_of(browser) as page:
        wire, posts = Wire(page), []
        page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
        open_upload(page, f"{service.url}/upload")
        drop(page, "#zone", [tree])
        expect_batch(page, "stored")
        expect_state(page, "many dropped/large.bin", "stored")
        expect(batch(page).locator(".name")).to_have_text("many dropped/")
        expect(batch(page).locator(".words")).to_contain_text("300 files")
        expect(page.locator(".upload")).to_have_count(2)
    assert stored(service.directory(), tree.name) == contents(files, tmp_path)
    assert [url.endswith("/upload") for url in wire.sockets].count(True) == 1
    assert (len(wire.sockets), len(posts), wire.created) == (2, 1, 300)
    assert 16 < wire.most_files <= AT_ONCE


def test_bytes_in_flight_are_bounded(browser: Browser, service: Service, tmp_path: Path) -> None:
    """Where nothing more is answered than the first, which goes alone, 8 MiB are sent and no more; a file of a byte
    more than 1 MiB is no small file."""
    files = [make(tmp_path, f"many full {at}.bin", MEBIBYTE) for at in range(12)]
    larger = make(tmp_path, "many larger.bin", MEBIBYTE + 1)
    heard: list[bytes | str] = []
    with page_of(browser) as page:
        page.route_web_socket("**/upload", answering_one(heard))
        open_upload(page, f"{service.url}/upload")
        page.set_input_files("#files", [*files, larger])
        expect_state(page, larger.name, "stored")
        batch(page).locator("summary").click()
        expect(batch(page).locator(".file[data-state=sending]")).to_have_count(IN_FLIGHT // MEBIBYTE)
    assert sum(len(message) for message in heard if isinstance(message, bytes)) == MEBIBYTE + IN_FLIGHT


BEHIND = 'Object.defineProperty(WebSocket.prototype, "bufferedAmount", { get: () => 2 ** 21 })'


def test_bytes_that_wait_in_the_browser_are_watched(browser: Browser, service: Service, tmp_path: Path) -> None:
    """While more than 1 MiB has not left the browser no file is sent behind another."""
    files = make_tree(tmp_path / "many behind", 20)
    with page_of(browser) as page:
        wire = Wire(page)
        page.add_init_script(BEHIND)
        open_upload(page, f"{service.url}/upload")
        page.set_input_files("#folder", tmp_path / "many behind")
        expect_batch(page, "stored")
    assert (wire.created, wire.most_files) == (20, 1)
    assert stored(service.directory(), "many behind") == contents(files, tmp_path)


def test_chosen_folder_keeps_its_names(browser: Browser, service: Service, tmp_path: Path) -> None:
    """Names begin with the folder's own; hidden files are left out, and that is said; all digests can be saved,
    the list has a receipt for each file, and each keeps its time of modification."""
    tree = tmp_path / "many chosen"
    files = make_tree(tree, 20)
    os.utime(files[7], (1_000_000_000, 1_000_000_000))
    for hidden in (".DS_Store", "part 0/.git/config", "part 0/.git/HEAD"):
        make(tree, hidden, 10)
    with page_of(browser) as page:
        open_upload(page, f"{service.url}/upload")
        choose_folder(page, tree)
        expect_batch(page, "stored")
        expect(page.locator("#note")).to_contain_text("Hidden files are left out: 2.")
        with page.expect_download() as download:
            batch(page).get_by_role("button", name="Save digests").click()
        digests = download.value.path().read_text(encoding="utf-8").splitlines()
        batch(page).locator("summary").click()
        first = batch(page).locator(".file").first
        expect(first.locator(".file-name")).to_have_text("part 0/deep 0/0.bin")
        with page.context.expect_page() as receipt:
            first.get_by_role("link", name="Receipt").click()
        expect(receipt.value.get_by_role("heading", level=1)).to_have_text("A stored file")
    names = contents(files, tmp_path)
    assert stored(service.directory(), tree.name) == names
    assert (service.directory() / files[7].relative_to(tmp_path)).stat().st_mtime == 1_000_000_000
    assert sorted(digests) == sorted(f"{sha256}  {name}" for name, sha256 in names.items())
    assert download.value.suggested_filename == "many chosen.sha256"


def test_digests_are_right_on_plain_http(browser: Browser, service: Service, tmp_path: Path) -> None:
    """On plain http from another host, where the browser has no digest of its own, the page's own is compared."""
    files = [make(tmp_path, f"many plain {size}.bin", size) for size in (0, 1, 64, 70_000)]
    with page_of(browser) as page:
        open_upload(page, f"http://{ELSEWHERE}:{service.port}/upload")
        assert page.evaluate("globalThis.crypto.subtle === undefined")
        page.set_input_files("#files", files)
        expect_batch(page, "stored")
    assert contents(files, tmp_path).items() <= stored(service.directory()).items()


MAKE_FILES = """(count) => {
  const transfer = new DataTransfer();
  for (let at = 0; at < count; at += 1) transfer.items.add(new File([String(at)], `${at}.txt`));
  const input = document.getElementById("files");
  input.files = transfer.files;
  input.dispatchEvent(new Event("change"));
}"""


# A folder as a drop gives it, with one file in it that is gone when it is asked for.
DROPPED = """async () => {
  const { dropped } = await import("/assets/upload/files.js");
  const good = { name: "good.bin", isFile: true, file: (done) => done(new File(["x"], "good.bin")) };
  const gone = new DOMException("gone", "NotFoundError");
  const lost = { name: "lost.bin", isFile: true, file: (_, failed) => failed(gone) };
  const pieces = [[lost, good], []];
  const folder = { name: "folder", createReader: () => ({ readEntries: (done) => done(pieces.shift()) }) };
  const { files } = await dropped({ items: [{ kind: "file", webkitGetAsEntry: () => folder }] }, () => {});
  return files.map(({ name, failure }) => [name, failure?.code ?? null]);
}"""


def test_thousands_of_files_are_a_short_page(browser: Browser, service: Service) -> None:
    """Of 5,000 files only those in sight have rows, which show how far each is; the end of the list is there too."""
    with page_of(browser) as page:
        page.route_web_socket("**/upload", answering_one([]))
        open_upload(page, f"{service.url}/upload")
        page.evaluate(MAKE_FILES, 5000)
        expect_batch(page, "sending")
        batch(page).locator("summary").click()
        files = batch(page).locator(".file")
        expect(files.first).to_have_attribute("data-state", "failed")
        expect(files.nth(1)).to_have_attribute("data-state", "sending")
        batch(page).locator(".listing").evaluate("(list) => list.scrollTo(0, list.scrollHeight)")
        expect(files.last).to_contain_text("4999.txt")
        expect(files.last).to_have_attribute("data-state", "queued")
        expect(files.last).to_have_attribute("aria-posinset", "5000")
        assert page.locator("*").count() < 250


def test_what_a_folder_will_not_give_is_told(browser: Browser, service: Service) -> None:
    """A file of a dropped folder that the browser cannot open is found as unreadable, and the others beside it."""
    with page_of(browser) as page:
        open_upload(page, f"{service.url}/upload")
        found = page.evaluate(DROPPED)
    assert found == [["folder/good.bin", None], ["folder/lost.bin", "unreadable"]]


def test_one_small_file_is_an_upload_of_its_own(browser: Browser, service: Service, tmp_path: Path) -> None:
    """A small file alone can be gone on with after a reload, as large ones can; only several go together."""
    file = make(tmp_path, "many alone.txt", 100)
    with page_of(browser) as page:
        open_upload(page, f"{service.url}/upload")
        page.set_input_files("#files", [file])
        expect_state(page, file.name, "stored")
        expect(row(page, file.name).locator(".sha256")).to_have_count(1)
        expect(page.locator(".batch")).to_have_count(0)
