"""The contract, "HTTP": `PUT /upload/<name>` is one request and one file."""

import asyncio
import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.support.curl import chunk, curl, digest_field, head, needs_curl
from tests.support.outsider import Outsider, content, digest, eventually, fresh_name
from tests.support.rawhttp import answer
from tests.support.service import Service

MIB = 2**20
ZERO = hashlib.sha256(b"").hexdigest()


async def put(outsider: Outsider, name: str, data: bytes, at: str = "/upload", **headers: str) -> tuple[int, str, str]:
    """Status, body, and the code word of a problem."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    found = await outsider.http("PUT", f"{at}/{name}", data, named)
    return found.status, found.body.decode(), found.problem() if found.status >= 400 else ""


# --- what it does


async def test_a_file_is_stored_and_its_digest_told(outsider: Outsider) -> None:
    """201, behind the receipt: the line that `sha256sum -c` takes, the digest as a header, and the upload's URL."""
    data = content(2**19 + 5)
    found = await outsider.http("PUT", "/upload/put/gr%C3%B6%C3%9Fe.bin", body=data)
    assert (found.status, found.body.decode()) == (201, f"{digest(data)}  put/größe.bin\n")
    assert found.headers["Repr-Digest"] == digest_field(digest(data))
    assert outsider.stored({"name": "put/größe.bin"}) == data
    assert (await outsider.ask(found.headers["Location"]))["sha256"] == digest(data)


async def test_whoever_wants_json_gets_what_get_gives(outsider: Outsider) -> None:
    """With `Accept: application/json` the body is the object of a stored upload."""
    found = await outsider.http("PUT", f"/upload/{fresh_name()}", b"json", {"Accept": "application/json"})
    assert (found.status, found.json()) == (201, await outsider.ask(found.headers["Location"]))
    assert found.json()["state"] == "stored"


@pytest.mark.parametrize("data", [b"", b"a", content(2**16), content(2**16 + 1), content(2**18)], ids=len)
async def test_any_size_goes(outsider: Outsider, data: bytes) -> None:
    """Empty, in memory, just too large for that: with a length, and in chunks."""
    name = fresh_name()
    assert await put(outsider, name, data) == (201, f"{digest(data)}  {name}\n", "")
    chunked = await outsider.tcp()
    parts = chunk(data) + chunk(b"") if data else chunk(b"")
    await chunked.send(head("PUT", f"/upload/chunked-{name}", None) + parts)
    assert (await answer(chunked)).body.decode() == f"{digest(data)}  chunked-{name}\n"


async def test_names_are_decoded_normalised_and_checked(outsider: Outsider) -> None:
    """A name in another normal form is put into NFC, `%2F` is a slash; what a name may not be is 400."""
    assert (await put(outsider, "nfd/e%CC%81t%C3%A9", b""))[1] == f"{ZERO}  nfd/été\n"
    assert (await put(outsider, "slash%2Fed", b""))[1] == f"{ZERO}  slash/ed\n"
    for name in ("", "a//b", "%2e%2e/b", ".hidden", "a%00b", "%ff", "a/", "b%5Cc"):
        assert (await put(outsider, name, b""))[::2] == (400, "invalid_name"), name


async def test_other_paths_and_methods_are_what_they_were(outsider: Outsider) -> None:
    """The handler's own path takes no PUT, and a name can be neither asked for nor upgraded."""
    assert (await outsider.http("PUT", "/upload", b"")).problem() == "method_not_allowed"
    name = fresh_name()
    await put(outsider, f"{name}/b", b"")
    for path in (f"/upload/{name}/b", f"/upload/{name}"):
        assert (await outsider.get(path)).status == 404


# --- promises


async def test_a_digest_is_a_promise(outsider: Outsider) -> None:
    """Kept: stored. Broken: 422, and nothing is there. Other algorithms are not looked at."""
    data, name = content(1000), fresh_name()
    for header in ("Repr-Digest", "Content-Digest"):
        wrong = await outsider.http("PUT", f"/upload/{name}", data, {header: digest_field(ZERO)})
        assert (wrong.status, wrong.problem()) == (422, "digest_mismatch")
        assert name not in outsider.published()
    both = {"Repr_Digest": digest_field(digest(data)), "Content_Digest": f"md5=:AAAA:, {digest_field(digest(data))}"}
    assert (await put(outsider, name, data, **both))[0] == 201


@pytest.mark.parametrize(
    ("headers", "status", "word"),
    [
        ({"Repr_Digest": "sha-256=:AAAA:"}, 400, "bad_request"),
        ({"Repr_Digest": "sha-256=deadbeef"}, 400, "bad_request"),
        ({"Repr_Digest": digest_field(ZERO), "Content_Digest": digest_field("a" * 64)}, 400, "bad_request"),
        ({"Content_Range": "bytes 0-3/8"}, 400, "bad_request"),
        ({"Upload_Complete": "?0"}, 400, "bad_request"),
        ({"Content_Encoding": "gzip"}, 415, "unsupported_media_type"),
        ({"Expect": "200-ok"}, 417, "expectation_failed"),
    ],
)  # fmt: skip
async def test_what_is_not_a_whole_file_as_it_is(
    outsider: Outsider, headers: dict[str, str], status: int, word: str
) -> None:
    """A part, an encoding, or a promise that cannot be read: nothing is stored."""
    name = fresh_name()
    opened = await outsider.tcp()
    await opened.send(head("PUT", f"/upload/{name}", 4, **headers) + b"data")
    found = await answer(opened)
    assert found.status == status
    assert status == 417 or found.code == word
    assert name not in outsider.published()


async def test_a_refusal_costs_no_bytes(outsider: Outsider) -> None:
    """Who waits for `100 Continue` gets the refusal in its place: of a name, a size, a disk, a policy."""
    taken = fresh_name()
    assert (await put(outsider, taken, b"", at="/reject"))[0] == 201
    for path, size, status, word in (
        ("/upload/.hidden", 10, 400, "invalid_name"),
        ("/small/large.bin", MIB + 1, 413, "too_large"),
        ("/roomy/huge.bin", 2**49, 507, "no_space"),
        (f"/reject/{taken}", 10, 409, "name_taken"),
    ):
        opened = await outsider.tcp()
        await opened.send(head("PUT", path, size, expect="100-continue"))
        found = await answer(opened)
        assert (found.status, found.code, found.headers["connection"]) == (status, word, "close")
        await opened.ended()


async def test_who_waits_is_told_to_go_on(outsider: Outsider) -> None:
    """`100 Continue` comes once everything is checked, and the link serves more than one such request."""
    opened = await outsider.tcp()
    for data in (content(10), content(300_000), content(20)):
        await opened.send(head("PUT", f"/upload/{fresh_name()}", len(data), expect="100-continue"))
        assert (await answer(opened)).status == 100
        await opened.send(data)
        found = await answer(opened)
        assert (found.status, found.body[:64].decode()) == (201, digest(data))


async def test_more_than_is_allowed_in_chunks(outsider: Outsider) -> None:
    """A body without a length that passes `max_size` is 413, and nothing of it is kept."""
    before = outsider.parts("/small")
    opened = await outsider.tcp()
    await opened.send(head("PUT", "/small/chunked.bin", None) + chunk(content(MIB)) + chunk(b"x") + chunk(b""))
    assert (await answer(opened)).code == "too_large"
    assert "chunked.bin" not in outsider.published("/small")
    await _nothing_staged(outsider, "/small", before)


async def _nothing_staged(outsider: Outsider, at: str, before: set[str]) -> None:
    """Nothing but what other tests had left."""

    async def clean() -> bool:
        return outsider.parts(at) <= before

    await eventually(clean)


# --- the link


async def test_requests_follow_each_other_on_one_link(outsider: Outsider) -> None:
    """Pipelined: behind a small body, a large one, and one in chunks, whole or with the next request in one piece."""
    opened = await outsider.tcp()
    bodies = [content(size) for size in (5, 700_001, 0, 2**20, 33)]
    names = [fresh_name() for _ in bodies]
    sent = b"".join(
        head("PUT", f"/upload/{name}", len(data)) + data + head("GET", "/healthz", 0)
        for name, data in zip(names, bodies, strict=True)
    )
    sending = asyncio.create_task(opened.send(sent + head("PUT", "/upload/last", None) + chunk(b"x") + chunk(b"")))
    for data in bodies:
        assert (await answer(opened)).body[:64].decode() == digest(data)
        assert (await answer(opened)).status == 200
    assert (await answer(opened)).status == 201
    await sending


@pytest.mark.parametrize("size", [5, 2**19, 5 * MIB], ids=["few", "half a MiB", "many"])
async def test_a_body_that_nobody_wants_is_read_on(outsider: Outsider, size: int) -> None:
    """So its client sees the status, whole, and no reset; and goes on with the link where it was a MiB at most."""
    opened = await outsider.tcp()
    opened.write(head("PUT", "/upload/.hidden", size) + content(size))
    found = await answer(opened)
    assert found.code == "invalid_name"
    if size <= MIB:
        await opened.send(head("GET", "/healthz", 0))
        assert (await answer(opened)).status == 200
    else:
        assert found.headers["connection"] == "close"
        await opened.ended()


async def test_a_body_that_is_refused_in_its_middle_is_read_on(outsider: Outsider) -> None:
    """Superfluous bytes in chunks: the answer comes while they are still sent."""
    opened = await outsider.tcp()
    opened.write(head("PUT", f"/small/{fresh_name()}", None) + chunk(content(2 * MIB)) + chunk(b""))
    found = await answer(opened)
    assert found.code == "too_large"
    if found.headers.get("connection") != "close":
        await opened.send(head("GET", "/healthz", 0))
        assert (await answer(opened)).status == 200


@pytest.mark.parametrize("how", ["drop", "reset", "half_close"])
@pytest.mark.parametrize("size", [3 * MIB, None], ids=["length", "chunks"])
async def test_a_request_that_ends_early_leaves_nothing(outsider: Outsider, how: str, size: int | None) -> None:
    """Whatever has come, and however the link ends; who has told the length and still listens hears 400."""
    before = outsider.parts("/upload")
    name, data = fresh_name(), content(2 * MIB)
    opened = await outsider.tcp()
    await opened.send(head("PUT", f"/upload/{name}", size) + (data if size else chunk(data)))
    await opened.delivered()
    getattr(opened, how)()
    if how == "half_close" and size:
        assert (await answer(opened)).code == "incomplete"
    await _nothing_staged(outsider, "/upload", before)
    assert name not in outsider.published()


async def test_a_body_that_is_no_chunks(outsider: Outsider) -> None:
    """400, and nothing is left."""
    before = outsider.parts("/upload")
    opened = await outsider.tcp()
    await opened.send(head("PUT", f"/upload/{fresh_name()}", None) + chunk(b"data") + b"no chunk\r\n")
    assert (await answer(opened)).status == 400
    await _nothing_staged(outsider, "/upload", before)


async def test_a_body_that_stalls(outsider: Outsider) -> None:
    """After `idle_timeout` without a byte: 408 `idle`, and nothing is left."""
    before = outsider.parts("/idle")
    for framing in (100, None):
        opened = await outsider.tcp()
        await opened.send(head("PUT", f"/idle/{fresh_name()}", framing) + (b"half" if framing else chunk(b"half")))
        found = await answer(opened)
        assert (found.status, found.code) == (408, "idle")
        await _nothing_staged(outsider, "/idle", before)


async def test_the_index_and_other_uploads_are_served_beside_it(outsider: Outsider) -> None:
    """While a body trickles, GET and HEAD and other uploads are answered."""
    opened = await outsider.tcp()
    data = content(MIB)
    await opened.send(head("PUT", f"/upload/{fresh_name()}", len(data)) + data[:-1])
    assert (await outsider.get("/")).status == 200
    assert (await outsider.send_whole(b"beside"))["size"] == 6
    await opened.send(data[-1:])
    assert (await answer(opened)).body[:64].decode() == digest(data)


async def test_many_at_once(outsider: Outsider) -> None:
    """Of one name, under `rename`: each has a name of its own, and its own bytes."""
    name = fresh_name()
    bodies = [content(40_000 + size) for size in range(20)]
    found = await asyncio.gather(*(put(outsider, name, data) for data in bodies))
    stored = {body.split("  ")[1].rstrip("\n"): body[:64] for _, body, _ in found}
    assert len(stored) == len(bodies)
    assert {key: digest(outsider.stored({"name": key})) for key in stored} == stored


# --- curl


@needs_curl
async def test_curl_puts_files_and_takes_their_digests(outsider: Outsider, service: Service, tmp_path: Path) -> None:
    """`curl -T` names the file by itself; its output is what `sha256sum -c` checks; from a pipe it sends chunks."""
    files = {fresh_name(): content(size) for size in (10, 5_000_000)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    sent = await curl("-T", f"{{{','.join(files)}}}", f"{service.url}/upload/", at=tmp_path)
    piped = await curl("-T", "-", f"{service.url}/upload/piped%20{fresh_name()}", stdin=content(300_000))
    assert (sent.exit, piped.exit, piped.status) == (0, 0, 201)
    lines = b"".join(line + b"\n" for line in (sent.body + b"\n" + piped.body).split(b"\n") if line)
    checked = subprocess.run(
        ["sha256sum", "-c"], cwd=outsider.directory(), input=lines, capture_output=True, check=True
    )
    assert checked.stdout.count(b": OK") == 3


@needs_curl
async def test_curl_sees_why(service: Service, tmp_path: Path) -> None:
    """A refusal is the answer, not a reset: with `Expect`, and without it while bytes are under way."""
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(3 * MIB))
    for words in ([], ["-H", "Expect:"]):
        found = await curl("-T", large, *words, f"{service.url}/small/")
        assert (found.status, b"too_large" in found.body) == (413, True), found
    failed = await curl("-f", "-T", large, f"{service.url}/small/")
    assert failed.exit == 22
