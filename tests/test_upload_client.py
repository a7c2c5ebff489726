"""The Python client against a server that misbehaves on cue, over real sockets."""

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from handlers.upload.client import (
    Changed,
    DigestMismatch,
    NoRoom,
    Progress,
    Receipt,
    Refused,
    Rejected,
    Superseded,
    Unreachable,
    UploadError,
    upload,
)
from tests.support.scripted import Conversation, Scripted, for_ever, honest, problem, scripted

KIB, MIB = 1024, 1024 * 1024


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with scripted() as found:
        yield found


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as found:
        yield found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three pieces and a bit."""
    file = tmp_path / "data.bin"
    file.write_bytes(os.urandom(3 * MIB + 12345))
    return file


def receipt(path: Path) -> Receipt:
    data = path.read_bytes()
    return Receipt("x", len(data), hashlib.sha256(data).hexdigest())


async def send(session: aiohttp.ClientSession, server: Scripted, path: Path, **options: Any) -> Receipt:
    return await upload(session, server.url, path, **{"give_up": 10.0, **options})


async def test_receipt_is_of_the_file(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A file arrives byte by byte, with its name and size promised and its digest in `end`."""
    assert await send(session, server, path) == receipt(path)
    assert server.bytes == path.read_bytes()
    assert server.created == [{"name": "data.bin", "size": 3 * MIB + 12345}]
    assert server.ends == [{"type": "end", "sha256": receipt(path).sha256}]


async def test_empty_file(session: aiohttp.ClientSession, server: Scripted, tmp_path: Path) -> None:
    """A file without bytes is stored too."""
    empty = tmp_path / "empty"
    empty.touch()
    assert await send(session, server, empty) == receipt(empty)
    assert server.messages == []


@pytest.mark.parametrize("form", ["{url}", "{url}/", "{url}/upload", "{url}/upload/", "ws{rest}", "ws{rest}/upload"])
async def test_forms_of_the_url(session: aiohttp.ClientSession, server: Scripted, path: Path, form: str) -> None:
    """The URL may be the service or its upload path, http or ws."""
    url = form.format(url=server.url, rest=server.url.removeprefix("http"))
    assert await upload(session, url, path) == receipt(path)


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://localhost/", "data.bin", "http:///upload"])
async def test_what_is_no_url(session: aiohttp.ClientSession, path: Path, url: str) -> None:
    """What is no URL of a service is a ValueError, before anything is opened."""
    with pytest.raises(ValueError, match="is not an http"):
        await upload(session, url, path)


async def test_names_are_composed(session: aiohttp.ClientSession, server: Scripted, tmp_path: Path) -> None:
    """A name that the file system decomposed goes out in NFC, as the contract wants it."""
    file = tmp_path / "e\u0301t\u00e9"
    file.touch()
    await send(session, server, file)
    assert server.created[0]["name"] == "\u00e9t\u00e9"


async def test_promises_are_passed_on(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """`name` and `sha256` are promised where the caller says so."""
    await send(session, server, path, name="a/b", sha256="0" * 64)
    assert server.created == [{"name": "a/b", "size": 3 * MIB + 12345, "sha256": "0" * 64}]


async def test_window(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """No more than the window goes out beyond the last acknowledgement, and then all of the rest."""
    server.window, server.message_size = 300 * KIB, 64 * KIB
    seen = []

    async def stingy(conversation: Conversation) -> None:
        await conversation.ready()
        for _ in range(3):
            before = len(server.bytes)
            await conversation.take(before + 256 * KIB, acks=False)
            with pytest.raises(TimeoutError):  # a fifth message would pass the window
                await conversation.socket.receive(timeout=0.2)
            seen.append(len(server.bytes) - before)
            await conversation.ack()
        await conversation.take()
        await conversation.stored()

    server.parts = [stingy]
    assert await send(session, server, path) == receipt(path)
    assert seen == [256 * KIB] * 3
    assert max(server.messages) <= 64 * KIB


async def test_callers_window(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """The caller's window wins, also where it is smaller than a message would be."""
    assert await send(session, server, path, window=10_000) == receipt(path)
    assert max(server.messages) <= 10_000


async def test_progress(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """The callback hears what the server said: offset, durable and the size, up to the last byte."""
    seen: list[Progress] = []
    await send(session, server, path, progress=seen.append)
    size = path.stat().st_size
    assert seen[0] == Progress(0, 0, size)
    assert seen[-1] == Progress(size, size, size)
    assert [step.offset for step in seen] == sorted(step.offset for step in seen)


async def test_dropped_connection(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """After a cut it goes on where the server says, also when that lost bytes it had acknowledged."""

    async def cut(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(2 * MIB)
        conversation.drop()
        del server.bytes[MIB + 77 :]

    server.parts = [cut, cut]
    assert await send(session, server, path) == receipt(path)
    assert server.bytes == path.read_bytes()
    assert server.offsets == [0, MIB + 77, MIB + 77]
    assert len(server.created) == 1


async def test_dropped_after_the_end(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """When the connection is lost between `end` and the receipt, the receipt is asked for again."""

    async def cut(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take()
        server.receipt = {"name": "x", "size": len(server.bytes), "sha256": receipt(path).sha256}
        conversation.drop()

    server.parts = [cut]
    assert await send(session, server, path) == receipt(path)
    assert len(server.ends) == 1
    assert len(server.created) == 1


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 1000, 4408, 4429])
async def test_closes_that_ask_to_come_back(
    session: aiohttp.ClientSession, server: Scripted, path: Path, code: int
) -> None:
    """A service that restarts, is busy, found us idle or leaves in the middle is come back to."""

    async def leave(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(MIB)
        await conversation.socket.close(code=code)

    server.parts = [leave]
    assert await send(session, server, path) == receipt(path)
    assert server.offsets[0] == 0
    assert server.offsets[1] >= MIB


@pytest.mark.parametrize(
    ("status", "code", "expected", "kept"),
    [
        (409, "superseded", Superseded, True),
        (409, "name_taken", Rejected, False),
        (413, "too_large", NoRoom, False),
        (507, "no_space", NoRoom, True),
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
    assert server.cancelled == (0 if kept else 1)


async def test_close_codes_alone_are_enough(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A superseded client leaves the field also when the error message did not reach it."""

    async def supersede(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.socket.close(code=4409)

    server.parts = [supersede]
    with pytest.raises(Superseded):
        await send(session, server, path)
    assert server.sockets == 1


async def test_prefix_that_differs(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """When the server has other first bytes than the file, they are forgotten and all is sent anew."""

    async def confused(conversation: Conversation) -> None:
        server.bytes += b"something else"
        await conversation.ready()
        await conversation.take()
        await conversation.stored()

    server.parts = [confused]
    assert await send(session, server, path) == receipt(path)
    assert (server.restarts, server.bytes == path.read_bytes()) == (1, True)


async def test_server_that_has_too_much(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """An offset beyond the end of the file is answered with `restart`."""

    async def confused(conversation: Conversation) -> None:
        server.bytes += bytes(4 * MIB)
        await conversation.ready(sha256=None)
        await conversation.take()
        await conversation.stored()

    server.parts = [confused]
    assert await send(session, server, path) == receipt(path)
    assert server.restarts == 1


async def test_late_ack_before_the_restart(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """An acknowledgement that crossed our `restart` is not taken for the answer to it."""

    async def confused(conversation: Conversation) -> None:
        server.bytes += b"something else"
        await conversation.ready()
        await conversation.ack()
        await conversation.take()
        await conversation.stored()

    server.parts = [confused]
    assert await send(session, server, path) == receipt(path)


async def test_receipt_for_other_bytes(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A receipt whose digest is not the file's is no success."""

    async def lie(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take()
        await conversation.stored(sha256="0" * 64)

    server.parts = [lie]
    with pytest.raises(DigestMismatch, match=r"0{64}"):
        await send(session, server, path)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"changed")


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, 2 * MIB)


@pytest.mark.parametrize("change", [overwrite, grow, shrink])
async def test_file_that_changes_while_it_is_sent(
    session: aiohttp.ClientSession, server: Scripted, path: Path, change: Any
) -> None:
    """A file that is written to, grows or shrinks meanwhile fails; no `end` is sent, and nothing is kept."""
    server.window = 256 * KIB

    async def part(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(256 * KIB, acks=False)
        change(path)
        await conversation.ack()
        await conversation.take()

    server.parts = [part]
    with pytest.raises(Changed, match=r"data\.bin"):
        await send(session, server, path)
    assert server.ends == []
    assert server.cancelled == 1


async def test_file_that_is_replaced(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A file that another one is renamed over is sent as it was when it was opened, also after a cut."""
    before = receipt(path)

    async def part(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(MIB)
        other = path.with_name("other")
        other.write_bytes(bytes(5 * MIB))
        other.replace(path)
        conversation.drop()

    server.parts = [part]
    assert await send(session, server, path) == before


async def test_file_that_lies_about_its_size(session: aiohttp.ClientSession, server: Scripted) -> None:
    """A file of /proc, which says 0 bytes and has more, is not stored as an empty one."""
    with pytest.raises(Changed, match="holds more than"):
        await send(session, server, Path("/proc/self/status"))


async def test_not_a_regular_file(session: aiohttp.ClientSession, server: Scripted, tmp_path: Path) -> None:
    """A folder, a missing file and a named pipe (which nobody feeds) are OSErrors at once."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for odd in (tmp_path, tmp_path / "missing", fifo):
        with pytest.raises(OSError):
            await send(session, server, odd)
    assert server.created == []


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "invalid_name", Rejected),
        (401, "unauthorized", Refused),
        (403, "forbidden_origin", Refused),
        (404, "not_found", Rejected),
        (409, "name_taken", Rejected),
        (413, "too_large", NoRoom),
        (415, "unsupported_media_type", Rejected),
        (507, "no_space", NoRoom),
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


@pytest.mark.parametrize(("status", "code"), [(429, "too_many_uploads"), (503, "draining"), (500, "oops")])
async def test_busy_service(
    session: aiohttp.ClientSession, server: Scripted, path: Path, status: int, code: str
) -> None:
    """A busy service is asked again, not before the time it named, and the caller hears why it waits."""
    notes: list[str | None] = []
    server.answers = [problem(status, code, Retry_After="1")]
    began = asyncio.get_running_loop().time()
    await send(session, server, path, progress=lambda progress: notes.append(progress.note))
    assert asyncio.get_running_loop().time() - began >= 1
    assert f"because: {code}; trying again" in notes
    assert len(server.created) == 2


async def test_busy_until_patience_ends(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A `Retry-After` beyond the caller's patience is cut short: one last attempt, then Unreachable."""
    server.answers = [problem(429, "too_many_uploads", Retry_After="3600")] * 9
    with pytest.raises(Unreachable, match="too_many_uploads"):
        await send(session, server, path, give_up=0.5)
    assert len(server.created) == 2


async def test_nobody_listens(session: aiohttp.ClientSession, path: Path) -> None:
    """An unreachable service is tried again until patience ends, then it is Unreachable."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refused, and nobody else can have it
        with pytest.raises(Unreachable, match="gave up after"):
            await upload(session, f"http://127.0.0.1:{taken.getsockname()[1]}", path, give_up=0.5)


async def test_silence_from_the_start(session: aiohttp.ClientSession, path: Path) -> None:
    """A server that takes the connection and says nothing is given up as well."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        url = f"http://127.0.0.1:{hole.getsockname()[1]}"
        with pytest.raises(Unreachable, match="does not answer"):
            await upload(session, url, path, give_up=0.5, connect_timeout=0.5)


async def test_silence_on_the_socket(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A socket on which nothing is said, not even a pong, is left and opened anew."""

    async def silent(conversation: Conversation) -> None:
        await conversation.ready()
        await for_ever()

    server.parts = [silent]
    assert await send(session, server, path, give_up=2.0) == receipt(path)
    assert server.sockets == 2


async def test_server_that_takes_nothing(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A server that answers pings but acknowledges nothing makes no progress, and is given up."""

    async def idle(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(acks=False)

    server.parts = [idle] * 99
    with pytest.raises(Unreachable, match="no bytes were taken"):
        await send(session, server, path, give_up=1.5)


async def test_crash_loop_is_no_progress(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A server that takes the same bytes again and again, and loses them, is given up in the end."""

    async def crash(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(MIB)
        server.bytes.clear()
        conversation.drop()

    server.parts = [crash] * 999
    with pytest.raises(Unreachable):
        await send(session, server, path, give_up=1.5)
    assert server.sockets > 1


async def test_long_wait_for_the_receipt(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """After `end` the server may take longer than our patience, as long as it answers pings."""

    async def slow(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await conversation.socket.receive()  # answers pings meanwhile
        await conversation.stored()

    server.parts = [slow]
    assert await send(session, server, path, give_up=1.0) == receipt(path)
    assert server.sockets == 1


async def test_upload_that_is_gone(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """When the service has forgotten the upload after a cut, it is created anew and sent whole."""

    async def lose(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(MIB)
        server.open = False
        conversation.drop()

    server.parts = [lose]
    assert await send(session, server, path) == receipt(path)
    assert len(server.created) == 2
    assert server.offsets == [0, 0]


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


async def test_callback_that_fails(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """What the caller's callback raises reaches the caller as it is."""

    def fail(_: Progress) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        await send(session, server, path, progress=fail)


async def test_cancelled(session: aiohttp.ClientSession, server: Scripted, path: Path) -> None:
    """A cancelled upload ends at once, leaves no task behind, and the service keeps what it has."""
    reached = asyncio.Event()

    async def watched(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(MIB)
        reached.set()
        await conversation.take(acks=False)

    server.parts = [watched]
    tasks = asyncio.all_tasks()
    sending = asyncio.create_task(send(session, server, path))
    await reached.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    ours = {task for task in asyncio.all_tasks() - tasks if "handlers/upload/client" in repr(task)}
    assert not ours
    assert server.cancelled == 0


async def test_many_at_once(session: aiohttp.ClientSession, path: Path) -> None:
    """Uploads in one program do not disturb each other."""
    async with scripted() as one, scripted() as two:
        one.parts = [honest]
        found = await asyncio.gather(send(session, one, path), send(session, two, path))
    assert found == [receipt(path)] * 2
