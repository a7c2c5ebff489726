"""Acks: how far apart they are at most, whatever ends at the same moment and however slowly the peer reads."""

import asyncio
import itertools
import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jackfield.handlers.upload.sockets.acks import Acks
from jackfield.handlers.upload.uploads.batches import BATCH

WINDOW = 8 * 2**20
WIDEST = WINDOW // 2 + BATCH


class Peer:
    """A part whose bytes come as the test says, and a client that reads them, or does not."""

    def __init__(self, window: int = WINDOW) -> None:
        self.part = SimpleNamespace(offset=0, durable=0)
        self.reads = True
        self.heard: list[tuple[int, int]] = []
        self.news = asyncio.Event()
        self.acks = Acks(cast("Any", self.part), window // 2, self._offer)

    def _offer(self, texts: Sequence[str]) -> bool:
        if self.reads:
            said = map(json.loads, texts)
            self.heard += [(ack["offset"], ack["durable"]) for ack in said if ack["type"] == "ack"]
            self.news.set()
        return self.reads

    def write(self, size: int = BATCH) -> None:
        """A batch has ended."""
        self.part.offset += size
        self.acks.moved()

    async def until(self, offset: int) -> None:
        """Until so much is acknowledged."""
        while not self.heard or self.heard[-1][0] < offset:
            self.news.clear()
            async with asyncio.timeout(30):
                await self.news.wait()

    def assert_close_together(self) -> None:
        """No two acks, nor `ready` and the first one, are further apart than the contract says; none goes back."""
        steps = [b - a for a, b in itertools.pairwise([0, *(offset for offset, _ in self.heard)])]
        assert min(steps) >= 0
        assert max(steps) <= WIDEST
        assert all(durable <= offset for offset, durable in self.heard)


async def test_batches_that_end_in_one_turn_of_the_loop_are_acknowledged_one_by_one() -> None:
    """Three batches end before the sender has its turn: no step is wider than half a window and a batch."""
    peer = Peer()
    peer.acks.begin()
    sending = asyncio.create_task(peer.acks.run())
    for _ in range(5):
        offset = peer.part.offset
        for _ in range(3):
            peer.write()
        await peer.until(offset + 3 * BATCH)
    sending.cancel()
    peer.assert_close_together()


async def test_a_peer_that_read_nothing_for_a_while_is_told_all_of_it() -> None:
    """A gigabyte later its acks are as close together as anybody's, a few in each write."""
    peer = Peer()
    peer.acks.begin()
    peer.reads = False
    sending = asyncio.create_task(peer.acks.run())
    for _ in range(256):
        peer.write()
        await asyncio.sleep(0)
    peer.reads = True
    await peer.until(256 * BATCH)
    sending.cancel()
    peer.assert_close_together()


@pytest.mark.parametrize("state", [(0, 0), (BATCH - 1, 0)])
async def test_none_goes_back(state: tuple[int, int]) -> None:
    """When the bytes are thrown away nothing is said of it before the next `ready`."""
    peer = Peer()
    peer.acks.begin()
    peer.write()
    assert peer.acks.send()
    peer.part.offset, peer.part.durable = state
    assert peer.acks.send()
    assert peer.heard == [(BATCH, 0)]
    peer.acks.begin()
    peer.write(1)
    assert peer.acks.send()
    assert peer.heard[1:] == [(state[0] + 1, 0)]


async def test_before_ready_there_are_none() -> None:
    """What has moved before `ready` is said by it."""
    peer = Peer()
    peer.write()
    assert peer.acks.send()
    assert not peer.heard


async def test_durable_is_told_though_no_bytes_come() -> None:
    """An ack with the same offset goes out when more of it is durable."""
    peer = Peer()
    peer.acks.begin()
    peer.write(10)
    assert peer.acks.send()
    peer.part.durable = 10
    assert peer.acks.send()
    assert peer.acks.send()
    assert peer.heard == [(10, 0), (10, 10)]


@given(
    window=st.sampled_from([2, 2**18, WINDOW, 2**28]),
    moves=st.lists(st.tuples(st.integers(0, 20 * BATCH), st.booleans()), min_size=1),
)
def test_whatever_moves_no_step_is_too_wide(window: int, moves: list[tuple[int, bool]]) -> None:
    """For any window, sizes and moments at which the peer is slow."""
    peer = Peer(window)
    peer.acks.begin()
    for size, reads in moves:
        peer.reads = reads
        peer.write(size)
        peer.acks.send()
    peer.reads = True
    while not peer.acks.send():
        pass
    offsets = [0, *(offset for offset, _ in peer.heard)]
    assert offsets[-1] == peer.part.offset
    assert all(0 <= b - a <= window // 2 + BATCH for a, b in itertools.pairwise(offsets))
