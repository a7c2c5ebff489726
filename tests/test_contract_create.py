"""The contract, "Create", "Ask" and "Cancel": an upload as an HTTP resource."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from tests.support.outsider import Outsider, content, digest, eventually, fresh_name

NAMES = [
    "a", "data.xml", "a/b/c.txt", "with space.txt", "a b/c d", "é.txt", "日本語/ファイル.bin", "🙂", "-rf",
    "~", "a..b", "a.", "%2e%2e", "C:", "nul", "*?<>|\"'", "x" * 255, "é" * 127,
    "/".join(["d" * 255] * 4), "\u00a0", "\u200b", "\u200d\u200e", "/".join("d" * 33),
]  # fmt: skip
BAD_NAMES = {
    "empty": "", "root": "/", "absolute": "/etc/passwd", "trailing slash": "a/", "double slash": "a//b",
    "dot": ".", "dot dot": "..", "up": "../a", "up inside": "a/../b", "dot inside": "a/./b", "hidden": ".a",
    "hidden inside": "a/.b", "staging": ".incoming/x", "backslash": "a\\b", "leading space": " a",
    "trailing space": "a ", "space before slash": "a /b", "space after slash": "a/ b", "only space": " ",
    "nul": "a\0b", "newline": "a\n", "tab": "a\tb", "delete": "a\x7f", "c1": "a\x85b", "nfd": "e\u0301.txt",
    "long part": "x" * 256, "long part in bytes": "é" * 128, "long name": "/".join(["d" * 255] * 4) + "/",
    "one byte too long": "/".join(["d" * 255] * 3 + ["d" * 254]) + "/ab", "compatibility form": "\u212b",
    "override": "a\u202egpj.exe", "isolate": "a\u2066b", "line separator": "\u2028", "deep": "/".join("d" * 34),
}  # fmt: skip
BAD_REQUESTS = {
    "not json": b"{", "empty": b"", "a list": b"[]", "a string": b'"a"', "null": b"null", "no name": b"{}",
    "null name": b'{"name":null}', "number as name": b'{"name":5}', "not utf-8": b'{"name":"\xff"}',
    "utf-16": '{"name":"a"}'.encode("utf-16"), "too deep": b"[" * 100_000, "a fraction": b'{"name":"a","size":1e400}',
    "a key twice": b'{"name":"a","name":"b"}', "not a number": b'{"name":"a","mtime":NaN}',
    "short token": b'{"name":"a","token":"a"}', "odd token": b'{"name":"a","token":"\\ud800%s"}' % (b"a" * 22),
    **{
        f"size {size}": b'{"name":"a","size":%s}' % size.encode()
        for size in ('"5"', "-1", "1.5", "true", "[]")
    },
    **{
        f"sha256 {kind}": b'{"name":"a","sha256":%s}' % value.encode()
        for kind, value in {"short": '"abc"', "upper case": f'"{"A" * 64}"', "number": "5",
                            "not hex": f'"{"g" * 64}"', "newline": f'"{"a" * 64}\\n"'}.items()
    },
}  # fmt: skip


def moment(text: str) -> datetime:
    """An RFC 3339 time, which must be in UTC."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", text), text
    return datetime.fromisoformat(text)


async def test_creation_says_where_and_how(outsider: Outsider) -> None:
    """201 with the location, the offset, the expiry as an HTTP date, and the same and more as JSON."""
    name = fresh_name()
    answer = await outsider.post_json({"name": name, "size": 5, "sha256": digest(b"hello"), "unknown": [1]})
    assert answer.status == 201
    found = answer.json()
    assert found.keys() >= {"token", "url", "name", "size", "offset", "message_size", "window", "expires"}
    assert (found["name"], found["size"], found["offset"]) == (name, 5, 0)
    assert (found["message_size"], found["window"]) == (256 * 1024, 8 * 1024 * 1024)
    assert found["url"] == f"/upload/{found['token']}" == answer.headers["Location"]
    assert answer.headers["Upload-Offset"] == "0"
    expires = moment(found["expires"])
    header = parsedate_to_datetime(answer.headers["Upload-Expires"])
    assert answer.headers["Upload-Expires"].endswith(" GMT")
    assert abs(header - expires) <= timedelta(seconds=1)
    assert abs(expires - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)


async def test_null_is_as_if_absent(outsider: Outsider) -> None:
    """`size` and `sha256` may be null, and say the same as when they are left out."""
    for promises in ({}, {"size": None, "sha256": None}):
        answer = await outsider.post_json({"name": fresh_name(), **promises})
        assert answer.json()["size"] is None
        assert "Upload-Length" not in answer.headers


async def test_a_token_cannot_be_guessed(outsider: Outsider) -> None:
    """Tokens have room for 128 bits, go into a URL as they are, and no two are alike."""
    tokens = {(await outsider.create()).rpartition("/")[2] for _ in range(50)}
    assert len(tokens) == 50
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22,}", token) for token in tokens)
    assert all(len(set(column)) > 1 for column in list(zip(*tokens, strict=False))[:22]), "a constant part"


async def test_a_plain_creation_answers_the_token_alone(outsider: Outsider) -> None:
    """A body that is a name, with or without a charset, gets 201 and the bare token."""
    for kind in ("text/plain", "text/plain; charset=utf-8", "Text/Plain;charset=UTF-8"):
        answer = await outsider.http("POST", "/upload", f"é{fresh_name()}".encode(), {"Content-Type": kind})
        assert answer.status == 201
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert answer.headers["Location"] == f"/upload/{answer.body.decode()}"
        assert answer.headers["Upload-Offset"] == "0"
        assert parsedate_to_datetime(answer.headers["Upload-Expires"]) > datetime.now(UTC)


@pytest.mark.parametrize("name", NAMES)
async def test_a_good_name_is_kept_as_it_is(outsider: Outsider, name: str) -> None:
    """A name within the rules is taken without a change, by JSON and by plain text."""
    answer = await outsider.post_json({"name": name})
    assert answer.status == 201, answer
    assert answer.json()["name"] == name
    url = await outsider.create_plain(name)
    assert (await outsider.ask(url))["name"] == name


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
async def test_a_bad_name_is_refused(outsider: Outsider, name: str) -> None:
    """A name outside the rules is 400 `invalid_name`; nothing is silently cleaned."""
    answer = await outsider.post_json({"name": name})
    assert (answer.status, answer.problem()) == (400, "invalid_name")
    plain = await outsider.post_plain(name.encode())
    assert (plain.status, plain.problem()) == (400, "invalid_name")


async def test_a_name_that_is_not_unicode_is_refused(outsider: Outsider) -> None:
    """A lone surrogate in JSON and bytes that are not UTF-8 in plain text make no name."""
    surrogate = await outsider.http("POST", "/upload", b'{"name":"\\ud800"}', {"Content-Type": "application/json"})
    assert (surrogate.status, surrogate.problem()) == (400, "invalid_name")
    broken = await outsider.post_plain(b"a\xffb")
    assert broken.status == 400
    assert broken.problem() in ("invalid_name", "bad_request")


@pytest.mark.parametrize("body", BAD_REQUESTS.values(), ids=BAD_REQUESTS)
async def test_a_malformed_creation_is_a_bad_request(outsider: Outsider, body: bytes) -> None:
    """What is not an object with a name, or promises something impossible, is 400 `bad_request`."""
    answer = await outsider.http("POST", "/upload", body, {"Content-Type": "application/json; charset=utf-8"})
    assert (answer.status, answer.problem()) == (400, "bad_request")


@pytest.mark.parametrize("kind", [None, "application/octet-stream", "text/html", "application/jsonx"])
async def test_another_media_type_is_not_supported(outsider: Outsider, kind: str | None) -> None:
    """Only JSON and plain text create an upload."""
    answer = await outsider.http("POST", "/upload", b"name", {"Content-Type": kind} if kind else {})
    assert (answer.status, answer.problem()) == (415, "unsupported_media_type")


async def test_asking_tells_the_state(outsider: Outsider) -> None:
    """GET and HEAD tell name, size, offset and expiry of an open upload, and are never cached."""
    name = fresh_name()
    url = await outsider.create(name, size=10)
    opened = await outsider.open(url)
    await opened.binary(b"12345")
    await opened.acked(5)
    answer = await outsider.get(url)
    assert answer.status == 200
    found = answer.json()
    assert (found["state"], found["name"], found["size"], found["offset"]) == ("open", name, 10, 5)
    assert "sha256" not in found
    head = await outsider.http("HEAD", url)
    assert (head.status, head.body) == (200, b"")
    for headers in (answer.headers, head.headers):
        assert headers["Cache-Control"] == "no-store"
        assert (headers["Upload-Offset"], headers["Upload-Length"]) == ("5", "10")
        assert abs(parsedate_to_datetime(headers["Upload-Expires"]) - moment(found["expires"])) <= timedelta(seconds=1)


async def test_a_length_that_is_not_known_is_not_told(outsider: Outsider) -> None:
    """Without a promised size there is no Upload-Length until the upload is stored."""
    url = await outsider.create()
    answer = await outsider.get(url, accept="application/json")
    assert answer.json()["size"] is None
    assert "Upload-Length" not in answer.headers
    sending = await outsider.open(url)
    await sending.binary(b"abc")
    await sending.finish(b"abc")
    assert (await outsider.get(url)).headers["Upload-Length"] == "3"


async def test_a_stored_upload_tells_its_digest_and_final_name(outsider: Outsider) -> None:
    """Once stored, the answer has the digest, the size and the name the file really got."""
    name = fresh_name()
    await outsider.send_whole(b"first", name)
    url = await outsider.create(name)
    sending = await outsider.open(url)
    await sending.binary(b"second")
    receipt = await sending.finish(b"second")
    found = await outsider.ask(url)
    assert (found["state"], found["sha256"], found["size"]) == ("stored", digest(b"second"), 6)
    assert found["offset"] == 6
    assert found["name"] == receipt["name"] != name
    moment(found["expires"])


@pytest.mark.parametrize("token", ["x", "A" * 22, "A" * 5000, "%2e%2e", "..%2f..%2fetc", "a%00b", "%C3%A9", "*"])
async def test_an_unknown_upload_is_not_found(outsider: Outsider, token: str) -> None:
    """Whatever stands in the place of a token, nobody's upload is 404 for every request."""
    for method in ("GET", "DELETE"):
        answer = await outsider.http(method, f"/upload/{token}")
        assert (answer.status, answer.problem()) in ((404, "unknown_upload"), (404, "not_found")), answer
    assert (await outsider.http("HEAD", f"/upload/{token}")).status == 404


async def test_cancelling_forgets_everything(outsider: Outsider) -> None:
    """DELETE is 204 once and 404 after it; the bytes leave the disk and no file appears."""
    url = await outsider.create(at="/replace")
    opened = await outsider.open(url)
    await opened.binary(content(300_000))
    await opened.durable(300_000)
    before = outsider.staged("/replace")
    answer = await outsider.http("DELETE", url)
    assert (answer.status, answer.body) == (204, b"")
    await opened.failed("cancelled", 4404)
    for method in ("GET", "DELETE"):
        assert (await outsider.http(method, url)).problem() == "unknown_upload"

    async def freed() -> bool:
        return outsider.staged("/replace") <= before - 300_000

    await eventually(freed)


async def test_what_is_stored_cannot_be_cancelled(outsider: Outsider) -> None:
    """DELETE of a stored upload is 409 and leaves the file."""
    url = await outsider.create()
    sending = await outsider.open(url)
    await sending.binary(b"kept")
    receipt = await sending.finish(b"kept")
    answer = await outsider.http("DELETE", url)
    assert (answer.status, answer.problem()) == (409, "already_stored")
    assert outsider.stored(receipt) == b"kept"


async def test_a_body_that_cannot_be_unpacked_is_a_bad_request(outsider: Outsider) -> None:
    """What says that it is gzip and is not, is the client's fault, and is told as one."""
    headers = {"Content-Type": "text/plain", "Content-Encoding": "gzip"}
    answer = await outsider.http("POST", "/upload", b"abc", headers)
    assert (answer.status, answer.problem()) == (400, "bad_request")
