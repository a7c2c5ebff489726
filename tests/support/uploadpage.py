"""What tests do with the upload page, and wait for on it."""

import random
import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.support.browser import PATIENCE

expect.set_options(timeout=PATIENCE)
MEBIBYTE = 1024 * 1024


def make(folder: Path, name: str, size: int) -> Path:
    """A file of random bytes, always the same for one name."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(name).randbytes(size))
    return path


def row(page: Page, name: str) -> Locator:
    """The upload that began with this name."""
    return page.locator(".upload").filter(has=page.locator(f".name:text-is('{name}')"))


def expect_state(page: Page, name: str, state: str) -> None:
    """Wait until the upload of this name has come to this state."""
    expect(row(page, name)).to_have_attribute("data-state", re.compile(f"^({state})$"))


def open_upload(page: Page, url: str) -> None:
    """The upload page, once it has looked at what was begun before."""
    page.goto(url)
    expect(page.locator("html")).to_have_attribute("data-ready", "")


def wait_until_durable(page: Page, name: str) -> None:
    """Wait until all that has arrived is durable, which takes the service a second without new bytes."""
    bar = row(page, name).locator(".bar")
    expect(bar).to_have_attribute("aria-valuenow", re.compile(r"^[1-9]"))
    expect(bar).to_have_attribute("aria-valuetext", re.compile(r"^(.+) of .+, \1 safe on disk$"))
