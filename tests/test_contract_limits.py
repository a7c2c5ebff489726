"""The contract's limits: sizes, room, counts, time and memory."""

import asyncio
import contextlib
import hashlib
import shutil
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.outsider import Outsider, content, digest, eventually, fresh_name
from tests.support.rawsocket import Opcode, Refusal, frame, header
from tests.support.service import pingpong, running_service

MIB = 2**20
IN_A_SMALL_TMPFS = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"']


async def until(moment: str) -> None:
    """Wait until the clock has passed a time the service gave."""
    left = datetime.fromisoformat(moment) - datetime.now(UTC)
    await asyncio.sleep(max(0.0, left.total_seconds() + 0.05))


async def test_a_promise_over_the_limit_is_too_large(outsider: Outsider) -> None:
    """A promised size of `max_size` is taken, and one byte more is 413."""
    await outsider.create(at="/small", size=MIB)
    for size in (MIB + 1, 10**18, 10**30):
        answer = await outsider.post_json({"name": "a", "size": size}, "/small")
        assert (answer.status, answer.problem()) == (413, "too_large")


@pytest.mark.parametrize("parts", [[MIB + 1], [MIB, 1], [3 * MIB]])
async def test_bytes_over_the_limit_are_too_large(outsider: Outsider, parts: list[int]) -> None:
    """Without a promise, passing `max_size` closes 4413, and the upload keeps no more than that."""
    url = await outsider.create(at="/small")
    opened = await outsider.open(url)
    for part in parts:
        opened.write(frame(Opcode.BINARY, bytes(part)))
    await opened.failed("too_large", 4413)
    assert (await outsider.ask(url))["offset"] <= MIB


async def test_no_room_is_said_at_creation(tmp_path: Path) -> None:
    """Where keeping `min_free` free leaves no room, creation is 507."""
    with running_service(tmp_path, upload={"min_free": "1000000TiB"}) as service:
        async with Outsider(service) as outsider:
            answer = await outsider.post_json({"name": "a", "size": 1})
            assert (answer.status, answer.problem()) == (507, "no_space")


async def test_room_promised_to_others_is_not_promised_again(outsider: Outsider) -> None:
    """Two promises that together pass the free room: the second is 507 until the first is cancelled."""
    most = int(shutil.disk_usage(outsider.service.folder).free * 0.6)
    url = await outsider.create(at="/roomy", size=most)
    answer = await outsider.post_json({"name": fresh_name(), "size": most}, "/roomy")
    assert (answer.status, answer.problem()) == (507, "no_space")
    assert (await outsider.http("DELETE", url)).status == 204
    assert (await outsider.http("DELETE", await outsider.create(at="/roomy", size=most))).status == 204


async def test_a_full_disk_ends_the_socket_and_keeps_the_upload(tmp_path: Path) -> None:
    """With no room left the socket closes 4507; with room again, the upload goes on behind what was kept."""
    (tmp_path / "upload").mkdir()
    prefix = [*IN_A_SMALL_TMPFS, str(tmp_path / "upload")]
    data = content(6 * MIB)
    with running_service(tmp_path, prefix=prefix, upload={"min_free": 0}) as service:
        async with Outsider(service) as outsider:
            answer = await outsider.post_json({"name": "a", "size": 9 * MIB})
            assert answer.problem() == "no_space"
            first, second = await outsider.create(), await outsider.create()
            ballast = await outsider.open(first)
            await ballast.binary(data[: 5 * MIB])
            await ballast.durable(5 * MIB)
            opened = await outsider.open(second)
            opened.write(frame(Opcode.BINARY, data))
            await opened.failed("no_space", 4507)
            assert (await outsider.http("DELETE", first)).status == 204
            again = await outsider.open(second)
            offset = again.ready["offset"]
            assert 0 < offset <= 3 * MIB
            await again.binary(data[offset:])
            await again.finish(data)


async def test_too_many_open_uploads_are_refused(outsider: Outsider) -> None:
    """`max_open` counts open uploads only: 429 with Retry-After until one is stored or cancelled."""
    stored, cancelled = await outsider.create(at="/crowded"), await outsider.create(at="/crowded")
    await _is_crowded(outsider)
    await (await outsider.open(stored)).finish(b"")
    another = await outsider.create(at="/crowded")
    await _is_crowded(outsider)
    await outsider.http("DELETE", cancelled)
    for url in (another, await outsider.create(at="/crowded")):
        await outsider.http("DELETE", url)


async def _is_crowded(outsider: Outsider) -> None:
    answer = await outsider.post_json({"name": "a"}, "/crowded")
    assert (answer.status, answer.problem()) == (429, "too_many_uploads")
    assert int(answer.headers["Retry-After"]) > 0


async def test_too_many_sockets_are_refused_while_http_is_answered(tmp_path: Path) -> None:
    """At `max_connections` a socket gets 503 with Retry-After; a place that comes free is taken again."""
    patient = pingpong("/patient", interval="60s")
    with running_service(tmp_path, server={"max_connections": 500}, pingpong=patient) as service:
        async with Outsider(service) as outsider:
            opened = []
            for _ in range(10):
                opened += await asyncio.gather(*(outsider.connect("/patient") for _ in range(50)))
            with pytest.raises(Refusal) as refusal:
                await outsider.connect("/patient")
            assert (refusal.value.status, refusal.value.code) == (503, "too_many_connections")
            assert int(refusal.value.headers["retry-after"]) > 0
            assert (await outsider.get("/healthz")).status == 200
            url = await outsider.create()
            with pytest.raises(Refusal):
                await outsider.connect(url)
            opened[0].reset()
            await eventually(_connects(outsider, url))


def _connects(outsider: Outsider, path: str) -> Callable[[], Awaitable[bool]]:
    async def connects() -> bool:
        try:
            await outsider.connect(path)
        except Refusal:
            return False
        return True

    return connects


async def test_an_upload_that_expired_is_gone(outsider: Outsider) -> None:
    """Past `expires` every request is 404, and the bytes leave the disk within 15 s."""
    url = await outsider.create(at="/brief")
    opened = await outsider.open(url)
    await opened.binary(content(50_000))
    await opened.durable(50_000)
    opened.reset()
    await until((await outsider.ask(url))["expires"])
    for method in ("GET", "DELETE"):
        assert (await outsider.http(method, url)).problem() == "unknown_upload"
    with pytest.raises(Refusal) as refusal:
        await outsider.connect(url)
    assert refusal.value.code == "unknown_upload"

    async def left() -> bool:
        return outsider.staged("/brief") == 0

    await eventually(left, 20)


async def test_an_upload_with_a_socket_does_not_expire(outsider: Outsider) -> None:
    """A socket keeps its upload past `expires`, and the last byte moves `expires` on."""
    url = await outsider.create(at="/brief")
    opened = await outsider.open(url)
    first = (await outsider.ask(url))["expires"]
    await until(first)
    assert (await outsider.ask(url))["state"] == "open"
    await opened.binary(b"late")
    await opened.durable(4)
    opened.reset()
    found = await outsider.ask(url)
    assert datetime.fromisoformat(found["expires"]) > datetime.fromisoformat(first)
    await until(found["expires"])
    assert await outsider.is_gone(url)


async def test_an_upload_expires_while_the_service_is_down(tmp_path: Path) -> None:
    """The time in which no service ran counts: what expired meanwhile is not found, nor its bytes."""
    with running_service(tmp_path, upload={"expires": 1}) as service:
        async with Outsider(service) as outsider:
            url = await outsider.create()
            opened = await outsider.open(url)
            await opened.binary(content(1000))
            await opened.durable(1000)
            opened.reset()
            expires = (await outsider.ask(url))["expires"]
            service.stop()
            await until(expires)
            service.start()
            assert await outsider.is_gone(url)

            async def left() -> bool:
                return outsider.staged() == 0

            await eventually(left, 20)


async def test_a_receipt_is_kept_for_its_time(outsider: Outsider) -> None:
    """After `receipts_kept` the token is unknown; the file stays."""
    url = await outsider.create(at="/forgetful")
    opened = await outsider.open(url)
    await opened.binary(b"stays")
    receipt = await opened.finish(b"stays")
    await eventually(lambda: outsider.is_gone(url))
    assert outsider.stored(receipt, "/forgetful") == b"stays"


@pytest.mark.parametrize("sent", [b"", b"some"])
async def test_a_socket_without_bytes_is_idle(outsider: Outsider, sent: bytes) -> None:
    """No bytes for `idle_timeout` closes 4408, though pings come, and what had arrived is kept."""
    url = await outsider.create(at="/idle")
    opened = await outsider.open(url)
    await opened.binary(sent)

    async def ping() -> None:
        while True:
            await opened.send(frame(Opcode.PING, b"here"))
            await asyncio.sleep(0.1)

    pinging = asyncio.create_task(ping())
    await opened.failed("idle", 4408)
    pinging.cancel()
    assert (await outsider.ask(url))["offset"] == len(sent)


async def test_a_trickle_is_not_idle(outsider: Outsider) -> None:
    """A byte now and then, even inside one frame, keeps the socket open."""
    opened = await outsider.open(await outsider.create(at="/idle"))
    started, sent = time.monotonic(), 0
    await opened.send(header(Opcode.BINARY, 100, key=bytes(4)))
    while time.monotonic() - started < 1.2:
        await opened.send(b"x")
        sent += 1
        await opened.acked(sent)
        await asyncio.sleep(0.05)
    await opened.send(b"x" * (100 - sent))
    await opened.finish(b"x" * 100)


async def test_a_peer_silent_for_two_heartbeats_is_gone(tmp_path: Path) -> None:
    """Who says nothing is cut off, the bytes kept; who answers pings, or only sends bytes, stays."""
    with running_service(tmp_path, server={"heartbeat": 0.3}, pingpong={"interval": "60s"}) as service:
        async with Outsider(service) as outsider:
            url = await outsider.create()
            silent, lively = await outsider.open(url), await outsider.connect("/pingpong")
            busy = await outsider.open(await outsider.create())
            assert await lively.next() == "ping"
            await silent.binary(b"kept")
            listening = asyncio.create_task(lively.next(30))
            ending = asyncio.create_task(silent.ended())
            sent = 0
            while not ending.done() or sent < 12:
                await busy.binary(b"x")
                sent += 1
                await asyncio.sleep(0.1)
            await ending
            assert not listening.done()
            listening.cancel()
            await busy.finish(b"x" * sent)
            assert (await outsider.ask(url))["offset"] == 4


async def test_one_frame_of_a_gibibyte_needs_little_memory(tmp_path: Path) -> None:
    """The whole file in one frame: the service's peak stays below 150 MiB and the digest is right."""
    block, blocks = content(MIB), 1024
    whole = hashlib.sha256()
    with running_service(tmp_path) as service:
        async with Outsider(service) as outsider:
            opened = await outsider.open(await outsider.create_plain("large.bin"))
            await opened.send(header(Opcode.BINARY, MIB * blocks, key=bytes(4)))
            for number in range(blocks):
                stamped = number.to_bytes(8, "big") + block[8:]
                whole.update(stamped)
                await opened.send(stamped)
            await opened.close(1000)
            await opened.closed_plainly(f"stored {MIB * blocks} sha256:{whole.hexdigest()}", 60)
            assert service.peak_memory() < 150 * MIB
            (service.directory() / "large.bin").unlink()


async def test_answers_nobody_reads_need_little_memory(tmp_path: Path) -> None:
    """Who asks for answer after answer and reads none is left waiting; nothing piles up, and others are served."""
    asking = frame(Opcode.TEXT, b'{"type":"restart"}') * 4000
    with running_service(tmp_path) as service:
        async with Outsider(service) as outsider:
            opened = await outsider.unread(await outsider.create(), receive_buffer=1024)
            before = service.peak_memory()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(4):
                    for _ in range(200):
                        await opened.send(asking)
            await outsider.send_whole(b"data")
            assert service.peak_memory() - before < 32 * MIB


async def test_many_sockets_share_the_memory(tmp_path: Path) -> None:
    """Sixteen senders that flood a service with little memory all get their files stored."""
    data = content(4 * MIB)
    with running_service(tmp_path, upload={"memory": "16MiB"}) as service:
        async with Outsider(service) as outsider:
            receipts = await asyncio.gather(*(outsider.send_whole(data) for _ in range(16)))
            assert {receipt["sha256"] for receipt in receipts} == {digest(data)}
            assert service.peak_memory() < 150 * MIB
