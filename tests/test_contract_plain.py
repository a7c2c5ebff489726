"""The contract, "A *plain* upload": for clients that know nothing but to send and to close."""

from collections.abc import Awaitable, Callable

import aiohttp
import pytest
import websockets

from tests.support.outsider import Outsider, UploadSocket, content, digest, eventually, fresh_name
from tests.support.rawsocket import Opcode, frame, header

Leave = Callable[[UploadSocket], Awaitable[None]]

MIB = 2**20
SIZES = [0, 1, 125, 126, 65535, 65536, MIB, 64 * MIB]


def reason(data: bytes) -> str:
    """What the answering close of a plain upload says."""
    return f"stored {len(data)} sha256:{digest(data)}"


@pytest.mark.parametrize("size", SIZES)
async def test_the_seeds_client_gets_its_file_stored(outsider: Outsider, size: int) -> None:
    """The whole file in one message, then close 1000, nothing read till then: the reason is the receipt."""
    data, name = content(size), fresh_name()
    opened = await outsider.unread(await outsider.create_plain(name))
    await opened.send(header(Opcode.BINARY, size, key=bytes(4)) + data)
    await opened.close(1000)
    ready = await opened.message("ready")
    assert (ready["name"], ready["offset"], ready["size"]) == (name, 0, None)
    await opened.closed_plainly(reason(data))
    assert (outsider.directory() / name).read_bytes() == data


async def test_libraries_people_use_get_their_files_stored(outsider: Outsider) -> None:
    """aiohttp's and websockets' own clients send, close politely, and see the receipt."""
    data = content(3 * MIB + 1)
    base = outsider.service.url
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(base + await outsider.create_plain()) as one,
    ):
        await one.send_bytes(data)
        await one.close()
        assert one.close_code == 1000
    url = base.replace("http", "ws", 1) + await outsider.create_plain()
    async with websockets.connect(url, max_size=None) as other:
        await other.send(data[at : at + 65536] for at in range(0, len(data), 65536))
    assert (other.close_code, other.close_reason) == (1000, reason(data))


@pytest.mark.parametrize("code", [1000, None])
async def test_a_plain_close_stores_however_the_bytes_came(outsider: Outsider, code: int | None) -> None:
    """Close 1000 and close without a code both end it, after many messages or after none at all."""
    for parts in ([], [b""], [b"a", b"b", b""], [b"x" * 70_000] * 3):
        opened = await outsider.open(await outsider.create_plain())
        await opened.send(b"".join(frame(Opcode.BINARY, part) for part in parts))
        await opened.close(code, b"")
        await opened.closed_plainly(reason(b"".join(parts)))


async def test_a_plain_client_may_leave_right_behind_its_close(outsider: Outsider) -> None:
    """A close and a FIN at once: nobody is there for the receipt, and the file is stored all the same."""
    data = content(200_000)
    url = await outsider.create_plain()
    opened = await outsider.unread(url)
    await opened.send(frame(Opcode.BINARY, data) + frame(Opcode.CLOSE, b"\x03\xe8"))
    opened.half_close()
    await eventually(lambda: outsider.is_stored(url))
    assert outsider.stored(await outsider.ask(url)) == data


async def _leave_by_code(opened: UploadSocket) -> None:
    await opened.close(1001)
    assert not (await opened.closed()).reason.startswith("stored")


async def _leave_inside_a_message(opened: UploadSocket) -> None:
    await opened.send(frame(Opcode.BINARY, b"", fin=False))
    await opened.close(1000)
    assert not (await opened.closed()).reason.startswith("stored")


async def _leave_by_fin(opened: UploadSocket) -> None:
    opened.half_close()
    await opened.ended()


async def _leave_by_reset(opened: UploadSocket) -> None:
    await opened.delivered()
    opened.reset()


@pytest.mark.parametrize("leave", [_leave_by_code, _leave_inside_a_message, _leave_by_fin, _leave_by_reset])
async def test_a_plain_upload_cut_off_stays_open(outsider: Outsider, leave: Leave) -> None:
    """Another code, a close inside an unfinished message, FIN and RST are no end: the bytes wait."""
    url = await outsider.create_plain()
    opened = await outsider.open(url)
    await opened.binary(b"bytes")
    await leave(opened)
    again = await outsider.open(url)
    assert again.ready["offset"] == 5
    assert (await outsider.ask(url))["state"] == "open"
    await again.close(1000)
    await again.closed_plainly(reason(b"bytes"))


async def test_end_works_on_a_plain_upload_too(outsider: Outsider) -> None:
    """A plain upload understands `end`, with a digest to compare."""
    opened = await outsider.open(await outsider.create_plain())
    await opened.binary(b"data")
    await opened.end(sha256=digest(b"wrong"))
    await opened.failed("digest_mismatch", 4422)
    url = await outsider.create_plain()
    opened = await outsider.open(url)
    await opened.binary(b"data")
    await opened.finish(b"data")


@pytest.mark.parametrize("code", [1000, None])
async def test_the_answer_to_our_own_close_is_no_end(outsider: Outsider, code: int | None) -> None:
    """A Close that answers the service's 4408 or 4409 is no wish to store, whatever code it carries."""
    idle = await outsider.create_plain(at="/idle")
    opened = await outsider.open(idle)
    await opened.binary(b"half")
    await opened.failed("idle", 4408)
    await opened.close(code)
    await opened.ended()
    taken = await outsider.create_plain()
    first = await outsider.open(taken)
    await first.binary(b"half")
    await first.acked(4)
    second = await outsider.open(taken)
    await first.failed("superseded", 4409)
    await first.close(code)
    await first.ended()
    for url in (idle, taken):
        found = await outsider.ask(url)
        assert (found["state"], found["offset"]) == ("open", 4)
    await second.binary(b" and half")
    await second.close(1000)
    await second.closed_plainly(reason(b"half and half"))


async def test_a_plain_upload_resumed_is_stored_whole(outsider: Outsider) -> None:
    """What came over two sockets is one file, and a third socket gets its receipt."""
    url = await outsider.create_plain()
    first = await outsider.open(url)
    await first.send(frame(Opcode.BINARY, b"one and two")[:10])
    first.half_close()
    second = await outsider.open(url)
    assert second.ready["offset"] == 4
    await second.binary(b"two")
    await second.close(None)
    await second.closed_plainly(reason(b"one two"))
    await (await outsider.unread(url)).receipt(b"one two")
