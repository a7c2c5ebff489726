"""The same files chosen again on the upload page: what is stored is said, what is missing is sent."""

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import CHROMIUM, ELSEWHERE, page_of
from tests.support.relay import relay_to
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
    wait_until_durable,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")

MISSING = "status of 404"  # what the browser writes when it asks for a file that is not there yet


def test_a_folder_chosen_again_after_a_reload_is_completed(browser: Browser, service: Service, tmp_path: Path) -> None:
    """600 small files, a reload in the middle, the folder chosen again: each is there once, what was stored is said
    to be, and its bytes are not sent again."""
    tree = tmp_path / "again folder"
    files = [make(tree, f"{at % 7}/{at}.bin", 2000) for at in range(600)]
    with relay_to(service.port) as relay, page_of(browser, expected=MISSING) as page:
        open_upload(page, f"{relay.url}/upload")
        relay.hold_after(750_000)
        page.set_input_files("#folder", tree)
        expect(batch(page).locator(".words")).to_contain_text(re.compile(r"^(1[89]|[2-5]\d)\d of 600"))
        page.reload()
        relay.cut()
        expect(page.locator("html")).to_have_attribute("data-ready", "")
        before = relay.passed
        page.set_input_files("#folder", tree)
        expect_batch(page, "stored")
        told = re.match(r"(\d+) files had been stored already", batch(page).locator(".notes").inner_text())
        assert told
        there = int(told[1])
        assert 180 <= there < 600
        assert relay.passed - before < 2000 * (600 - there) + 600 * 1200  # the bytes that were missing, and talk
    assert stored(service.directory(), tree.name) == contents(files, tmp_path)


def test_a_large_file_chosen_again_goes_on(browser: Browser, service: Service, tmp_path: Path) -> None:
    """Where the page remembers nothing but its secret, a file that was begun goes on; one that is stored is said to be,
    and not sent. To send it again is offered, and makes a second one."""
    file = make(tmp_path, "again large.bin", 5 * MEBIBYTE)
    with relay_to(service.port) as relay, page_of(browser) as page:
        open_upload(page, f"{relay.url}/upload")
        relay.hold_after(3 * MEBIBYTE)
        page.set_input_files("#files", file)
        wait_until_durable(page, file.name)
        page.evaluate("localStorage.clear()")
        page.reload()
        relay.cut()
        for words in ("stored and verified", "already stored"):
            open_upload(page, f"{relay.url}/upload")
            before = relay.passed
            page.set_input_files("#files", file)
            expect_state(page, file.name, "stored")
            expect(row(page, file.name).locator(".words")).to_contain_text(words)
            assert relay.passed - before < 3 * MEBIBYTE
        row(page, file.name).get_by_role("button", name="Send again").click()
        expect(page.locator(".name")).to_have_text("again large.1.bin")
    for name in (file.name, "again large.1.bin"):
        assert (service.directory() / name).read_bytes() == file.read_bytes()


def test_a_file_that_was_lost_before_its_turn_is_chosen_again(
    browser: Browser, service: Service, tmp_path: Path
) -> None:
    """Ten files, of which three are at work, and a reload: chosen again all ten are stored, each once."""
    files = [make(tmp_path, f"again queued {at}.bin", MEBIBYTE + 1 + at) for at in range(10)]
    with relay_to(service.port) as relay, page_of(browser) as page:
        open_upload(page, f"{relay.url}/upload")
        relay.hold_after(500_000)
        page.set_input_files("#files", files)
        for file in files[:3]:
            wait_until_durable(page, file.name)
        page.reload()
        relay.cut()
        expect(page.locator(".upload[data-state=parked]")).to_have_count(3)
        page.set_input_files("#files", files)
        expect(page.locator(".upload[data-state=stored]")).to_have_count(10)
    found = {name for name in stored(service.directory()) if name.startswith("again queued")}
    assert found == {file.name for file in files}


def test_other_bytes_of_the_same_size_and_time_are_stored(browser: Browser, service: Service, tmp_path: Path) -> None:
    """Files that were changed and given back their time get the same token: the digest tells them apart."""
    small, large = (make(tmp_path, f"again {size}.bin", size) for size in (1000, 2 * MEBIBYTE))
    other = make(tmp_path, "again beside.bin", 10)
    with page_of(browser) as page:
        open_upload(page, f"{service.url}/upload")
        page.set_input_files("#files", [small, other, large])
        expect_batch(page, "stored")
        expect_state(page, large.name, "stored")
        for file in (small, large):
            status = file.stat()
            file.write_bytes(file.read_bytes()[::-1])
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        open_upload(page, f"{service.url}/upload")
        page.set_input_files("#files", [small, other, large])
        expect_batch(page, "stored")
        expect(page.locator(".upload[data-state=stored]")).to_have_count(2)
    for file in (small, large):
        assert (service.directory() / f"{file.stem}.1.bin").read_bytes() == file.read_bytes()
    assert not (service.directory() / "again beside.1.bin").exists()


def test_files_that_look_alike_are_all_stored(browser: Browser, service: Service, tmp_path: Path) -> None:
    """Two files of one name, size and time from two folders in one choice are two files, also chosen again."""
    files = [make(tmp_path / folder, "again twin.bin", 1000) for folder in ("one", "two")]
    files[1].write_bytes(files[0].read_bytes()[::-1])
    for file in files:
        os.utime(file, (1000, 1000))
    with page_of(browser) as page:
        for words in ("stored and verified", "had been stored already"):
            open_upload(page, f"{service.url}/upload")
            page.set_input_files("#files", files)
            expect_batch(page, "stored")
            expect(batch(page)).to_contain_text(words)
    found = {name: digest for name, digest in stored(service.directory()).items() if name.startswith("again twin")}
    assert set(found) == {"again twin.bin", "again twin.1.bin"}
    assert set(found.values()) == set(contents(files, tmp_path).values())


def test_small_files_are_sent_again_when_that_is_asked_for(browser: Browser, service: Service, tmp_path: Path) -> None:
    """What was stored before is stored once more, under other names, only after Send again."""
    files = make_tree(tmp_path / "again asked", 5)
    with page_of(browser) as page:
        for _ in range(2):
            open_upload(page, f"{service.url}/upload")
            page.set_input_files("#folder", tmp_path / "again asked")
            expect_batch(page, "stored")
        assert stored(service.directory(), "again asked") == contents(files, tmp_path)
        batch(page).get_by_role("button", name="Send again").click()
        expect(batch(page).locator(".notes")).to_contain_text("5 files stored under another name")
    assert len(stored(service.directory(), "again asked")) == 10


def test_tokens_are_the_same_without_webcrypto(browser: Browser, service: Service, tmp_path: Path) -> None:
    """On plain http from another host the page derives its tokens as well: what is stored is not stored twice."""
    files = make_tree(tmp_path / "again plain", 3)
    with page_of(browser) as page:
        for words in ("stored and verified", "3 files had been stored already"):
            open_upload(page, f"http://{ELSEWHERE}:{service.port}/upload")
            assert page.evaluate("globalThis.crypto.subtle === undefined")
            page.set_input_files("#folder", tmp_path / "again plain")
            expect_batch(page, "stored")
            expect(batch(page)).to_contain_text(words)
    assert stored(service.directory(), "again plain") == contents(files, tmp_path)


TOKENS = """async (secret) => {
  const { tokens, freshToken } = await import("/assets/upload/token.js");
  const token = await tokens("/upload");
  const file = { name: "a", size: 1, modified: 2 };
  const others = [{ name: "b" }, { size: 2 }, { modified: 3 }, { nth: 1 }].map((part) => token({ ...file, ...part }));
  return [token(file), token(file), (await tokens("/other"))(file), freshToken(), freshToken(), ...others];
}"""


def test_tokens_tell_files_apart(browser: Browser, service: Service) -> None:
    """A token depends on the service, the name, the size, the time and the browser, and has the right form."""
    found: list[list[str]] = []
    for _ in range(2):
        with page_of(browser) as page:
            open_upload(page, f"{service.url}/upload")
            found.append(page.evaluate(TOKENS))
            assert page.evaluate(TOKENS)[0] == found[-1][0]  # the secret is kept
    one, two = found
    assert one[0] == one[1]
    assert len({*one, *two}) == len(one) + len(two) - 2
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22,64}", token) for token in one)
