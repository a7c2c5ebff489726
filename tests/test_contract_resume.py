"""The contract, "Send": an upload outlives its sockets and the service."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.outsider import Outsider, UploadSocket, content, digest, eventually, fresh_name
from tests.support.rawsocket import Opcode, Refusal, frame, header
from tests.support.service import running_service

Leave = Callable[[UploadSocket], Awaitable[None]]

MIB = 2**20
DATA = content(2 * MIB + 3)


async def _fin(opened: UploadSocket) -> None:
    await opened.delivered()
    opened.half_close()


async def _reset(opened: UploadSocket) -> None:
    await opened.delivered()
    opened.reset()


async def _half_header(opened: UploadSocket) -> None:
    await opened.dribble([header(Opcode.BINARY, 70_000, key=bytes(4))[:5]])
    opened.reset()


async def _close_4000(opened: UploadSocket) -> None:
    await opened.close(4000)
    await opened.delivered()


@pytest.mark.parametrize("leave", [_fin, _reset, _half_header, _close_4000])
@pytest.mark.parametrize("cut", [1, 65_537, MIB + 1])
async def test_what_has_arrived_is_kept(outsider: Outsider, leave: Leave, cut: int) -> None:
    """After a FIN, a reset, half a header and a private close code, all that had arrived is still there."""
    url = await outsider.create(size=len(DATA), sha256=digest(DATA))
    opened = await outsider.open(url)
    await opened.binary(DATA[:cut])
    await leave(opened)
    again = await outsider.open(url)
    assert again.ready["offset"] == cut
    assert again.ready["sha256"] in (None, digest(DATA[:cut]))
    await again.binary(DATA[cut:])
    assert outsider.stored(await again.finish(DATA)) == DATA


@pytest.mark.parametrize("leave", [_fin, _reset])
@pytest.mark.parametrize("cut", [1, 4, 65_537, MIB + 1])
async def test_the_bytes_of_half_a_frame_are_kept(outsider: Outsider, leave: Leave, cut: int) -> None:
    """A link lost in the middle of a frame loses none of the bytes that had arrived."""
    url = await outsider.create()
    opened = await outsider.open(url)
    await opened.send(frame(Opcode.BINARY, DATA)[: 14 + cut])
    await leave(opened)
    again = await outsider.open(url)
    assert again.ready["offset"] == cut
    await again.send(frame(Opcode.BINARY, DATA[cut:]))
    assert outsider.stored(await again.finish(DATA)) == DATA


async def test_the_newest_socket_wins_at_once(outsider: Outsider) -> None:
    """A second socket takes over where the first has come to; the first hears `superseded` and 4409."""
    url = await outsider.create()
    first = await outsider.open(url)
    await first.send(frame(Opcode.BINARY, DATA)[: 14 + MIB])
    await first.acked(MIB)
    second = await outsider.open(url)
    assert second.ready["offset"] == MIB
    await first.failed("superseded", 4409)
    await first.close(4409)
    await first.ended()
    await second.binary(DATA[MIB:])
    assert outsider.stored(await second.finish(DATA)) == DATA


async def test_bytes_of_a_superseded_socket_are_not_mixed_in(outsider: Outsider) -> None:
    """While the first socket goes on sending, what the second sends is alone what counts."""
    url = await outsider.create()
    first = await outsider.open(url)

    async def flood() -> None:
        while True:
            await first.binary(b"\0" * 65536)
            await asyncio.sleep(0)  # `binary` only waits while the service is slow

    flooding = asyncio.create_task(flood())
    await first.acked(1)
    second = await outsider.open(url)
    await second.json(type="restart")
    await second.message("ready")
    await second.binary(DATA)
    receipt = await second.finish(DATA)
    flooding.cancel()
    with pytest.raises((asyncio.CancelledError, ConnectionError)):
        await flooding
    assert outsider.stored(receipt) == DATA


async def test_nobody_waits_for_a_dead_connection(outsider: Outsider) -> None:
    """Ten sockets in a row on one token, none of them closed: the tenth gets it as quickly as the first."""
    url = await outsider.create()
    opened = [await outsider.open(url) for _ in range(10)]
    await opened[-1].binary(b"last")
    await opened[-1].finish(b"last")
    for older in opened[:-1]:
        await older.failed("superseded", 4409)


async def test_asking_twice_for_a_receipt_is_safe(outsider: Outsider) -> None:
    """Each socket on a stored upload gets the same `stored` at once, also two of them together."""
    url = await outsider.create()
    opened = await outsider.open(url)
    await opened.binary(b"once")
    receipt = await opened.finish(b"once")
    for socket in [await outsider.unread(url) for _ in range(3)]:
        assert await socket.receipt(b"once") == receipt


async def test_a_receipt_lost_on_the_way_is_asked_for_again(outsider: Outsider) -> None:
    """A link that dies right behind `end` leaves a stored upload, and the next socket gets its receipt."""
    url = await outsider.create()
    opened = await outsider.open(url)
    await opened.binary(DATA)
    await opened.end()
    await opened.delivered()
    opened.reset()
    await eventually(lambda: outsider.is_stored(url))
    receipt = await (await outsider.unread(url)).receipt(DATA)
    assert outsider.stored(receipt) == DATA


async def test_an_upload_outlives_a_kill(tmp_path: Path) -> None:
    """After kill -9 `ready.offset` is not below the last `durable`, and the rest follows."""
    name = fresh_name()
    with running_service(tmp_path, upload={"sync_every": "256KiB"}) as service:
        async with Outsider(service) as outsider:
            url = await outsider.create(name, size=len(DATA), sha256=digest(DATA))
            opened = await outsider.open(url)
            await opened.send(frame(Opcode.BINARY, DATA)[: 14 + MIB])
            durable = (await opened.durable(300_000))["durable"]
            service.kill()
            service.start()
            assert (await outsider.ask(url))["offset"] >= durable
            again = await outsider.open(url)
            offset = again.ready["offset"]
            assert durable <= offset <= MIB
            assert again.ready["sha256"] in (None, digest(DATA[:offset]))
            assert (again.ready["name"], again.ready["size"]) == (name, len(DATA))
            await again.binary(DATA[offset:])
            assert outsider.stored(await again.finish(DATA)) == DATA


async def test_a_receipt_outlives_a_kill_and_a_restart(tmp_path: Path) -> None:
    """What was stored stays stored, under the same receipt, after kill -9 and after an orderly restart."""
    with running_service(tmp_path) as service:
        async with Outsider(service) as outsider:
            url = await outsider.create_plain("kept.bin")
            opened = await outsider.open(url)
            await opened.binary(b"kept")
            receipt = await opened.finish(b"kept")
            service.kill()
            service.start()
            assert await (await outsider.unread(url)).receipt(b"kept") == receipt
            assert service.stop() == 0
            service.start()
            assert await (await outsider.unread(url)).receipt(b"kept") == receipt
            assert (await outsider.ask(url))["state"] == "stored"
            assert outsider.published() == ["kept.bin"]


async def test_a_plain_upload_outlives_a_restart_as_a_plain_one(tmp_path: Path) -> None:
    """After an orderly restart nothing is lost, and a close still ends what was made with plain text."""
    with running_service(tmp_path) as service:
        async with Outsider(service) as outsider:
            plain, json = await outsider.create_plain("plain.bin"), await outsider.create("json.bin")
            for url in (plain, json):
                opened = await outsider.open(url)
                await opened.binary(b"half")
                await opened.acked(4)
                opened.drop()
            assert service.stop() == 0
            service.start()
            for url in (plain, json):
                again = await outsider.open(url)
                assert again.ready["offset"] == 4
                await again.close(1000)
                await again.closed()
            assert outsider.published() == ["plain.bin"]
            assert (await outsider.ask(json))["state"] == "open"


async def test_a_cancelled_upload_stays_cancelled(tmp_path: Path) -> None:
    """A DELETE that was answered is not undone by kill -9."""
    with running_service(tmp_path) as service:
        async with Outsider(service) as outsider:
            url = await outsider.create()
            assert (await outsider.http("DELETE", url)).status == 204
            service.kill()
            service.start()
            with pytest.raises(Refusal) as refusal:
                await outsider.connect(url)
            assert refusal.value.code == "unknown_upload"
