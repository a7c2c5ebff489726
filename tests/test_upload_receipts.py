"""Receipts on disk: what is known of them without looking there."""

import asyncio
import threading
from pathlib import Path

from jackfield.handlers.upload.store.directory import DirectoryStore
from jackfield.handlers.upload.wire.messages import Promise
from tests.support.groups import GROUP, publish

DAY = 86_400.0


async def test_a_receipt_that_is_not_there_needs_no_thread(tmp_path: Path) -> None:
    """However busy the disk is, it is known at once of a new token that it has no receipt; one that is there is looked
    for on the disk, whether it came with others or alone, and before this store was opened or since."""
    publish(tmp_path)
    store = DirectoryStore(tmp_path, "rename", DAY, DAY)
    await store.open()
    alone = await store.create("a" * 64, Promise("alone.bin", 0))
    await alone.attach()
    await alone.publish([])
    await alone.detach()
    keys = ["a" * 64, GROUP[0].key, GROUP[-1].key]
    gate = threading.Event()
    busy = [asyncio.create_task(store.run(gate.wait)) for _ in range(64)]
    await asyncio.sleep(0)
    try:
        assert await store.receipt("b" * 64) is None
        asked = [asyncio.create_task(store.receipt(key)) for key in keys]
        await asyncio.sleep(0)
        assert not any(task.done() for task in asked)
    finally:
        gate.set()
        await asyncio.gather(*busy)
    assert all(await asyncio.gather(*asked))
    await store.close()
