"""tus 1.0.0, sentence by sentence: what its specification says with MUST and SHOULD, and what next to it is ours."""

import asyncio
import contextlib
from email.utils import parsedate_to_datetime

import pytest

from tests.support.outsider import Outsider, content, digest, eventually, fresh_name
from tests.support.rawhttp import RawRequest
from tests.support.service import Service
from tests.support.tus import (
    BYTES,
    V1,
    begin_patch,
    checksum,
    create,
    head,
    metadata,
    offset,
    patch,
)

DATA = content(300_000)


def published(client: Outsider, name: str, at: str = "/upload") -> bytes:
    """What stands under this name."""
    return (client.directory(at) / name).read_bytes()


# -- the core


async def test_the_example_of_the_specification(outsider: Outsider) -> None:
    """70 bytes are there, 30 are sent: each answer as the page shows it."""
    name = fresh_name()
    path = await create(outsider, 100, Upload_Metadata=metadata(filename=name))
    assert (await patch(outsider, path, 0, DATA[:70])).status == 204
    asked = await head(outsider, path)
    assert (asked.headers["Upload-Offset"], asked.headers["Upload-Length"]) == ("70", "100")
    answer = await patch(outsider, path, 70, DATA[70:100])
    assert (answer.status, answer.headers["Upload-Offset"]) == (204, "100")
    assert published(outsider, name) == DATA[:100]


async def test_head_always_says_the_offset(outsider: Outsider) -> None:
    """Also when it is 0, and when the upload is completed: then it is the length."""
    path = await create(outsider, 5)
    assert await offset(outsider, path) == 0
    await patch(outsider, path, 0, b"12345")
    asked = await head(outsider, path)
    assert asked.headers["Upload-Offset"] == asked.headers["Upload-Length"] == "5"


async def test_what_is_not_found_has_no_offset(outsider: Outsider) -> None:
    """HEAD, PATCH and DELETE of what is not there: 404, without `Upload-Offset`."""
    for method, headers in (("HEAD", V1), ("PATCH", {**BYTES, "Upload-Offset": "0"}), ("DELETE", V1)):
        answer = await outsider.http(method, "/upload/" + "x" * 32, headers=headers)
        assert answer.status == 404
        assert "Upload-Offset" not in answer.headers
        assert answer.headers["Tus-Resumable"] == "1.0.0"


async def test_bytes_have_their_media_type(outsider: Outsider) -> None:
    """Another one, and a coding, are 415; the upload is as it was."""
    path = await create(outsider, 5)
    for more in ({"Content-Type": "application/octet-stream"}, {"Content-Encoding": "gzip"}):
        answer = await outsider.http("PATCH", path, b"12345", {**BYTES, "Upload-Offset": "0", **more})
        assert (answer.status, answer.problem()) == (415, "unsupported_media_type")
    assert await offset(outsider, path) == 0


async def test_another_offset_is_a_conflict(outsider: Outsider) -> None:
    """409 `offset_mismatch`, with the right one; nothing is modified."""
    path = await create(outsider, 10)
    await patch(outsider, path, 0, b"12345")
    for wrong in (0, 4, 6, 10, 10**17):
        answer = await patch(outsider, path, wrong, b"67890")
        assert (answer.status, answer.problem(), answer.headers["Upload-Offset"]) == (409, "offset_mismatch", "5")
    assert await offset(outsider, path) == 5


@pytest.mark.parametrize("wrong", ["-1", "x", "", "1.0", "1,1"])
async def test_an_offset_is_a_number(outsider: Outsider, wrong: str) -> None:
    """Anything else, and none at all, is 400."""
    path = await create(outsider, 5)
    for headers in ({**BYTES, "Upload-Offset": wrong}, BYTES):
        answer = await outsider.http("PATCH", path, b"12345", headers)
        assert (answer.status, answer.problem()) == (400, "bad_request")


async def test_another_version_is_not_looked_at(outsider: Outsider) -> None:
    """412 with `Tus-Version`, and the request is not processed."""
    path = await create(outsider, 5)
    asked = (("POST", "/upload"), ("HEAD", path), ("PATCH", path), ("DELETE", path))
    for method, at in asked:
        headers = {**BYTES, "Upload-Offset": "0", "Upload-Length": "5", "Tus-Resumable": "0.2.2"}
        answer = await outsider.http(method, at, headers=headers)
        assert (answer.status, answer.headers["Tus-Version"]) == (412, "1.0.0")
        assert answer.headers["Tus-Resumable"] == "1.0.0"
    no_version = await outsider.http("PATCH", path, b"x", {"Content-Type": BYTES["Content-Type"], "Upload-Offset": "0"})
    assert (no_version.status, no_version.problem()) == (412, "unsupported_version")
    assert await offset(outsider, path) == 0


async def test_options_says_what_can_be_done(outsider: Outsider) -> None:
    """On the path where uploads are created, and on an upload; `Tus-Resumable` of the request is ignored."""
    path = await create(outsider, 5)
    for at in ("/upload", path):
        for headers in ({}, {"Tus-Resumable": "0.0.1"}):
            answer = await outsider.http("OPTIONS", at, headers=headers)
            assert (answer.status, answer.headers["Tus-Version"]) == (204, "1.0.0")
            extensions = "creation,creation-with-upload,creation-defer-length,expiration,termination,checksum"
            assert answer.headers["Tus-Extension"] == extensions
            assert set(answer.headers["Tus-Checksum-Algorithm"].split(",")) == {"sha1", "md5", "sha256"}
            assert answer.headers["Tus-Max-Size"] == str(100 * 2**30)
            assert answer.headers["Accept-Patch"] == "application/partial-upload"


async def test_the_method_may_be_overridden(outsider: Outsider) -> None:
    """Where there is neither PATCH nor DELETE, a POST says what it is."""
    path = await create(outsider, 5)
    override = {**BYTES, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert (await outsider.http("POST", path, b"123", override)).headers["Upload-Offset"] == "3"
    asked = await outsider.http("POST", path, headers={**V1, "X-HTTP-Method-Override": "HEAD"})
    assert asked.headers["Upload-Offset"] == "3"
    gone = await outsider.http("POST", path, headers={**V1, "X-HTTP-Method-Override": "DELETE"})
    assert gone.status == 204
    assert await outsider.is_gone(path)
    for more in ({}, {"X-HTTP-Method-Override": "PURGE"}):
        answer = await outsider.http("POST", path, headers={**V1, **more})
        assert (answer.status, answer.problem()) == (405, "method_not_allowed")


async def test_as_much_as_came_is_kept(outsider: Outsider) -> None:
    """A request that is cut: what has arrived is there, and the offset that is told is where to go on."""
    name = fresh_name()
    path = await create(outsider, len(DATA), Upload_Metadata=metadata(filename=name))
    cut = await begin_patch(outsider, path, 0, len(DATA), DATA[:100_000])
    cut.drop()
    at = await offset(outsider, path)
    assert at == 100_000
    assert (await patch(outsider, path, at, DATA[at:])).status == 204
    assert published(outsider, name) == DATA


# -- creation


async def test_a_creation_says_where(outsider: Outsider) -> None:
    """201 with an absolute `Location` and the time of its end."""
    answer = await outsider.http("POST", "/upload", headers={**V1, "Upload-Length": "100"})
    assert answer.status == 201
    assert answer.headers["Location"].startswith(f"http://127.0.0.1:{outsider.service.port}/upload/")
    parsedate_to_datetime(answer.headers["Upload-Expires"])


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"Upload-Length": "-1"}, {"Upload-Length": "five"}, {"Upload-Defer-Length": "2"},
        {"Upload-Length": "5", "Upload-Defer-Length": "1"}, {"Upload-Length": "5", "Upload-Metadata": "a YQ==,a YQ=="},
        {"Upload-Length": "5", "Upload-Concat": "partial"}, {"Upload-Concat": "final;/upload/a /upload/b"},
        {"Upload-Length": "5", "Upload-Metadata": metadata(sha256="abc")},
    ],
)  # fmt: skip
async def test_a_creation_must_be_sound(outsider: Outsider, headers: dict[str, str]) -> None:
    """One length and no other, pairs that can be read, and no concatenation: else 400."""
    answer = await outsider.http("POST", "/upload", headers={**V1, **headers})
    assert (answer.status, answer.problem()) == (400, "bad_request")
    assert answer.headers["Tus-Resumable"] == "1.0.0"


async def test_more_than_the_maximum_is_refused(outsider: Outsider) -> None:
    """413."""
    for size in (2**20 + 1, 10**40):
        answer = await outsider.http("POST", "/small", headers={**V1, "Upload-Length": str(size)})
        assert (answer.status, answer.problem()) == (413, "too_large")


async def test_an_empty_file_is_complete_at_once(outsider: Outsider) -> None:
    """`Upload-Length: 0`: stored before the answer."""
    name = fresh_name()
    path = await create(outsider, 0, Upload_Metadata=metadata(filename=name))
    assert published(outsider, name) == b""
    assert (await outsider.ask(path))["state"] == "stored"


async def test_metadata_is_given_back(outsider: Outsider) -> None:
    """Word for word, of an open upload and of a stored one; a value may be missing."""
    said = f"{metadata(filename=fresh_name())},is_confidential, other "
    path = await create(outsider, 3, Upload_Metadata=said)
    assert (await head(outsider, path)).headers["Upload-Metadata"] == said.strip()
    await patch(outsider, path, 0, b"123")
    assert (await head(outsider, path)).headers["Upload-Metadata"] == said.strip()


async def test_the_name_comes_from_the_metadata(outsider: Outsider) -> None:
    """`relativePath`, else `filename`, else `name`; what is empty, `null` or `undefined` is none. Without any of them
    it is a part of the hash of the token."""
    folder = fresh_name("")
    said = {
        metadata(relativePath=f"{folder}/a/b.txt", filename="b.txt", name="c"): f"{folder}/a/b.txt",
        metadata(relativePath=f"/{folder}/c.txt"): f"{folder}/c.txt",
        metadata(relativePath="null", filename=f"{folder}-d"): f"{folder}-d",
        metadata(relativePath="", filename="undefined", name=f"{folder}-e"): f"{folder}-e",
        metadata(name=f"{folder}-a\u0308"): f"{folder}-ä",
    }
    for given, name in said.items():
        path = await create(outsider, 1, Upload_Metadata=given)
        await patch(outsider, path, 0, b"x")
        assert (await outsider.ask(path))["name"] == name
    path = await create(outsider, 1)
    assert (await outsider.ask(path))["name"] == digest(path.rpartition("/")[2].encode())[:16]
    refused = await outsider.http(
        "POST", "/upload", headers={**V1, "Upload-Length": "1", "Upload-Metadata": metadata(name="../x")}
    )
    assert (refused.status, refused.problem()) == (400, "invalid_name")


async def test_a_promised_digest_is_kept(outsider: Outsider) -> None:
    """422 where the file has another one: nothing is published, and the upload is at 0 again."""
    name = fresh_name()
    path = await create(outsider, 3, Upload_Metadata=metadata(filename=name, sha256=digest(b"abc")))
    answer = await patch(outsider, path, 0, b"xyz")
    assert (answer.status, answer.problem()) == (422, "digest_mismatch")
    assert await offset(outsider, path) == 0
    assert (await patch(outsider, path, 0, b"abc")).status == 204
    assert published(outsider, name) == b"abc"


async def test_a_creation_may_bring_bytes(outsider: Outsider) -> None:
    """Some of them, or all; the answer says how many were taken. They need their media type."""
    name = fresh_name()
    for size in (100_000, len(DATA)):
        headers = {**BYTES, "Upload-Length": str(len(DATA)), "Upload-Metadata": metadata(filename=f"{name}-{size}")}
        answer = await outsider.http("POST", "/upload", DATA[:size], headers)
        assert (answer.status, answer.headers["Upload-Offset"]) == (201, str(size))
        assert (outsider.directory() / f"{name}-{size}").exists() == (size == len(DATA))
    answer = await outsider.http("POST", "/upload", b"x", {**V1, "Upload-Length": "1", "Content-Type": "text/plain"})
    assert (answer.status, answer.problem()) == (415, "unsupported_media_type")


async def test_a_creation_that_may_not_be_is_refused_before_its_bytes(outsider: Outsider) -> None:
    """Who expects 100 (Continue) gets 413 instead."""
    headers = {**BYTES, "Upload-Length": str(2**21), "Content-Length": str(2**21), "Expect": "100-continue"}
    request = await RawRequest.begin(outsider, "POST", "/small", headers)
    assert (await request.said()).status == 413
    accepted = {**BYTES, "Upload-Length": "9", "Content-Length": "9", "Expect": "100-continue"}
    request = await RawRequest.begin(outsider, "POST", "/small", accepted)
    assert (await request.said()).status == 100
    await request.socket.send(b"123456789")
    assert (await request.said()).status == 201


async def test_a_length_may_be_told_later(outsider: Outsider) -> None:
    """Until then `Upload-Defer-Length: 1`; once it is told it may not be changed, and the file ends there."""
    name = fresh_name()
    path = await create(outsider, None, Upload_Metadata=metadata(filename=name))
    await patch(outsider, path, 0, b"12345")
    asked = await head(outsider, path)
    assert asked.headers["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in asked.headers
    too_short = await patch(outsider, path, 5, b"", Upload_Length="4")
    assert (too_short.status, too_short.problem()) == (400, "bad_request")
    assert (await patch(outsider, path, 5, b"6", Upload_Length="8")).status == 204
    asked = await head(outsider, path)
    assert asked.headers["Upload-Length"] == "8"
    assert "Upload-Defer-Length" not in asked.headers
    for other in ("7", "9"):
        changed = await patch(outsider, path, 6, b"7", Upload_Length=other)
        assert (changed.status, changed.problem()) == (400, "bad_request")
    assert (await patch(outsider, path, 6, b"78", Upload_Length="8")).status == 204
    assert published(outsider, name) == b"12345678"


async def test_a_length_may_be_told_with_nothing_behind_it(outsider: Outsider) -> None:
    """All bytes are there already: the request that says so completes the upload. One over the maximum is 413."""
    path = await create(outsider, None, "/small")
    await patch(outsider, path, 0, b"123")
    large = await patch(outsider, path, 3, b"", Upload_Length=str(2**21))
    assert (large.status, large.problem()) == (413, "too_large")
    assert (await patch(outsider, path, 3, b"", Upload_Length="3")).status == 204
    assert (await outsider.ask(path))["state"] == "stored"


async def test_more_than_the_length_is_refused(outsider: Outsider) -> None:
    """413, and the promised bytes are kept: asked for again, the file is complete. What is stored takes none."""
    path = await create(outsider, 5)
    answer = await patch(outsider, path, 0, b"123456")
    assert (answer.status, answer.problem()) == (413, "too_large")
    assert await offset(outsider, path) == 5
    assert (await outsider.ask(path))["sha256"] == digest(b"12345")
    more = await patch(outsider, path, 5, b"6")
    assert (more.status, more.problem()) == (413, "too_large")
    assert (await patch(outsider, path, 5, b"")).status == 204


# -- expiration and termination


async def test_every_patch_says_when_it_expires(outsider: Outsider) -> None:
    """And once it has, it is 404."""
    path = await create(outsider, 10, "/brief")
    answer = await patch(outsider, path, 0, b"12345")
    parsedate_to_datetime(answer.headers["Upload-Expires"])
    await eventually(lambda: outsider.is_gone(path))
    assert (await patch(outsider, path, 5, b"67890")).status == 404


async def test_what_is_terminated_is_gone(outsider: Outsider) -> None:
    """204, then 404; the bytes are gone. A request that brings more of it is ended."""
    path = await create(outsider, len(DATA))
    running = await begin_patch(outsider, path, 0, len(DATA), DATA[:1000])
    assert (await outsider.http("DELETE", path, headers=V1)).status == 204
    assert (await running.answer()).code == "cancelled"
    assert (await outsider.http("HEAD", path, headers=V1)).status == 404
    assert (await outsider.http("DELETE", path, headers=V1)).status == 404


async def test_the_receipt_of_a_stored_file_is_forgotten(outsider: Outsider) -> None:
    """204, then 404; the file stays. Others than tus clients are told that it is stored, as ever."""
    name = fresh_name()
    path = await create(outsider, 3, Upload_Metadata=metadata(filename=name))
    await patch(outsider, path, 0, b"123")
    plain = await outsider.http("DELETE", path)
    assert (plain.status, plain.problem()) == (409, "already_stored")
    assert (await outsider.http("DELETE", path, headers=V1)).status == 204
    assert await outsider.is_gone(path)
    assert published(outsider, name) == b"123"


# -- checksums


@pytest.mark.parametrize("algorithm", ["sha1", "md5", "sha256"])
async def test_a_checksum_is_verified(outsider: Outsider, algorithm: str) -> None:
    """204 where it is right; else 460, and the request's bytes are dropped, those before it are not."""
    name = fresh_name()
    path = await create(outsider, 2000, Upload_Metadata=metadata(filename=name))
    right = await patch(outsider, path, 0, DATA[:1000], Upload_Checksum=checksum(algorithm, DATA[:1000]))
    assert (right.status, right.headers["Upload-Offset"]) == (204, "1000")
    wrong = await patch(outsider, path, 1000, DATA[1000:1500], Upload_Checksum=checksum(algorithm, b"x"))
    assert (wrong.status, wrong.problem()) == (460, "checksum_mismatch")
    assert await offset(outsider, path) == 1000
    rest = DATA[1000:2000]
    assert (await patch(outsider, path, 1000, rest, Upload_Checksum=checksum(algorithm, rest))).status == 204
    assert published(outsider, name) == DATA[:2000]


async def test_a_checksum_that_is_unknown_or_broken_is_refused(outsider: Outsider) -> None:
    """400, and nothing is taken."""
    path = await create(outsider, 5)
    for said in ("crc32 AAAAAA==", "sha1", "sha1 AAAA", "SHA1 " + checksum("sha1", b"12345")[5:]):
        answer = await patch(outsider, path, 0, b"12345", Upload_Checksum=said)
        assert (answer.status, answer.problem()) == (400, "bad_request")
    assert await offset(outsider, path) == 0


async def test_a_body_that_is_cut_proves_nothing(outsider: Outsider) -> None:
    """With a checksum the bytes count only once all of them are there: the offset stays, whoever asks, and when."""
    path = await create(outsider, len(DATA))
    await patch(outsider, path, 0, DATA[:1000])
    said = {"Upload-Checksum": checksum("sha1", DATA[1000:])}
    cut = await begin_patch(outsider, path, 1000, len(DATA) - 1000, DATA[1000:200_000], said)
    assert (await outsider.ask(path))["offset"] == 1000
    assert await offset(outsider, path) == 1000
    assert (await cut.answer()).code == "superseded"
    cut = await begin_patch(outsider, path, 1000, len(DATA) - 1000, DATA[1000:200_000], said)
    cut.drop()
    assert await offset(outsider, path) == 1000
    assert (await patch(outsider, path, 1000, DATA[1000:], Upload_Checksum=checksum("md5", DATA[1000:]))).status == 204
    assert (await outsider.ask(path))["sha256"] == digest(DATA)


async def test_a_creation_whose_checksum_differs_leaves_nothing(outsider: Outsider) -> None:
    """460; nobody knows its URL."""
    headers = {**BYTES, "Upload-Length": "5", "Upload-Checksum": checksum("sha1", b"x")}
    answer = await outsider.http("POST", "/upload", b"12345", headers)
    assert (answer.status, answer.problem()) == (460, "checksum_mismatch")
    path = answer.headers["Location"].removeprefix(outsider.service.url)
    assert await outsider.is_gone(path)


# -- two at a time


async def test_who_asks_ends_a_request_that_still_runs(outsider: Outsider) -> None:
    """409 `superseded` for that one; what it brought is kept, and the offset that is told stays true."""
    path = await create(outsider, len(DATA))
    running = await begin_patch(outsider, path, 0, len(DATA), DATA[:50_000])
    at = await offset(outsider, path)
    assert at == 50_000
    ended = await running.answer()
    assert (ended.status, ended.code) == (409, "superseded")
    with contextlib.suppress(ConnectionError):
        await running.socket.send(DATA[50_000:])
    assert (await patch(outsider, path, at, DATA[at:])).status == 204
    assert (await outsider.ask(path))["sha256"] == digest(DATA)


async def test_a_plain_get_ends_nothing(outsider: Outsider) -> None:
    """And neither does a PATCH at another offset."""
    path = await create(outsider, len(DATA))
    running = await begin_patch(outsider, path, 0, len(DATA), DATA[:50_000])
    assert (await patch(outsider, path, 7, b"x")).status == 409
    await running.socket.send(DATA[50_000:])
    assert (await running.answer()).status == 204


async def test_the_newest_patch_wins(outsider: Outsider) -> None:
    """One at the right offset takes over at once, and the older one ends."""
    path = await create(outsider, len(DATA))
    running = await begin_patch(outsider, path, 0, len(DATA), DATA[:50_000])
    assert (await patch(outsider, path, 50_000, DATA[50_000:])).status == 204
    assert (await running.answer()).code == "superseded"
    assert (await outsider.ask(path))["sha256"] == digest(DATA)


async def test_of_many_at_once_the_bytes_are_never_mixed(outsider: Outsider) -> None:
    """Twenty requests at one offset, and as many that ask: whoever goes on where it stands completes the file."""
    name = fresh_name()
    path = await create(outsider, len(DATA), Upload_Metadata=metadata(filename=name))
    asking = (head(outsider, path) for _ in range(20))
    await asyncio.gather(*(patch(outsider, path, 0, DATA[: 1 + at * 9973]) for at in range(20)), *asking)
    while (at := await offset(outsider, path)) < len(DATA):
        assert (await patch(outsider, path, at, DATA[at : at + 100_000])).status == 204
    assert published(outsider, name) == DATA


# -- pages of other sites


async def test_pages_of_allowed_origins_may_use_it(outsider: Outsider, service: Service) -> None:
    """Their preflights allow these methods and headers, and the headers of the answers can be read."""
    origin = service.settings["server"]["allowed_origins"][0]
    asked = {"Origin": origin, "Access-Control-Request-Method": "PATCH"}
    preflight = await outsider.http("OPTIONS", "/upload", headers=asked)
    allowed = preflight.headers["Access-Control-Allow-Headers"]
    for name in ("Tus-Resumable", "Upload-Length", "Upload-Metadata", "Upload-Offset", "Upload-Checksum"):
        assert name in allowed
    assert {"PATCH", "POST", "HEAD", "DELETE"} <= set(preflight.headers["Access-Control-Allow-Methods"].split(", "))
    answer = await outsider.http("POST", "/upload", headers={**V1, "Upload-Length": "5", "Origin": origin})
    exposed = answer.headers["Access-Control-Expose-Headers"]
    for name in ("Location", "Tus-Resumable", "Upload-Offset", "Upload-Length", "Upload-Metadata", "Upload-Expires"):
        assert name in exposed
