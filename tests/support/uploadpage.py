"""What tests do with the upload page, and wait for on it."""

import random
import re
from collections.abc import Iterable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.support.browser import PATIENCE
from tests.support.outsider import digest

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


def make_tree(folder: Path, count: int) -> list[Path]:
    """So many files of up to 20 KB, the first of them empty, in folders within folders."""
    return [make(folder, f"part {at % 5}/deep {at % 3}/{at}.bin", at * 977 % 20_000) for at in range(count)]


def batch(page: Page) -> Locator:
    """The newest row of many small files."""
    return page.locator(".batch").last


def expect_batch(page: Page, state: str) -> None:
    """Wait until many small files have come to this state."""
    expect(batch(page)).to_have_attribute("data-state", state)


def failures(page: Page) -> dict[str, str]:
    """The files of it that have failed, and the code word of each."""
    found = batch(page).locator(".failure").all()
    return {row.locator(".file-name").inner_text(): str(row.get_attribute("data-code")) for row in found}


def contents(files: Iterable[Path], folder: Path) -> dict[str, str]:
    """The digests of these files, by the names that they have from this folder on."""
    return {str(file.relative_to(folder)): digest(file.read_bytes()) for file in files}


def stored(directory: Path, folder: str = "") -> dict[str, str]:
    """The digests of all files that the service has published, in one folder of it if that is named."""
    found = [path for path in (directory / folder).rglob("*") if path.is_file() and ".incoming" not in path.parts]
    return contents(found, directory)


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
