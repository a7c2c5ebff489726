"""What a call of the client makes of an upload that an earlier one began, and named by the same token."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from jackfield.handlers.upload.client import (
    DigestMismatch,
    Receipt,
    Rejected,
    Superseded,
    TokenConflict,
    Unreachable,
    UploadError,
    draw_token,
    upload,
    upload_stream,
)
from jackfield.handlers.upload.client.creation import Token
from tests.support.scripted import Conversation, Scripted, problem, receipt

MIB = 1024 * 1024
Send = Callable[..., Awaitable[Receipt]]


@pytest.fixture
def token() -> str:
    return draw_token()


@pytest.fixture
async def send(server: Scripted, path: Path, token: str) -> AsyncIterator[Send]:
    async with aiohttp.ClientSession() as session:

        async def upload_it(*, token: Token | None = token, resume: bool = True, give_up: float = 0.5) -> Receipt:
            return await upload(session, server.url, path, token=token, resume=resume, give_up=give_up)

        yield upload_it


@pytest.fixture
async def interrupted(server: Scripted, send: Send) -> int:
    """An upload that was cancelled after about 1 MiB; the bytes the server has of it."""
    await interrupt(server, send)
    return len(server.bytes)


async def interrupt(server: Scripted, send: Send, **options: str | None) -> None:
    reached = asyncio.Event()

    async def part(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(MIB)
        reached.set()

    server.parts = [part]
    sending = asyncio.ensure_future(send(**options))
    waiting = asyncio.ensure_future(reached.wait())
    await asyncio.wait({sending, waiting}, return_when=asyncio.FIRST_COMPLETED)
    assert reached.is_set(), sending.exception()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def lose_the_receipt(conversation: Conversation) -> None:
    """Store it, and cut the connection instead of saying so."""
    server = conversation.server
    await conversation.ready()
    await conversation.take()
    server.store()
    server.closed = True
    conversation.drop()


async def test_goes_on_where_it_stopped(interrupted: int, server: Scripted, send: Send, path: Path, token: str) -> None:
    """The next call sends only what is missing; what was interrupted is kept, and there is one upload."""
    assert server.cancelled == []
    assert await send() == receipt(path)
    assert server.bytes == path.read_bytes()
    assert server.offsets == [0, interrupted]
    assert [asked["token"] for asked in server.created] == [token, token]


async def test_a_token_of_its_own_is_cancelled(server: Scripted, send: Send) -> None:
    """A call that was given no token draws one; cancelled, it leaves nothing that nobody can go on with."""
    await interrupt(server, send, token=None)
    assert server.cancelled == [server.created[0]["token"]]
    assert re.fullmatch("[A-Za-z0-9_-]{43}", server.cancelled[0])


async def test_an_answer_that_was_lost_creates_nothing_twice(server: Scripted, send: Send, path: Path) -> None:
    """When the answer to the creation is lost, the same token is asked for again, also within one call."""

    async def lose(request: aiohttp.web.Request) -> aiohttp.web.Response:
        await server.create(request)
        assert request.transport is not None
        request.transport.abort()
        return aiohttp.web.Response()

    server.answers = [lose]
    assert await send(token=None) == receipt(path)
    first, second = server.created
    assert first == second
    assert server.uploads == 1


async def test_not_resumed(interrupted: int, server: Scripted, send: Send, path: Path) -> None:
    """With `resume` false the first byte is sent again, in the same upload."""
    assert await send(resume=False) == receipt(path)
    assert (server.offsets, server.restarts) == ([0, interrupted, 0], 1)
    assert server.bytes == path.read_bytes()


@pytest.mark.parametrize("tells_digest", [True, False])
async def test_other_bytes_of_the_same_size(
    interrupted: int, server: Scripted, send: Send, path: Path, tells_digest: bool
) -> None:
    """A file whose first bytes changed is sent anew where the server tells a digest. Where it does not, the digest of
    all keeps a mixture from being stored."""
    with path.open("r+b") as file:
        file.write(b"changed")
    server.tells_digest = tells_digest
    if not tells_digest:
        with pytest.raises(DigestMismatch):
            await send()
        assert server.ends[0]["sha256"] == receipt(path).sha256
        return
    assert await send() == receipt(path)
    assert server.bytes == path.read_bytes()
    assert server.offsets == [0, interrupted, 0]


async def test_same_bytes_under_a_new_date(interrupted: int, server: Scripted, send: Send, path: Path) -> None:
    """A file that was merely touched goes on: the digest says that it is the same."""
    os.utime(path)
    assert await send() == receipt(path)
    assert server.offsets == [0, interrupted]


async def test_file_of_another_size(interrupted: int, server: Scripted, send: Send, path: Path) -> None:
    """A token belongs to one size: of a file that grew it is refused, and the upload is let be."""
    os.truncate(path, 5 * MIB)
    with pytest.raises(TokenConflict):
        await send()
    assert server.cancelled == []


async def test_upload_that_expired(interrupted: int, server: Scripted, send: Send, path: Path) -> None:
    """When the service does not know the upload any more, it is created anew."""
    server.open = False
    assert await send() == receipt(path)
    assert server.offsets == [0, 0]


async def test_upload_that_was_stored_after_all(server: Scripted, send: Send, path: Path) -> None:
    """When only the receipt was lost, the next call gets it, says that it is not of now, and sends nothing twice."""
    server.parts = [lose_the_receipt]
    with pytest.raises(Unreachable):
        await send()
    server.closed = False
    again = await send()
    assert (again, again.already) == (receipt(path), True)
    assert (len(server.ends), server.uploads) == (1, 1)


async def test_a_receipt_of_this_call_is_new(server: Scripted, send: Send, path: Path) -> None:
    """What this very call has stored is not `already` stored, also when its first receipt was lost."""

    async def lose(conversation: Conversation) -> None:
        await lose_the_receipt(conversation)
        server.closed = False

    server.parts = [lose]
    found = await send()
    assert (found, found.already) == (receipt(path), False)
    assert len(server.ends) == 1


async def test_stored_upload_of_another_version(interrupted: int, server: Scripted, send: Send, path: Path) -> None:
    """A token that has stored other bytes is no receipt for these."""
    server.receipt = {"name": "x", "size": path.stat().st_size, "sha256": "0" * 64}
    with pytest.raises(TokenConflict):
        await send()
    assert server.cancelled == []


async def test_a_newer_socket_keeps_what_is_there(server: Scripted, send: Send) -> None:
    """A call that was superseded cancels nothing, whoever drew the token: the newer one goes on with it."""

    async def supersede(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.fail(409, "superseded")

    server.parts = [supersede]
    with pytest.raises(Superseded):
        await send(token=None)
    assert server.cancelled == []


async def test_a_token_that_is_made_of_the_file(server: Scripted, send: Send, path: Path, token: str) -> None:
    """It is made of the version that is sent: of the open file, whatever its path leads to by then."""
    made_of = []

    def make(found: os.stat_result) -> str:
        made_of.append(found.st_ino)
        path.rename(path.with_name("old"))
        path.write_bytes(b"a newer version")
        return token

    before = path.stat().st_ino
    sent = await send(token=make)
    assert (sent.size, server.created[0]["token"]) == (path.with_name("old").stat().st_size, token)
    assert made_of == [before]


async def test_a_token_that_cannot_be_made(server: Scripted, send: Send) -> None:
    """Where the function has none, one is drawn, and a call that fails cancels what it began."""
    server.refusal = problem(400, "bad_request")
    with pytest.raises(UploadError):
        await send(token=lambda _: None)
    assert server.cancelled == [server.created[0]["token"]]


async def test_superseded_by_a_socket_of_its_own(server: Scripted, send: Send, path: Path) -> None:
    """A lost socket of this call may reach the service after the newer one: then it takes the upload back, once."""

    async def lose(conversation: Conversation) -> None:
        await conversation.ready()
        conversation.drop()

    async def supersede(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.fail(409, "superseded")

    server.parts = [lose, supersede]
    assert await send(give_up=30) == receipt(path)
    server.parts = [lose, supersede, supersede]
    with pytest.raises(Superseded):
        await send(token=None, give_up=30)


@pytest.mark.parametrize(("status", "kind"), [(401, "Refused"), (404, "Unreachable"), (400, "Rejected")])
async def test_a_socket_that_is_refused(server: Scripted, send: Send, status: int, kind: str) -> None:
    """Where the creation passes and the socket does not (a proxy that is wrong), what was created is cancelled."""
    server.refusal = problem(status, "")
    with pytest.raises(UploadError) as caught:
        await send()
    assert type(caught.value).__name__ == kind
    assert set(server.cancelled) == {server.created[0]["token"]}


@pytest.mark.parametrize("token", ["", "short", "a" * 21, "a" * 65, "ä" * 30, "a" * 30 + "/"])
async def test_what_is_no_token(server: Scripted, send: Send, token: str) -> None:
    """A token that the service would not take is a ValueError, before anything is sent."""
    with pytest.raises(ValueError, match="token"):
        await send(token=token)
    assert server.created == []


async def test_a_name_that_is_no_text(server: Scripted, tmp_path: Path) -> None:
    """A file whose name is not UTF-8 is told as that."""
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/latin\xe9.bin")
    Path(odd).touch()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(Rejected, match="not UTF-8"):
            await upload(session, server.url, odd)


async def test_a_stream_is_never_left_behind(server: Scripted, token: str) -> None:
    """A stream that ends in an error is cancelled, also with a token of the caller's and where room may be made."""

    async def full(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(5)
        await conversation.fail(507, "no_space")

    async def chunks() -> AsyncIterator[bytes]:
        yield b"bytes"
        await asyncio.Event().wait()

    server.parts = [full]
    async with aiohttp.ClientSession() as session:
        with pytest.raises(Exception, match="no_space"):
            await upload_stream(session, server.url, chunks(), name="x", token=token)
    assert server.cancelled == [token]


async def test_a_stream_begins_anew(server: Scripted, token: str) -> None:
    """What an earlier call sent of a stream is forgotten: there is no telling whether it is the same stream."""
    server.promised = {"name": "x", "token": token}
    server.open, server.token = True, token
    server.bytes += b"old"

    async def chunks() -> AsyncIterator[bytes]:
        yield b"new bytes"

    async with aiohttp.ClientSession() as session:
        await upload_stream(session, server.url, chunks(), name="x", token=token)
    assert (server.bytes, server.restarts) == (b"new bytes", 1)


async def test_a_stream_that_is_stored_already(server: Scripted, token: str) -> None:
    """The same bytes once more under the same token get the same receipt; other bytes a TokenConflict."""
    async with aiohttp.ClientSession() as session:

        async def send(data: bytes) -> Receipt:
            async def chunks() -> AsyncIterator[bytes]:
                yield data

            return await upload_stream(session, server.url, chunks(), name="x", token=token)

        assert not (await send(b"bytes")).already
        assert (await send(b"bytes")).already
        with pytest.raises(TokenConflict):
            await send(b"other")
    assert len(server.ends) == 1
