"""The contract: a client draws the token itself, so that creation can be repeated and nothing is stored twice."""

import asyncio
import secrets
from pathlib import Path

import pytest

from tests.support.outsider import Answer, Outsider, content, digest, eventually, fresh_name
from tests.support.rawsocket import Refusal
from tests.support.service import running_service


def drawn() -> str:
    """A token as a client draws it."""
    return secrets.token_urlsafe(16)


async def _ask(outsider: Outsider, token: str, name: str = "a", at: str = "/upload", **promises: object) -> Answer:
    return await outsider.post_json({"token": token, "name": name, **promises}, at)


@pytest.mark.parametrize("length", [22, 43, 64])
async def test_an_upload_has_the_token_that_was_drawn_for_it(outsider: Outsider, length: int) -> None:
    """A token that nobody has is that of a new upload, which is as any other."""
    token, name = secrets.token_urlsafe(64)[:length], fresh_name()
    answer = await _ask(outsider, token, name, size=5)
    assert answer.status == 201
    found = answer.json()
    assert (found["token"], found["url"], found["state"]) == (token, f"/upload/{token}", "open")
    assert answer.headers["Location"] == f"/upload/{token}"
    opened = await outsider.open(found["url"])
    await opened.binary(b"hello")
    assert outsider.stored(await opened.finish(b"hello")) == b"hello"


async def test_asked_for_again_an_open_upload_is_told_as_it_is(outsider: Outsider) -> None:
    """200, the same JSON with the offset of now; its bytes and the socket on it are left alone."""
    token, name = drawn(), fresh_name()
    first = await _ask(outsider, token, name, size=6, sha256=digest(b"abcdef"))
    opened = await outsider.open(f"/upload/{token}")
    await opened.binary(b"abc")
    await opened.acked(3)
    again = await _ask(outsider, token, name, size=6, sha256=digest(b"abcdef"))
    assert again.status == 200
    expires = again.json()["expires"]
    assert again.json() == {**first.json(), "offset": 3, "expires": expires}
    assert (again.headers["Location"], again.headers["Upload-Offset"]) == (f"/upload/{token}", "3")
    await opened.binary(b"def")
    assert outsider.stored(await opened.finish(b"abcdef")) == b"abcdef"


async def test_asked_for_again_a_stored_upload_gives_its_receipt(outsider: Outsider) -> None:
    """200, and what GET gives; nothing is created, and the file is there once."""
    token, name = drawn(), fresh_name()
    await _ask(outsider, token, name, size=3)
    opened = await outsider.open(f"/upload/{token}")
    await opened.binary(b"abc")
    receipt = await opened.finish(b"abc")
    again = await _ask(outsider, token, name, size=3)
    got = await outsider.get(f"/upload/{token}")
    assert (again.status, again.json()) == (200, got.json())
    assert (again.json()["state"], again.json()["sha256"]) == ("stored", digest(b"abc"))
    assert again.headers["Upload-Offset"] == again.headers["Upload-Length"] == "3"
    assert outsider.published().count(str(receipt["name"])) == 1


@pytest.mark.parametrize("state", ["open", "stored"])
@pytest.mark.parametrize(
    "promise",
    [{"name": "other"}, {"size": 4}, {"size": None}, {"sha256": digest(b"x")}],
    ids=lambda found: next(iter(found)),
)
async def test_another_promise_is_a_conflict(outsider: Outsider, state: str, promise: dict[str, object]) -> None:
    """409 `token_conflict`, and what is there stays as it is."""
    token, asked = drawn(), {"name": fresh_name(), "size": 3}
    await outsider.post_json({"token": token, **asked})
    if state == "stored":
        opened = await outsider.open(f"/upload/{token}")
        await opened.binary(b"abc")
        await opened.finish(b"abc")
    answer = await outsider.post_json({"token": token, **asked, **promise})
    assert (answer.status, answer.problem()) == (409, "token_conflict")
    assert (await outsider.ask(f"/upload/{token}"))["state"] == state


async def test_what_was_cancelled_is_unknown_again(outsider: Outsider) -> None:
    """After a DELETE the same token is that of a new upload, with other promises too."""
    token = drawn()
    await _ask(outsider, token, fresh_name(), size=9)
    assert (await outsider.http("DELETE", f"/upload/{token}")).status == 204
    answer = await _ask(outsider, token, fresh_name(), size=3)
    assert (answer.status, answer.json()["offset"]) == (201, 0)
    opened = await outsider.open(f"/upload/{token}")
    await opened.binary(b"new")
    assert outsider.stored(await opened.finish(b"new")) == b"new"


async def test_what_has_expired_is_unknown_again(outsider: Outsider) -> None:
    """Past its time, before the sweep or after it, the same token is that of a new upload without the old bytes."""
    token = drawn()
    await _ask(outsider, token, "old", "/brief")
    opened = await outsider.open(f"/brief/{token}")
    await opened.binary(b"old")
    await opened.durable(3)
    opened.reset()
    await eventually(lambda: outsider.is_gone(f"/brief/{token}"))
    answer = await _ask(outsider, token, "new", "/brief")
    assert (answer.status, answer.json()["offset"]) == (201, 0)


async def test_a_receipt_that_is_not_kept_any_more_is_unknown_again(outsider: Outsider) -> None:
    """Then it is a new upload, which is stored and has a receipt of its own."""
    token = drawn()
    url = f"/forgetful/{token}"

    async def gone() -> bool:
        return await outsider.is_gone(url)

    for data in (b"first", b"second"):
        answer = await _ask(outsider, token, "name", "/forgetful")
        assert answer.status == 201
        opened = await outsider.open(url)
        await opened.binary(data)
        await opened.finish(data)
        await eventually(gone)


async def test_of_creations_at_once_with_one_token_one_is_made(outsider: Outsider) -> None:
    """Twenty at the same moment: one 201, the others 200 with the same upload; of other names all but one 409."""
    token, name = drawn(), fresh_name()
    answers = await asyncio.gather(*(_ask(outsider, token, name) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] * 19 + [201]
    assert {answer.json()["token"] for answer in answers} == {token}
    other = drawn()
    answers = await asyncio.gather(*(_ask(outsider, other, fresh_name()) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 19


async def test_while_a_socket_finishes_it_is_one_upload(outsider: Outsider) -> None:
    """Creations that come while the upload is being stored find it open, or stored; never a second one."""
    for _ in range(10):
        token, name = drawn(), fresh_name()
        await _ask(outsider, token, name)
        opened = await outsider.open(f"/upload/{token}")
        await opened.binary(content(100_000))
        await opened.end()
        answers = await asyncio.gather(*(_ask(outsider, token, name) for _ in range(5)))
        assert {answer.status for answer in answers} == {200}
        await opened.receipt(content(100_000))
        assert (await outsider.ask(f"/upload/{token}"))["name"] == name


@pytest.mark.parametrize(
    "token", ["", "a" * 21, "a" * 65, "a" * 30 + "=", "a" * 30 + "\n", "é" * 22, "\ud800" * 22, 5, [], {}]
)
async def test_a_token_of_another_form_is_a_bad_request(outsider: Outsider, token: object) -> None:
    """Where an upload is created; a number is no token either."""
    answer = await outsider.post_json({"token": token, "name": "a"})
    assert (answer.status, answer.problem()) == (400, "bad_request")


@pytest.mark.parametrize(
    "token", ["%ED%A0%80", "%ff" * 22, "%00" * 22, "a" * 21, "a" * 65, "a" * 60_00, "%C3%A9" * 22, "a%0Ab" * 10]
)
async def test_no_text_in_the_place_of_a_token_is_a_fault(outsider: Outsider, token: str) -> None:
    """In a path it is 404 `unknown_upload` to every request, whatever it is."""
    for method in ("GET", "DELETE"):
        answer = await outsider.http(method, f"/upload/{token}")
        assert (answer.status, answer.problem()) == (404, "unknown_upload")
    with pytest.raises(Refusal) as refusal:
        await outsider.connect(f"/upload/{token}")
    assert (refusal.value.status, refusal.value.code) == (404, "unknown_upload")


async def test_repeated_creations_are_counted_and_logged(outsider: Outsider) -> None:
    """A repetition is an event and a result of its own, a conflict is a refusal."""
    token, name = drawn(), fresh_name()
    for _ in range(2):
        await _ask(outsider, token, name)
    await _ask(outsider, token, fresh_name())
    event = await asyncio.to_thread(outsider.service.wait_for, "upload.repeated", name=name)
    assert event["state"] == "open"
    await asyncio.to_thread(outsider.service.wait_for, "upload.refused", failure="token_conflict")
    text = (await outsider.get("/metrics")).body.decode()
    assert 'jackfield_upload_results_total{handler="upload",result="repeated"}' in text
    assert 'jackfield_upload_refusals_total{code="token_conflict",handler="upload"}' in text


async def test_tokens_and_promises_outlive_the_service(tmp_path: Path) -> None:
    """After a kill an open upload and a receipt are found again by their tokens, and conflicts are told."""
    tokens = [drawn(), drawn()]
    with running_service(tmp_path) as service:
        async with Outsider(service) as outsider:
            for token in tokens:
                await _ask(outsider, token, f"{token}.bin", size=6)
                opened = await outsider.open(f"/upload/{token}")
                await opened.binary(b"abc")
                await opened.durable(3)
            await opened.binary(b"def")
            await opened.finish(b"abcdef")
        service.kill()
        service.start()
        async with Outsider(service) as outsider:
            answers = [await _ask(outsider, token, f"{token}.bin", size=6) for token in tokens]
            found = [(answer.status, answer.json()["state"], answer.json()["offset"]) for answer in answers]
            assert found == [(200, "open", 3), (200, "stored", 6)]
            for token in tokens:
                assert (await _ask(outsider, token, "other", size=6)).problem() == "token_conflict"
            opened = await outsider.open(f"/upload/{tokens[0]}")
            await opened.binary(b"def")
            await opened.finish(b"abcdef")
            assert outsider.published() == sorted(f"{token}.bin" for token in tokens)
