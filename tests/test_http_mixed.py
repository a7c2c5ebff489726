"""One upload, many ways: what begins by one may go on by another, and each sees what the others did."""

import pytest

from tests.support import rufh, tus
from tests.support.outsider import Outsider, content, digest, fresh_name

DATA = content(300_000)
THIRD = len(DATA) // 3


async def test_begun_by_patch_gone_on_by_socket_asked_by_head(outsider: Outsider) -> None:
    """A socket takes over from a request that runs; who asks by HEAD ends no socket."""
    name = fresh_name()
    path = await tus.create(outsider, len(DATA), Upload_Metadata=tus.metadata(filename=name))
    running = await tus.begin_patch(outsider, path, 0, len(DATA), DATA[:THIRD])
    opened = await outsider.open(path)
    assert (await running.answer()).code == "superseded"
    assert (opened.ready["offset"], opened.ready["size"]) == (THIRD, len(DATA))
    await opened.binary(DATA[THIRD : 2 * THIRD])
    await opened.durable(2 * THIRD)
    for asked in (await tus.head(outsider, path), await rufh.head(outsider, path)):
        assert asked.headers["Upload-Offset"] == str(2 * THIRD)
    await opened.binary(DATA[2 * THIRD :])
    receipt = await opened.finish(DATA)
    assert outsider.stored(receipt) == DATA
    asked = await tus.head(outsider, path)
    assert asked.headers["Upload-Offset"] == asked.headers["Upload-Length"] == str(len(DATA))
    assert (await rufh.head(outsider, path)).headers["Upload-Complete"] == "?1"


@pytest.mark.parametrize("way", ["tus", "rufh"])
async def test_begun_by_socket_gone_on_by_request(outsider: Outsider, way: str) -> None:
    """A request takes over from a socket that is there: it is closed 4409, and its bytes are kept."""
    path = await outsider.create(fresh_name(), size=len(DATA), sha256=digest(DATA))
    opened = await outsider.open(path)
    await opened.binary(DATA[:THIRD])
    await opened.acked(THIRD)
    if way == "tus":
        assert (await tus.patch(outsider, path, THIRD, DATA[THIRD:])).status == 204
    else:
        assert (await rufh.append(outsider, path, THIRD, DATA[THIRD:], complete=True)).status == 201
    await opened.failed("superseded", 4409)
    assert (await outsider.ask(path))["sha256"] == digest(DATA)
    again = await outsider.unread(path)
    assert (await again.message("stored"))["sha256"] == digest(DATA)


async def test_begun_by_one_protocol_gone_on_by_the_other(outsider: Outsider) -> None:
    """The token is the same, and so is the offset."""
    path = await tus.create(outsider, None)
    await tus.patch(outsider, path, 0, DATA[:THIRD])
    assert (await rufh.append(outsider, path, THIRD, DATA[THIRD:200_000], complete=False)).status == 204
    assert (await tus.patch(outsider, path, 200_000, DATA[200_000:], Upload_Length=str(len(DATA)))).status == 204
    assert (await outsider.ask(path))["sha256"] == digest(DATA)


async def test_a_creation_repeated_leaves_the_socket(outsider: Outsider) -> None:
    """`POST` with the same token says how far it is, and ends nothing."""
    token = "t" * 20 + fresh_name("")[:20]
    asked = {"name": fresh_name(), "size": len(DATA), "token": token}
    assert (await outsider.post_json(asked)).status == 201
    opened = await outsider.open(f"/upload/{token}")
    await opened.binary(DATA[:THIRD])
    await opened.acked(THIRD)
    again = await outsider.post_json(asked)
    assert (again.status, again.json()["offset"]) == (200, THIRD)
    await opened.binary(DATA[THIRD:])
    await opened.finish(DATA)


async def test_all_bytes_without_an_end_are_stored_for_who_asks_by_tus(outsider: Outsider) -> None:
    """A socket brought all of them and left: for a tus client the offset is the receipt, so it is stored first."""
    name = fresh_name()
    path = await outsider.create(name, size=len(DATA))
    opened = await outsider.open(path)
    await opened.binary(DATA)
    await opened.durable(len(DATA))
    opened.drop()
    asked = await tus.head(outsider, path)
    assert asked.headers["Upload-Offset"] == str(len(DATA))
    assert (outsider.directory() / name).read_bytes() == DATA


async def test_a_socket_that_has_not_said_the_end_is_no_success(outsider: Outsider) -> None:
    """It stays, with all bytes: a tus client is told to come back, and not that the offset is the length."""
    path = await outsider.create(fresh_name(), size=len(DATA))
    opened = await outsider.open(path)
    await opened.binary(DATA)
    await opened.durable(len(DATA))
    asked = await outsider.http("HEAD", path, headers=tus.V1)
    assert (asked.status, asked.headers.get("Upload-Offset")) == (423, None)
    assert (await rufh.head(outsider, path)).headers["Upload-Complete"] == "?0"
    await opened.finish(DATA)
    assert await tus.offset(outsider, path) == len(DATA)


async def test_what_cannot_be_stored_is_no_success(outsider: Outsider) -> None:
    """Another file has taken the name meanwhile: the last PATCH fails, and so does every HEAD after it."""
    name = fresh_name()
    path = await tus.create(outsider, 5, "/reject", Upload_Metadata=tus.metadata(filename=name))
    (outsider.directory("/reject") / name).write_bytes(b"taken")
    answer = await tus.patch(outsider, path, 0, b"12345")
    assert (answer.status, answer.problem()) == (409, "name_taken")
    asked = await outsider.http("HEAD", path, headers=tus.V1)
    assert (asked.status, asked.headers.get("Upload-Offset")) == (409, None)
    (outsider.directory("/reject") / name).unlink()
    assert await tus.offset(outsider, path) == 5
    assert (outsider.directory("/reject") / name).read_bytes() == b"12345"
