"""Resumable Uploads for HTTP, by the draft's sections: creation, offset retrieval, append, cancellation, digests."""

import json
import unicodedata
from typing import Any

import pytest

from tests.support.outsider import Answer, Outsider, content, digest, fresh_name
from tests.support.rawhttp import RawRequest
from tests.support.rufh import (
    DRAFT,
    PARTIAL,
    append,
    begin,
    create,
    creation,
    digest_field,
    disposition,
    head,
    offset,
    path_of,
)

DATA = content(300_000)
TYPES = "https://iana.org/assignments/http-problem-types#"


def published(client: Outsider, name: str) -> bytes:
    """What stands under this name."""
    return (client.directory() / name).read_bytes()


def problem(answer: Answer) -> dict[str, Any]:
    """A problem document, with the members that the draft adds."""
    found: dict[str, Any] = json.loads(answer.body)
    return found


# -- creation


async def test_support_can_be_asked_for(outsider: Outsider) -> None:
    """`OPTIONS` names the media type and the limits."""
    answer = await outsider.http("OPTIONS", "/upload")
    assert (answer.status, answer.headers["Accept-Patch"]) == (204, PARTIAL)
    assert answer.headers["Upload-Limit"] == f"max-size={100 * 2**30}"


async def test_a_creation_is_answered_before_its_content(outsider: Outsider) -> None:
    """104 with the absolute `Location` and the limits, while not a byte of the content was sent; then the receipt."""
    name = fresh_name()
    request = await RawRequest.begin(outsider, "POST", "/upload", creation(name, len(DATA), complete=True))
    supported = await request.said()
    assert supported.status == 104
    assert supported.headers["upload-draft-interop-version"] == "8"
    assert supported.headers["location"].startswith(f"http://127.0.0.1:{outsider.service.port}/upload/")
    assert "max-size=" in supported.headers["upload-limit"]
    await request.send(DATA)
    answer = await request.answer()
    assert (answer.status, answer.headers["upload-complete"]) == (201, "?1")
    assert path_of(answer) == path_of(supported)
    assert answer.headers["repr-digest"] == digest_field(DATA)
    assert (await outsider.ask(path_of(answer)))["sha256"] == digest(DATA)
    assert published(outsider, name) == DATA


@pytest.mark.parametrize("version", [None, "7", "9", "?1"])
async def test_another_version_of_the_draft_gets_no_104(outsider: Outsider, version: str | None) -> None:
    """Whoever names no version or another one; the upload is stored all the same."""
    headers = creation(fresh_name(), 5, complete=True)
    del headers["Upload-Draft-Interop-Version"]
    if version is not None:
        headers["Upload-Draft-Interop-Version"] = version
    request = await RawRequest.begin(outsider, "POST", "/upload", headers, b"12345")
    said = await request.said()
    assert (said.status, said.headers["upload-complete"]) == (201, "?1")


async def test_who_expects_100_gets_both(outsider: Outsider) -> None:
    """104 does not stand in the place of 100 (Continue)."""
    headers = {**creation(fresh_name(), 5, complete=True), "Expect": "100-continue"}
    request = await RawRequest.begin(outsider, "POST", "/upload", headers)
    assert [(await request.said()).status for _ in range(2)] == [104, 100]
    await request.send(b"12345")
    assert (await request.said()).status == 201


async def test_an_upload_in_parts(outsider: Outsider) -> None:
    """Created without content, appended to twice, completed without content: each answer says how complete it is."""
    name = fresh_name()
    created = await create(outsider, name, b"", complete=False, length=6)
    assert (created.status, created.headers["Upload-Complete"]) == (201, "?0")
    assert created.json()["state"] == "open"
    path = created.headers["Location"].removeprefix(outsider.service.url)
    for at, part in ((0, b"123"), (3, b"456")):
        appended = await append(outsider, path, at, part, complete=False)
        assert (appended.status, appended.headers["Upload-Complete"]) == (204, "?0")
        assert appended.headers["Upload-Offset"] == str(at + 3)
    asked = await head(outsider, path)
    assert asked.headers["Upload-Complete"] == "?0"  # the offset is the length, and it is not complete
    assert not (outsider.directory() / name).exists()
    completed = await append(outsider, path, 6, b"", complete=True)
    assert (completed.status, completed.headers["Upload-Complete"]) == (201, "?1")
    assert completed.json()["sha256"] == digest(b"123456")
    assert published(outsider, name) == b"123456"


async def test_an_empty_file(outsider: Outsider) -> None:
    """No content, and complete."""
    name = fresh_name()
    answer = await create(outsider, name, b"", complete=True)
    assert (answer.status, answer.headers["Upload-Complete"], published(outsider, name)) == (201, "?1", b"")


async def test_the_length_may_stay_unknown(outsider: Outsider) -> None:
    """Chunked: what has come when the content ends is the file."""
    name = fresh_name()
    request = await RawRequest.begin(outsider, "POST", "/upload", creation(name, None, complete=True))
    await request.said()
    await request.send(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert (await request.answer()).status == 201
    assert published(outsider, name) == b"abcde"


async def test_the_name(outsider: Outsider) -> None:
    """From `Content-Disposition`, composed; without one a part of the hash of the token; a bad one is refused."""
    name = fresh_name("a\u0308.txt")
    answer = await create(outsider, f"a/{name}", b"x", complete=True)
    assert answer.json()["name"] == "a/" + unicodedata.normalize("NFC", name)
    plain = await outsider.http("POST", "/upload", b"x", {"Upload-Complete": "?1"})
    token = plain.headers["Location"].rpartition("/")[2]
    assert plain.json()["name"] == digest(token.encode())[:16]
    refused = await create(outsider, "../x", b"x", complete=True)
    assert (refused.status, refused.problem()) == (400, "invalid_name")
    broken = await outsider.http("POST", "/upload", b"x", {"Upload-Complete": "?1", "Content-Disposition": "a=b; a=b"})
    assert (broken.status, broken.problem()) == (400, "bad_request")


async def test_what_is_no_boolean_is_ignored(outsider: Outsider) -> None:
    """Then a POST is none of this protocol's, and a PATCH has not what it needs."""
    headers = {"Upload-Complete": "true", "Content-Disposition": disposition("x")}
    answer = await outsider.http("POST", "/upload", b"x", headers)
    assert (answer.status, answer.problem()) == (415, "unsupported_media_type")
    path = await outsider.create()
    for more in ({"Upload-Complete": "1"}, {"Upload-Offset": "?0"}, {"Upload-Offset": "-1"}):
        answer = await append(outsider, path, 0, b"x", complete=True, **more)
        assert (answer.status, answer.problem()) == (400, "bad_request")


async def test_another_media_type_and_a_coding_are_refused(outsider: Outsider) -> None:
    """415, and the media type that is taken is named."""
    path = await outsider.create()
    answer = await append(outsider, path, 0, b"x", complete=True, Content_Type="text/plain")
    assert (answer.status, answer.headers["Accept-Patch"]) == (415, PARTIAL)
    assert (await append(outsider, path, 0, b"x", complete=True, Content_Encoding="gzip")).status == 415
    headers = {**creation("x", 1, complete=True), "Content-Encoding": "gzip"}
    assert (await outsider.http("POST", "/upload", b"x", headers)).status == 415


# -- offset retrieval


async def test_what_is_asked_is_told(outsider: Outsider) -> None:
    """Offset, completeness, length where it is known, limits; `GET` says it too, as JSON."""
    created = await create(outsider, fresh_name(), b"123", complete=False, length=10)
    path = created.headers["Location"].removeprefix(outsider.service.url)
    for answer in (await head(outsider, path), await outsider.get(path)):
        told = answer.headers["Upload-Offset"], answer.headers["Upload-Length"], answer.headers["Upload-Complete"]
        assert told == ("3", "10", "?0")
        assert {"max-size", "max-age"} == {
            limit.strip().split("=")[0] for limit in answer.headers["Upload-Limit"].split(",")
        }
    unknown = await create(outsider, fresh_name(), b"123", complete=False)
    asked = await head(outsider, unknown.headers["Location"].removeprefix(outsider.service.url))
    assert "Upload-Length" not in asked.headers


async def test_an_interruption_is_healed(outsider: Outsider) -> None:
    """The content is cut: what came is kept, and the rest is appended from the offset that is told."""
    name = fresh_name()
    request, path = await begin(outsider, name, len(DATA), DATA[:100_000])
    request.drop()
    asked = await head(outsider, path)
    assert (asked.headers["Upload-Offset"], asked.headers["Upload-Length"]) == ("100000", str(len(DATA)))
    answer = await append(outsider, path, 100_000, DATA[100_000:], complete=True)
    assert (answer.status, answer.headers["Upload-Complete"]) == (201, "?1")
    assert published(outsider, name) == DATA


async def test_who_asks_ends_what_still_runs(outsider: Outsider) -> None:
    """By `HEAD`, and by `GET` with the draft's version; a plain `GET` ends nothing."""
    for method, headers, ends in (("GET", {}, False), ("GET", DRAFT, True), ("HEAD", {}, True)):
        request, path = await begin(outsider, fresh_name(), len(DATA), DATA[:100_000])
        asked = await outsider.http(method, path, headers=headers)
        assert asked.status == 200
        if ends:
            assert asked.headers["Upload-Offset"] == "100000"
            assert (await request.answer()).code == "superseded"
        else:
            await request.send(DATA[100_000:])
            assert (await request.answer()).status == 201


# -- append


async def test_another_offset_is_a_conflict(outsider: Outsider) -> None:
    """409 with the right offset, and the problem type that the draft defines."""
    created = await create(outsider, fresh_name(), b"123", complete=False)
    path = created.headers["Location"].removeprefix(outsider.service.url)
    answer = await append(outsider, path, 5, b"456", complete=True)
    assert (answer.status, answer.problem(), answer.headers["Upload-Offset"]) == (409, "offset_mismatch", "3")
    told = problem(answer)
    assert (told["type"], told["expected-offset"], told["provided-offset"]) == (
        f"{TYPES}mismatching-upload-offset",
        3,
        5,
    )
    assert await offset(outsider, path) == 3


async def test_lengths_must_agree(outsider: Outsider) -> None:
    """In one request, and from one to the next: 400, of the type that the draft defines; nothing is taken."""
    answer = await create(outsider, fresh_name(), b"123", complete=True, length=4)
    assert (answer.status, problem(answer)["type"]) == (400, f"{TYPES}inconsistent-upload-length")
    created = await create(outsider, fresh_name(), b"123", complete=False, length=10)
    path = created.headers["Location"].removeprefix(outsider.service.url)
    for complete, more in ((True, {}), (False, {"Upload-Length": "9"}), (True, {"Upload-Length": "10"})):
        answer = await append(outsider, path, 3, b"456", complete=complete, **more)
        assert (answer.status, problem(answer)["type"]) == (400, f"{TYPES}inconsistent-upload-length")
    assert await offset(outsider, path) == 3


async def test_a_length_that_is_told_late_is_kept(outsider: Outsider) -> None:
    """By `Upload-Length`, or because the content of a completing request says it."""
    created = await create(outsider, fresh_name(), b"123", complete=False)
    path = created.headers["Location"].removeprefix(outsider.service.url)
    assert (await append(outsider, path, 3, b"4", complete=False, Upload_Length="5")).status == 204
    assert (await head(outsider, path)).headers["Upload-Length"] == "5"
    assert (await append(outsider, path, 4, b"5", complete=True)).status == 201


async def test_more_than_the_length_is_refused(outsider: Outsider) -> None:
    """413; the promised bytes are kept."""
    created = await create(outsider, fresh_name(), b"", complete=False, length=4)
    path = created.headers["Location"].removeprefix(outsider.service.url)
    answer = await append(outsider, path, 0, b"123456", complete=False)
    assert (answer.status, answer.problem()) == (413, "too_large")
    assert await offset(outsider, path) == 4


async def test_what_is_complete_takes_nothing(outsider: Outsider) -> None:
    """400 with the types that the draft defines, and `Upload-Complete: ?1`."""
    created = await create(outsider, fresh_name(), b"123", complete=True)
    path = created.headers["Location"].removeprefix(outsider.service.url)
    for data, kind in ((b"", "completed-upload"), (b"4", "inconsistent-upload-length")):
        answer = await append(outsider, path, 3, data, complete=True)
        assert (answer.status, problem(answer)["type"]) == (400, TYPES + kind)
        assert answer.headers["Upload-Complete"] == "?1"
    asked = await head(outsider, path)
    assert (asked.headers["Upload-Complete"], asked.headers["Repr-Digest"]) == ("?1", digest_field(b"123"))


# -- cancellation


async def test_what_is_cancelled_is_gone(outsider: Outsider) -> None:
    """204, and a request that still runs is ended; what is stored is not cancelled."""
    request, path = await begin(outsider, fresh_name(), len(DATA), DATA[:1000])
    assert (await outsider.http("DELETE", path, headers=DRAFT)).status == 204
    assert (await request.answer()).code == "cancelled"
    assert (await outsider.http("HEAD", path, headers=DRAFT)).status == 404
    created = await create(outsider, fresh_name(), b"123", complete=True)
    stored = created.headers["Location"].removeprefix(outsider.service.url)
    assert (await outsider.http("DELETE", stored, headers=DRAFT)).problem() == "already_stored"


# -- digests


async def test_the_digest_of_the_whole_is_kept(outsider: Outsider) -> None:
    """Promised at the creation or where it is completed. Another one: 422, `Upload-Complete: ?1`, and it is gone."""
    for promised_at_once in (True, False):
        name, promise = fresh_name(), {"Repr-Digest": digest_field(b"123456")}
        headers = {**creation(name, 3, complete=False), **(promise if promised_at_once else {})}
        for rest, status in ((b"456", 201), (b"xyz", 422)):
            created = await outsider.http("POST", "/upload", b"123", headers)
            path = created.headers["Location"].removeprefix(outsider.service.url)
            more = {} if promised_at_once else promise
            answer = await append(outsider, path, 3, rest, complete=True, **more)
            assert (answer.status, answer.headers["Upload-Complete"]) == (status, "?1")
        assert answer.problem() == "digest_mismatch"
        assert await outsider.is_gone(path)


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
async def test_the_digest_of_the_content_is_verified(outsider: Outsider, algorithm: str) -> None:
    """Another one: 422, `Upload-Complete: ?0`, and the content is not appended."""
    created = await create(outsider, fresh_name(), b"123", complete=False)
    path = created.headers["Location"].removeprefix(outsider.service.url)
    promise = {"Content-Digest": digest_field(b"456", algorithm)}
    wrong = await append(outsider, path, 3, b"xyz", complete=True, **promise)
    assert (wrong.status, wrong.problem(), wrong.headers["Upload-Complete"]) == (422, "digest_mismatch", "?0")
    assert await offset(outsider, path) == 3
    assert (await append(outsider, path, 3, b"456", complete=True, **promise)).json()["sha256"] == digest(b"123456")
