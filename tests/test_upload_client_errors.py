"""What the Python client makes of refusals, errors and words it does not know."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from jackfield.handlers.upload.client import (
    DigestMismatch,
    NoSpace,
    Receipt,
    Refused,
    Rejected,
    Superseded,
    UploadError,
    upload,
)
from tests.support.scripted import TOKEN, Conversation, Scripted, problem, receipt

KIB, MIB = 1024, 1024 * 1024


async def send(session: aiohttp.ClientSession, server: Scripted, path: Path, **options: Any) -> Receipt:
    return await upload(session, server.url, path, token=TOKEN, **{"give_up": 10.0, **options})


@pytest.mark.parametrize(
    ("status", "code", "expected", "kept"),
    [
        (409, "superseded", Superseded, True),
        (409, "name_taken", Rejected, False),
        (413, "too_large", NoSpace, False),
        (507, "no_space", NoSpace, True),
        (422, "digest_mismatch", DigestMismatch, False),
        (404, "cancelled", Rejected, False),
        (400, "bad_message", Rejected, False),
        (403, "forbidden_origin", Refused, True),
    ],
)
async def test_errors_on_the_socket(
    session: aiohttp.ClientSession,
    server: Scripted,
    path: Path,
    status: int,
    code: str,
    expected: type[UploadError],
    kept: bool,
) -> None:
    """Each error is raised as what it means, with its word; nobody reconnects, and what is of no use is cancelled."""

    async def fail(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(MIB)
        await conversation.fail(status, code)

    server.parts = [fail]
    with pytest.raises(expected, match=code) as caught:
        await send(session, server, path)
    assert (type(caught.value), caught.value.code) == (expected, code)
    assert server.sockets == 1
    assert len(server.cancelled) == (0 if kept else 1)


async def test_close_codes_alone_are_enough(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A superseded client leaves the field also when the error message did not reach it."""

    async def supersede(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.socket.close(code=4409)

    server.parts = [supersede]
    with pytest.raises(Superseded):
        await send(session, server, path)
    assert server.sockets == 1


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "invalid_name", Rejected),
        (401, "unauthorized", Refused),
        (403, "forbidden_origin", Refused),
        (404, "not_found", Rejected),
        (409, "name_taken", Rejected),
        (413, "too_large", NoSpace),
        (415, "unsupported_media_type", Rejected),
        (507, "no_space", NoSpace),
    ],
)
async def test_refused_creations(
    session: aiohttp.ClientSession,
    server: Scripted,
    path: Path,
    status: int,
    code: str,
    expected: type[UploadError],
) -> None:
    """A creation that is refused is not tried again; the service's word and reason are passed on."""
    server.answers = [problem(status, code)]
    with pytest.raises(expected, match=f"because: {code}") as caught:
        await send(session, server, path)
    assert (type(caught.value), caught.value.code) == (expected, code)
    assert len(server.created) == 1


async def test_receipt_for_other_bytes(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A receipt whose digest is not the file's is no success."""

    async def lie(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take()
        await conversation.stored(sha256="0" * 64)

    server.parts = [lie]
    with pytest.raises(DigestMismatch, match=r"0{64}"):
        await send(session, server, path)


@pytest.mark.parametrize("text", ["hello", "[1]", '{"type": 1}', '{"type": "ack", "offset": "1", "durable": 0}'])
async def test_words_of_another_protocol(
    session: aiohttp.ClientSession, server: Scripted, path: Path, text: str
) -> None:
    """A server that does not keep to the protocol is left, with a reason."""

    async def babble(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.socket.send_str(text)
        await conversation.take()

    server.parts = [babble]
    with pytest.raises(Rejected) as caught:
        await send(session, server, path)
    assert caught.value.code == "not_understood"


async def test_unknown_words_are_skipped(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """Messages and keys of a newer protocol disturb nobody."""

    async def newer(conversation: Conversation) -> None:
        await conversation.say(type="news", of="tomorrow")
        await conversation.ready(colour="green")
        await conversation.say(type="news", of="tomorrow")
        await conversation.take()
        await conversation.stored(colour="green")

    server.parts = [newer]
    assert (await send(session, server, path)).sha256 == receipt(path).sha256


async def test_something_else_answers(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A web server that is no upload service is a Rejected, whatever it answers."""
    url = f"{server.url}/somewhere"
    with pytest.raises(Rejected, match="no uploads at"):
        await upload(session, url, path)
