"""The upload page with many small files when something goes wrong: with one file, with the socket, with the service."""

import json
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, WebSocketRoute, expect

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
    stored,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")

Answer = Callable[[dict[str, object]], "dict[str, object] | None"]


def first_socket(answer: Answer) -> Callable[[WebSocketRoute], None]:
    """On the first socket the page hears what `answer` makes of each answer, and after None its end; later
    ones are left alone."""
    sockets: list[WebSocketRoute] = []

    def opened(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        server = socket.connect_to_server()
        if len(sockets) > 1:
            return

        def heard(message: bytes | str) -> None:
            changed = answer(json.loads(message))
            if changed is None:
                socket.close(code=1012)
            else:
                socket.send(json.dumps(changed))

        server.on_message(heard)

    return opened


def http(url: str, method: str, body: dict[str, object] | None = None) -> dict[str, object]:
    """One request to the service."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request) as answer:
        return dict(json.loads(answer.read() or b"{}"))


def metric(service: Service, name: str) -> float:
    """One figure of /metrics."""
    with urllib.request.urlopen(f"{service.url}/metrics") as answer:
        found = re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(found[1]) if found else 0


def test_refused_files_are_told_and_the_others_go_on(browser: Browser, tmp_path: Path) -> None:
    """A name that is taken under `reject` and files that are too large are told on their rows, the others are
    stored; what has failed leaves no open upload behind, and can be tried again."""
    files = [make(tmp_path, f"{at}.bin", 100 * at) for at in range(8)]
    large = [make(tmp_path, name, size) for name, size in (("large.bin", 5000), ("larger.bin", 2 * MEBIBYTE))]
    limits = {"max_size": 4000, "on_conflict": "reject"}
    with running_service(tmp_path, upload=limits) as service:
        taken = make(service.directory(), "3.bin", 5)
        with page_of(browser, expected="status of 413") as page:
            open_upload(page, f"{service.url}/upload")
            page.set_input_files("#files", [*files, *large])
            expect_batch(page, "failed")
            expect_state(page, "larger.bin", "failed")
            expect(batch(page).locator(".words")).to_have_text("7 of 9 files stored and verified · 2 failed")
            assert failures(page) == {"3.bin": "name_taken", "large.bin": "too_large"}
            expect(batch(page).locator(".name")).to_have_text("0.bin and 8 more")
            told = batch(page).locator(".failure").first
            expect(told).to_contain_text("There is something of this name already.")
            others = contents([*files[:3], *files[4:]], tmp_path)
            assert stored(service.directory()) == others | contents([taken], service.directory())
            while metric(service, 'jackfield_upload_open{handler="upload"}'):
                page.wait_for_timeout(20)
            taken.unlink()
            batch(page).get_by_role("button", name="Try again").click()
            expect(batch(page).locator(".words")).to_have_text("8 of 9 files stored and verified · 1 failed")
            assert failures(page) == {"large.bin": "too_large"}
        assert stored(service.directory()) == contents(files, tmp_path)


def test_a_killed_service_loses_no_file(browser: Browser, tmp_path: Path) -> None:
    """SIGKILL in the middle and a new start: the page goes on by itself until each file is stored, whole, and once."""
    tree = tmp_path / "tree"
    files = make_tree(tree, 300)
    with running_service(tmp_path) as service:
        with relay_to(service.port) as relay, page_of(browser, expected=LOST) as page:
            open_upload(page, f"{relay.url}/upload")
            relay.hold_after(MEBIBYTE)
            page.set_input_files("#folder", tree)
            expect(batch(page).locator(".bar")).to_have_attribute("aria-valuenow", re.compile("^[1-9]"))
            service.kill()
            expect_batch(page, "waiting")
            relay.hold_after(None)
            service.start()
            expect_batch(page, "stored")
        assert stored(service.directory(), tree.name) == contents(files, tmp_path)


def test_what_was_stored_is_not_stored_again(browser: Browser, service: Service, tmp_path: Path) -> None:
    """Receipts are lost with the socket: all without an answer are created again by the same token, and stored once.
    None of them is said to have been there already: this page has sent them."""
    files = make_tree(tmp_path / "many once", 12)
    receipts: list[str] = []

    def lose_the_fifth(answer: dict[str, object]) -> dict[str, object] | None:
        if answer["type"] == "stored":
            receipts.append(str(answer["name"]))
        return answer if len(receipts) < 5 else None

    with page_of(browser) as page:
        page.route_web_socket("**/upload", first_socket(lose_the_fifth))
        open_upload(page, f"{service.url}/upload")
        page.set_input_files("#folder", tmp_path / "many once")
        expect_batch(page, "stored")
        expect(batch(page).locator(".notes")).to_be_hidden()
    assert stored(service.directory(), "many once") == contents(files, tmp_path)


def test_a_false_receipt_is_no_success(browser: Browser, service: Service, tmp_path: Path) -> None:
    """A receipt with another digest than that of the file is shown as a failure."""
    files = [make(tmp_path, f"many false {at}.bin", 1000) for at in range(3)]

    def falsify(answer: dict[str, object]) -> dict[str, object]:
        return answer | {"sha256": "0" * 64} if answer.get("name") == files[1].name and "size" in answer else answer

    with page_of(browser, expected="status of 409") as page:
        page.route_web_socket("**/upload", first_socket(falsify))
        open_upload(page, f"{service.url}/upload")
        page.set_input_files("#files", files)
        expect_batch(page, "failed")
        assert failures(page) == {files[1].name: "digest_mismatch"}


def test_changed_bytes_are_not_stored(browser: Browser, service: Service, tmp_path: Path) -> None:
    """Bytes that change on their way do not fit the digest in `end`: that file fails, the others are stored."""
    files = [make(tmp_path, f"many bent {at}.bin", 1000) for at in range(3)]
    bent = files[1].read_bytes()

    def opened(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        socket.on_message(lambda message: server.send(message[::-1] if message == bent else message))

    with page_of(browser) as page:
        page.route_web_socket("**/upload", opened)
        open_upload(page, f"{service.url}/upload")
        page.set_input_files("#files", files)
        expect_batch(page, "failed")
        assert failures(page) == {files[1].name: "digest_mismatch"}
    assert not (service.directory() / files[1].name).exists()
    assert contents([files[0], files[2]], tmp_path).items() <= stored(service.directory()).items()


def test_a_file_that_cannot_be_read_is_told(browser: Browser, service: Service, tmp_path: Path) -> None:
    """A choice waits for the one before; a file of it that changes meanwhile fails, the others are stored."""
    before = [make(tmp_path, f"many first {at}.bin", 1000) for at in range(2)]
    files = [make(tmp_path, f"many second {at}.bin", 1000) for at in range(3)]
    with relay_to(service.port) as relay, page_of(browser) as page:
        open_upload(page, f"{relay.url}/upload")
        relay.hold_after(1)
        page.set_input_files("#files", before)
        expect_batch(page, "connecting")
        page.set_input_files("#files", files)
        expect_batch(page, "queued")
        files[1].write_bytes(b"another")
        relay.hold_after(None)
        expect_batch(page, "failed")
        assert failures(page) == {files[1].name: "unreadable"}
    assert contents([*before, files[0], files[2]], tmp_path).items() <= stored(service.directory()).items()


def test_too_many_open_uploads_are_waited_for(browser: Browser, service: Service, tmp_path: Path) -> None:
    """Where others fill the service up the page says so and waits; nothing has failed when there is room again."""
    files = [make(tmp_path, f"many crowded {at}.bin", 1000) for at in range(5)]
    urls = [str(http(f"{service.url}/crowded", "POST", {"name": f"open {at}"})["url"]) for at in range(2)]
    with page_of(browser) as page:
        open_upload(page, f"{service.url}/crowded")
        page.set_input_files("#files", files)
        expect_batch(page, "waiting")
        expect(batch(page).locator(".words")).to_contain_text("The service has too many unfinished uploads.")
        for url in urls:
            http(f"{service.url}{url}", "DELETE")
        # It may be trying by itself at this moment.
        batch(page).get_by_role("button", name="Try now").evaluate_all("found => found.forEach((one) => one.click())")
        expect_batch(page, "stored")
    assert contents(files, tmp_path).items() <= stored(service.directory("crowded")).items()


def test_a_silent_socket_is_given_up(browser: Browser, service: Service, tmp_path: Path) -> None:
    """A socket on which nothing is said for two minutes is left for a new one."""
    files = [make(tmp_path, f"many silent {at}.bin", 1000) for at in range(3)]
    sockets: list[WebSocketRoute] = []

    def opened(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        if len(sockets) > 1:
            socket.connect_to_server()

    with page_of(browser) as page:
        page.clock.install()
        page.route_web_socket("**/upload", opened)
        open_upload(page, f"{service.url}/upload")
        page.set_input_files("#files", files)
        expect_batch(page, "sending")
        page.clock.fast_forward("03:00")
        expect_batch(page, "stored")
    assert contents(files, tmp_path).items() <= stored(service.directory()).items()


def test_a_socket_closed_for_idling_is_opened_again(browser: Browser, service: Service, tmp_path: Path) -> None:
    """A link that stalls for longer than the service waits: why is told, and the files go on over a new socket."""
    files = make_tree(tmp_path / "many idle", 60)
    with relay_to(service.port) as relay, page_of(browser) as page:
        open_upload(page, f"{relay.url}/idle")
        relay.hold_after(100_000)
        page.set_input_files("#folder", tmp_path / "many idle")
        expect(batch(page).locator(".words")).to_contain_text("Nothing was sent for too long.")
        relay.hold_after(None)
        expect_batch(page, "stored")
    assert contents(files, tmp_path).items() <= stored(service.directory("idle")).items()
