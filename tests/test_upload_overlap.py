"""Writes of one part that overlap: whichever is heard of first, the checkpoint is that of the bytes."""

import asyncio
import hashlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from jackfield.handlers.upload.store.directory import DirectoryStore
from jackfield.handlers.upload.store.file import HashingFile
from jackfield.handlers.upload.store.part import DirectoryPart
from jackfield.handlers.upload.wire.messages import Promise
from tests.support.outsider import content

KEY = "1" * 64
DATA = content(93_000)
FIRST = 3_000


class Held:
    """The writer of a part, the second write of which is heard of only when it is let go."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self.first, self.second = asyncio.Event(), asyncio.Event()
        self.go_on = asyncio.Event()

    async def writelines(self, views: Sequence[memoryview]) -> None:
        """Write at once."""
        await self._writer.writelines(views)
        if not self.first.is_set():
            self.first.set()
            return
        self.second.set()
        await self.go_on.wait()

    async def close(self) -> None:
        """As the other."""
        await self._writer.close()


async def test_a_write_that_is_heard_of_before_the_one_in_front_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are on the disk. What is made durable then survives the next start, with its digest."""
    digest, may_digest = HashingFile.digest, threading.Event()

    def digest_late(self: HashingFile, views: Sequence[memoryview], start: int) -> Any:
        may_digest.wait()
        return digest(self, views, start)

    monkeypatch.setattr(HashingFile, "digest", digest_late)
    store = DirectoryStore(tmp_path, "rename", 60.0, 60.0)
    await store.open()
    part = await store.create(KEY, Promise("name"))
    await part.attach()
    part._writer = held = Held(part._writer)
    one = asyncio.create_task(part.write([memoryview(DATA[:FIRST])], FIRST))
    other = asyncio.create_task(part.write([memoryview(DATA[FIRST:])], len(DATA) - FIRST))
    await held.second.wait()
    asyncio.get_running_loop().call_soon(held.go_on.set)  # the second write goes on right before the first
    may_digest.set()
    _finish_digests(part)
    await asyncio.gather(one, other)
    await part.sync()
    await part.detach()
    await store.close()
    store = DirectoryStore(tmp_path, "rename", 60.0, 60.0)
    (found,) = await store.open()
    assert found.part.durable == len(DATA)
    assert await found.part.attach() == hashlib.sha256(DATA).hexdigest()
    await found.part.detach()
    await store.close()


def _finish_digests(part: DirectoryPart) -> None:
    """Let the threads end while the loop stands still, so that it hears of all at the same time."""
    while part._digesting._jobs:
        time.sleep(0.001)
