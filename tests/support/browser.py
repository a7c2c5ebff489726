"""A real Chromium, driven by Playwright, and pages whose consoles must stay clean."""

import contextlib
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
PATIENCE = 30_000  # milliseconds; a browser on a busy machine is slow
ELSEWHERE = "uploads.example"  # the loopback under a name that browsers do not trust as they do localhost
_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1",
]  # fmt: skip

# What Chromium itself writes when a link is lost, as a test does on purpose.
LOST = r"WebSocket connection to .* failed|Failed to load resource: net::ERR_"


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser for the length of the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


class Console:
    """What a page complains of: console messages, errors nobody caught, what the policy forbade."""

    def __init__(self, page: Page) -> None:
        self.lines: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.lines.append(f"uncaught: {error}"))

    def _console(self, message: ConsoleMessage) -> None:
        self.lines.append(f"{message.type}: {message.text}")

    def assert_clean(self, expected: str) -> None:
        """Nothing was written but what the test expects, a regular expression."""
        assert [line for line in self.lines if not (expected and re.search(expected, line))] == []


@contextlib.contextmanager
def page_of(browser: Browser, *, expected: str = "", **options: Any) -> Iterator[Page]:
    """A page with a storage of its own, whose console must hold nothing but what is `expected`.

    `options` go to Playwright's `new_context`. A page that asks whether it may be left is told yes.
    """
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.on("dialog", lambda dialog: dialog.accept())
    console = Console(page)
    try:
        yield page
        console.assert_clean(expected)
    finally:
        context.close()


def drop(page: Page, selector: str, paths: Sequence[Path]) -> None:
    """Drop files and folders on an element, as the desktop does it."""
    box = page.locator(selector).bounding_box()
    assert box is not None
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        session.send("Input.dispatchDragEvent", {"type": kind, "data": data, **where})
    session.detach()
