"""The client draws the token, on a socket of many files ("Who draws the token")."""

import pytest

from tests.support.manyfiles import binary, many, text
from tests.support.outsider import Outsider, UploadSocket, content, digest

TOKEN = "t0ken-drawn-by-the-client-{}"
DATA = content(5000)


def whole(name: str, data: bytes, token: str, **promise: object) -> bytes:
    """A creation with a token, its bytes, its end."""
    return text(type="create", name=name, token=token, **promise) + binary(data) + text(type="end")


async def answer(opened: UploadSocket) -> dict[str, object]:
    """The next `stored` or `error`; a `stored` may come without a `ready` before it."""
    while (said := await opened.said(30))["type"] not in ("stored", "error"):
        pass
    return said


@pytest.mark.parametrize("size", [10, 200_000])
async def test_the_same_token_is_the_same_file(outsider: Outsider, size: int) -> None:
    """Asked for again, on the same socket and on another, it is `stored` at once, whatever is sent behind it."""
    token, data = TOKEN.format(f"same-{size}"), content(size)
    opened = await many(outsider)
    for again in range(3):
        if again == 2:
            opened = await many(outsider)
        await opened.send(whole(f"same-{size}.bin", data if not again else b"other", token))
        found = await answer(opened)
        assert (found["type"], found["name"], found["sha256"]) == ("stored", f"same-{size}.bin", digest(data))
    await opened.send(whole("next.bin", b"next", TOKEN.format(f"next-{size}")))
    assert (await answer(opened))["sha256"] == digest(b"next")


@pytest.mark.parametrize("data", [b"from the beginning", content(200_000)])
async def test_an_open_upload_is_taken_over_and_begun_anew(outsider: Outsider, data: bytes) -> None:
    """The older socket hears `superseded`; of its bytes nothing is in the file."""
    token = TOKEN.format(f"anew-{len(data)}")
    older, newer = await many(outsider), await many(outsider)
    await older.send(text(type="create", name="anew.bin", token=token) + binary(DATA))
    assert (await older.message("ready"))["token"] == token
    await older.durable(len(DATA))
    await newer.send(whole("anew.bin", data, token))
    assert (await newer.message("ready"))["offset"] == 0
    assert (await answer(newer))["sha256"] == digest(data)
    assert (await answer(older))["code"] == "superseded"


async def test_other_promises_are_a_conflict_and_the_socket_goes_on(outsider: Outsider) -> None:
    """Another name, size or digest: `token_conflict`, for open ones and for stored ones."""
    token = TOKEN.format("conflict")
    opened = await many(outsider)
    await opened.send(whole("conflict.bin", DATA, token, size=len(DATA)))
    assert (await answer(opened))["type"] == "stored"
    for name, promise in (("other.bin", {"size": len(DATA)}), ("conflict.bin", {}), ("conflict.bin", {"size": 1})):
        await opened.send(whole(name, DATA, token, **promise))
        found = await answer(opened)
        assert (found["code"], found["status"]) == ("token_conflict", 409)
    await opened.send(whole("conflict.bin", b"", token, size=len(DATA)))
    assert (await answer(opened))["sha256"] == digest(DATA)


@pytest.mark.parametrize("token", ["short", "x" * 65, "a b" * 10, "\u00e4" * 30, 5])
async def test_a_malformed_token_closes_the_socket(outsider: Outsider, token: object) -> None:
    """As any message that is none: `bad_message`, 4400."""
    opened = await many(outsider)
    await opened.send(text(type="create", name="odd.bin", token=token))
    assert (await opened.message("error"))["code"] == "bad_message"
    assert (await opened.closed()).code == 4400


async def test_after_a_kill_a_whole_folder_sent_again_is_there_once(outsider: Outsider) -> None:
    """Everything that has no answer is sent once more with its tokens: nothing is stored twice."""
    files = {f"once/{number}.bin": content(100 + number) for number in range(50)}
    sent = b"".join(whole(name, data, TOKEN.format(name[5:-4])) for name, data in files.items())
    first = await many(outsider)
    await first.send(sent)
    for _ in range(10):
        await answer(first)
    first.reset()
    again = await many(outsider)
    await again.send(sent)
    found = [await answer(again) for _ in files]
    assert {(each["name"], each["sha256"]) for each in found} == {(name, digest(data)) for name, data in files.items()}
