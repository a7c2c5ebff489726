"""The contract, "HTTP": a form, `multipart/form-data`, stores every part that is a file."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.support.curl import chunk, curl, head, needs_curl
from tests.support.outsider import Outsider, content, digest, eventually, fresh_name
from tests.support.rawhttp import Answered, answer
from tests.support.service import Service

MIB = 2**20
EDGE = "edge-of-a-part"
FORM = f"multipart/form-data; boundary={EDGE}"

Part = tuple[str, bytes]


def form(*parts: Part) -> bytes:
    """A whole body; each part has its header lines, without the last CRLF, and its bytes."""
    lines = b"".join(b"--%s\r\n%s\r\n\r\n%s\r\n" % (EDGE.encode(), head.encode(), data) for head, data in parts)
    return lines + b"--%s--\r\n" % EDGE.encode()


def file(name: str, data: bytes, *lines: str) -> Part:
    """A part that is a file."""
    return "\r\n".join([f'Content-Disposition: form-data; name="file"; filename="{name}"', *lines]), data


def field(data: bytes) -> Part:
    """A part that is none."""
    return 'Content-Disposition: form-data; name="comment"', data


async def post(outsider: Outsider, body: bytes, at: str = "/upload", kind: str = FORM, **headers: str) -> Answered:
    """Send a form on a connection of its own."""
    opened = await outsider.tcp()
    sending = asyncio.create_task(opened.send(head("POST", at, len(body), content_type=kind, **headers) + body))
    found = await answer(opened)
    await sending
    return found


def receipts(found: Answered) -> list[dict[str, Any]]:
    """Those of an answer 201."""
    assert found.status == 201, found
    return list(json.loads(found.body))


async def test_each_file_is_stored_and_the_rest_is_not(outsider: Outsider) -> None:
    """Receipts in their order, as `GET` gives them; names in NFC, with folders; fields and empty choices are none."""
    name, large = fresh_name(), content(300_000)
    body = form(field(b"a"), file(f"{name}/e\u0301.txt", b"one"), file("", b""), file(f"{name}.bin", large), field(b""))
    stored = receipts(await post(outsider, body))
    assert [each["name"] for each in stored] == [f"{name}/\u00e9.txt", f"{name}.bin"]
    assert [each["sha256"] for each in stored] == [digest(b"one"), digest(large)]
    assert [outsider.stored(each) for each in stored] == [b"one", large]
    assert {each["state"] for each in stored} == {"stored"}


async def test_a_form_may_come_in_chunks_and_wait_for_its_word(outsider: Outsider) -> None:
    """Without a length, in pieces that cut boundaries and headers; `100 Continue` is said."""
    body = form(file(fresh_name(), content(5000)), file(fresh_name(), b""))
    opened = await outsider.tcp()
    await opened.send(head("POST", "/upload", None, content_type=FORM, expect="100-continue"))
    assert (await answer(opened)).status == 100
    for start in range(0, len(body), 97):
        opened.write(chunk(body[start : start + 97]))
    await opened.send(chunk(b""))
    stored = receipts(await answer(opened))
    assert [each["sha256"] for each in stored] == [digest(content(5000)), digest(b"")]
    await opened.send(head("GET", "/healthz", 0))
    assert (await answer(opened)).status == 200


async def test_if_one_fails_those_before_it_are_told(outsider: Outsider) -> None:
    """Its problem document has their receipts as `stored`; nothing behind it is looked at."""
    good, bad = fresh_name(), fresh_name()
    for wrong, status, word in (
        (file("/up", b"x"), 400, "invalid_name"),
        (file(bad, content(MIB + 1)), 413, "too_large"),
        (file(bad, b"x", "Content-Transfer-Encoding: base64"), 415, "unsupported_media_type"),
        (file(bad, b"x", "Content-Encoding: gzip"), 415, "unsupported_media_type"),
        (
            file(bad, b"x", "Repr-Digest: sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"),
            422,
            "digest_mismatch",
        ),
        (field(bytes(MIB + 1)), 413, "too_large"),
    ):
        found = await post(outsider, form(file(good, b"good"), wrong, file("behind", b"")), at="/small")
        assert (found.status, found.code) == (status, word)
        assert [each["sha256"] for each in json.loads(found.body)["stored"]] == [digest(b"good")]
        assert not {bad, "behind"} & {*outsider.published("/small")}


@pytest.mark.parametrize(
    "body",
    [form(), form(field(b"x")), b"", b"no form", form(file("cut", b"x"))[:-20], b"--" + EDGE.encode() + b"\r\n"],
    ids=["empty", "field", "nothing", "garbage", "cut", "head"],
)
async def test_a_form_without_a_file_and_what_is_no_form(outsider: Outsider, body: bytes) -> None:
    """400, and nothing is stored."""
    found = await post(outsider, body)
    assert found.status == 400
    assert found.code in ("bad_request", "incomplete")
    assert "cut" not in outsider.published()


async def test_a_form_without_a_boundary(outsider: Outsider) -> None:
    """400 as well."""
    assert (await post(outsider, form(file("x", b"")), kind="multipart/form-data")).code == "bad_request"


async def test_a_form_that_ends_early_or_stalls(outsider: Outsider) -> None:
    """What was whole stays, the file that was not leaves nothing; who stalls gets 408 `idle`."""
    before, whole, cut = outsider.parts("/idle"), fresh_name(), fresh_name()
    body = form(file(whole, b"whole"), file(cut, content(100_000)))
    opened = await outsider.tcp()
    await opened.send(head("POST", "/idle", len(body), content_type=FORM) + body[:-1000])
    found = await answer(opened)
    assert (found.status, found.code) == (408, "idle")
    assert [each["name"] for each in json.loads(found.body)["stored"]] == [whole]
    opened = await outsider.tcp()
    await opened.send(head("POST", "/idle", len(body), content_type=FORM) + body[:-1000])
    await opened.delivered()
    opened.drop()

    async def clean() -> bool:
        return outsider.parts("/idle") <= before

    await eventually(clean)
    assert cut not in outsider.published("/idle")


async def test_a_browser_gets_a_page(outsider: Outsider) -> None:
    """Where `Accept` names HTML; what is in a name is text there."""
    name = f"<b>&{fresh_name()}"
    found = await post(outsider, form(file(name, b"x")), accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert (found.status, found.headers["content-type"]) == (201, "text/html; charset=utf-8")
    assert b"&lt;b&gt;&amp;" in found.body
    assert digest(b"x").encode() in found.body
    assert b"<b>&" not in found.body


async def test_a_page_of_another_site_cannot_post_one(outsider: Outsider) -> None:
    """A form needs no preflight, so its `Origin` is what counts."""
    for origin in ("https://elsewhere.example", "null"):
        assert (await post(outsider, form(file("x", b"")), origin=origin)).code == "forbidden_origin"


@needs_curl
async def test_curl_sends_a_form(outsider: Outsider, service: Service, tmp_path: Path) -> None:
    """`curl -F file=@a -F file=@b`, of which one is too large to be sent unasked."""
    files = {fresh_name(): content(size) for size in (10, 3 * MIB)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    words = [word for name in files for word in ("-F", f"file=@{name}")]
    sent = await curl(*words, f"{service.url}/upload", at=tmp_path)
    assert (sent.exit, sent.status) == (0, 201)
    assert {each["name"]: each["sha256"] for each in json.loads(sent.body)} == {
        name: digest(data) for name, data in files.items()
    }


def test_the_page_sends_files_without_scripts(browser: Browser, service: Service, tmp_path: Path) -> None:
    """Its form, in a browser whose scripts are switched off; with scripts there is no such form."""
    path = tmp_path / fresh_name()
    path.write_bytes(content(70_000))
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{service.url}/upload")
        assert not page.locator("#zone").is_visible()
        page.set_input_files("input[type=file][name=file]", [path])
        page.click("form button")
        page.wait_for_url("**/upload")
        page.get_by_text(digest(content(70_000))).wait_for()
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{service.url}/upload")
        page.locator("#zone").wait_for()
        assert not page.locator("form").count()
    assert (service.directory() / path.name).read_bytes() == content(70_000)
