"""Links that go dark, drip, or never read; and many sockets that race for one upload: one writes, the newest wins."""

import asyncio
import itertools
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.faults import black_hole
from tests.support.outsider import Outsider, UploadSocket, content, eventually
from tests.support.rawsocket import Closed, Opcode, frame, header
from tests.support.service import running_service

MIB = 2**20
DATA = content(2 * MIB + 11)
HALF = MIB + 1
RACERS = 50


async def _into_the_dark(outsider: Outsider, url: str) -> UploadSocket:
    """Half of DATA has arrived, in the middle of a frame; then the link is gone and nobody knows."""
    opened = await outsider.open(url)
    await opened.send(header(Opcode.BINARY, len(DATA), key=bytes(4)) + DATA[:HALF])
    await opened.acked(HALF)
    await opened.delivered()
    black_hole(opened.writer.get_extra_info("socket"))
    return opened


async def test_a_newcomer_does_not_wait_for_a_link_that_is_dark(tmp_path: Path) -> None:
    """Though it would be a minute until the dead link is noticed, the next socket goes on at once, with every byte."""
    with running_service(tmp_path, server={"heartbeat": "60s"}, upload={"idle_timeout": "120s"}) as service:
        async with Outsider(service) as outsider:
            url = await outsider.create()
            await _into_the_dark(outsider, url)
            for attempt in range(3):
                begun = time.monotonic()
                opened = await outsider.open(url)
                assert opened.ready["offset"] == HALF
                assert time.monotonic() - begun < 10
                if attempt < 2:
                    black_hole(opened.writer.get_extra_info("socket"))
            await opened.binary(DATA[HALF:])
            assert outsider.stored(await opened.finish(DATA)) == DATA


async def test_a_dark_link_is_cut_after_two_heartbeats_and_the_upload_kept(tmp_path: Path) -> None:
    """Nobody comes: the service gives the link up by itself, keeps what had arrived, and then expires it."""
    with running_service(tmp_path, server={"heartbeat": 0.5}, upload={"expires": 2}) as service:
        async with Outsider(service) as outsider:
            url = await outsider.create()
            await _into_the_dark(outsider, url)
            assert service.wait_for("connection.silent")["seconds"] >= 1
            service.wait_for("connection.closed", code=1006)
            assert (await outsider.ask(url))["offset"] == HALF
            opened = await outsider.open(url)
            await opened.binary(DATA[HALF:])
            await opened.finish(DATA)
            other = await outsider.create()
            await _into_the_dark(outsider, other)
            await eventually(lambda: outsider.is_gone(other), 20)


async def test_one_that_never_reads_is_served_all_the_same(outsider: Outsider) -> None:
    """Hundreds of acks and pongs that nobody reads hold up neither its upload nor its receipt."""
    data = content(24 * MIB)
    url = await outsider.create(at="/narrow", size=len(data))
    opened = await UploadSocket.connect(outsider.service.port, receive_buffer=4096)
    await opened.upgrade(url)
    for start in range(0, len(data), 64 * 1024):
        await opened.send(frame(Opcode.BINARY, data[start : start + 64 * 1024]) + frame(Opcode.PING, bytes(125)))
    await opened.end()

    async def stored() -> bool:
        return bool((await outsider.ask(url))["state"] == "stored")

    await eventually(stored, 30)
    await opened.dispose()
    assert (outsider.directory("/narrow") / (await outsider.ask(url))["name"]).read_bytes() == data


async def test_one_that_drips_holds_up_nobody(outsider: Outsider) -> None:
    """A byte a segment, headers too: its file is right in the end, and others' are stored meanwhile."""
    dripped = content(150)
    opened = await outsider.open(await outsider.create())
    wire = b"".join(frame(Opcode.BINARY, dripped[start : start + 10]) for start in range(0, len(dripped), 10))
    dripping = asyncio.create_task(opened.dribble([wire[place : place + 1] for place in range(len(wire))]))
    for _ in range(5):
        await outsider.send_whole(DATA)
    await dripping
    assert outsider.stored(await opened.finish(dripped)) == dripped


class Racer:
    """One of many sockets on a token: it floods the upload with a byte of its own until it is told to stop."""

    def __init__(self, number: int) -> None:
        self.mark = bytes([number])
        self.offset: int | None = None  # where it was told to begin
        self.ended: dict[str, Any] | Closed | None = None

    async def run(self, outsider: Outsider, url: str, stop: asyncio.Event) -> None:
        """Until it is superseded, or the last one left."""
        socket = await outsider.unread(url)
        first = await socket.said()
        assert first["type"] in ("ready", "error"), first
        if first["type"] == "ready":
            self.offset = first["offset"]
            flooding = asyncio.create_task(self._flood(socket, stop))
            while (first := await socket.said(30))["type"] == "ack":
                pass
            flooding.cancel()
            await asyncio.wait([flooding])
        self.ended = first
        if first["type"] == "error":
            assert (first["code"], (await socket.closed()).code) == ("superseded", 4409)

    async def _flood(self, socket: UploadSocket, stop: asyncio.Event) -> None:
        await socket.binary(self.mark * 20_000)
        while not stop.is_set():
            await asyncio.sleep(0.005)
            await socket.binary(self.mark * 20_000)
        await socket.end()


@pytest.mark.parametrize("slowly", [False, True])
async def test_many_sockets_race_for_one_upload(outsider: Outsider, slowly: bool) -> None:
    """Of fifty sockets exactly one writes at any moment, from where it was told to; the newest stores the file."""
    url = await outsider.create()
    racers, stop = [Racer(number) for number in range(1, RACERS + 1)], asyncio.Event()
    running = []
    for racer in racers:
        running.append(asyncio.create_task(racer.run(outsider, url, stop)))
        await asyncio.sleep(0.02 if slowly else 0)
    pending = set(running)
    while len(pending) > 1:
        _, pending = await asyncio.wait(pending, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    await asyncio.gather(*running)
    winners = [racer for racer in racers if isinstance(racer.ended, dict) and racer.ended["type"] == "stored"]
    assert len(winners) == 1
    receipt = winners[0].ended
    assert isinstance(receipt, dict)
    data = outsider.stored(receipt)
    runs = [(key, len(list(group))) for key, group in itertools.groupby(data)]
    assert len({key for key, _ in runs}) == len(runs), "somebody wrote again after another had"
    places = {racer.mark[0]: racer.offset for racer in racers}
    begin = 0
    for key, length in runs:
        assert places[key] == begin
        begin += length
    assert winners[0].mark[0] == runs[-1][0]
