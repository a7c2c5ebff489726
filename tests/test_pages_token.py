"""The pages of a service that wants to know who comes: they ask for a token, or take it from a guest's link."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from jackfield.app.auth import tokens
from jackfield.app.auth.tokens import Token
from tests.support.browser import CHROMIUM, page_of
from tests.support.service import Service, running_service
from tests.support.uploadpage import expect_batch, expect_state, make, open_upload, row

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")

SECRET = "the-secret-of-alice"
ANSWERS = r"Failed to load resource: the server responded with a status of 4(01|03|26)"


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with tokens: one for pingpong alone, one for a kilobyte a day."""
    file = tmp_path_factory.mktemp("tokens") / "tokens.yaml"
    known = [
        Token(name="alice", sha256=tokens.hash_secret(SECRET)),
        Token(name="player", sha256=tokens.hash_secret("ball"), handlers=("pingpong",)),
        Token(name="sparing", sha256=tokens.hash_secret("sparing"), daily_quota=1000),
    ]
    tokens.write(file, known)
    with running_service(tmp_path_factory.mktemp("gated"), server={"auth": {"tokens": str(file)}}) as running:
        yield running
    assert SECRET not in running.output()


def say(page: Page, secret: str) -> None:
    """Fill in a token."""
    page.get_by_label("Your token").fill(secret)
    page.get_by_role("button", name="Go on").click()


def test_a_page_asks_for_the_token(browser: Browser, gated: Service, tmp_path: Path) -> None:
    """Wrong ones are refused in words; with the right one everything works, until the tab is closed."""
    files = [make(tmp_path, f"asked {name}.bin", size) for name, size in (("a", 9), ("b", 99), ("c", 3_000_000))]
    with page_of(browser, expected=ANSWERS) as page:
        page.goto(f"{gated.url}/upload")
        expect(page.get_by_role("button", name="Choose files")).to_be_hidden()
        say(page, "wrong")
        expect(page.get_by_role("alert")).to_have_text("The service does not know this token, or it has expired.")
        say(page, "ball")
        expect(page.get_by_role("alert")).to_have_text("This token does not open this page.")
        say(page, SECRET)
        page.set_input_files("#files", files)
        expect_batch(page, "stored")
        expect_state(page, files[2].name, "stored")
        page.goto(f"{gated.url}/pingpong")
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_role("status")).to_have_text("Closed: 1000 done")


def test_a_link_for_guests_says_it_by_itself(browser: Browser, gated: Service, tmp_path: Path) -> None:
    """The secret leaves the address bar at once, and a reload still knows it."""
    with page_of(browser, expected=ANSWERS) as page:
        open_upload(page, f"{gated.url}/upload#{SECRET}")
        expect(page).to_have_url(f"{gated.url}/upload")
        page.reload()
        expect(page.locator("html")).to_have_attribute("data-ready", "")
        page.set_input_files("#files", make(tmp_path, "guest.bin", 999))
        expect_state(page, "guest.bin", "stored")


def test_a_service_without_tokens_asks_nobody(browser: Browser, service: Service) -> None:
    """And no request is made to find that out."""
    with page_of(browser) as page:
        open_upload(page, f"{service.url}/upload")
        expect(page.get_by_role("button", name="Choose files")).to_be_visible()


def test_a_quota_that_is_used_up_is_said(browser: Browser, gated: Service, tmp_path: Path) -> None:
    """At once, and not tried again and again."""
    with page_of(browser, expected=r"status of 4(26|29)") as page:
        open_upload(page, f"{gated.url}/upload#sparing")
        page.set_input_files("#files", make(tmp_path, "large.bin", 3_000_000))
        expect_state(page, "large.bin", "failed")
        expect(row(page, "large.bin")).to_contain_text("You have stored as much as you may in a day.")
