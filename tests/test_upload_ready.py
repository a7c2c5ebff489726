"""`/readyz` and the sweep: whatever hangs or fails, the one answers in a second, and the other goes on."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from jackfield.handlers.upload.handler import Upload
from jackfield.handlers.upload.store.directory import DirectoryStore
from jackfield.handlers.upload.uploads.accounts import NOBODY
from jackfield.handlers.upload.uploads.probe import DiskProbe
from jackfield.handlers.upload.wire.messages import Promise
from jackfield.testing import JackfieldServer
from tests.support.faults import fault, hung, needs_strace
from tests.support.outsider import Outsider, eventually, fresh_name
from tests.support.service import running_service, upload


@needs_strace
async def test_a_disk_that_hangs_is_not_ready_and_holds_up_nobody(tmp_path: Path) -> None:
    """Twenty probes are told so; none of them takes a thread from an upload that goes on meanwhile."""
    with running_service(tmp_path) as service:
        async with Outsider(service) as outsider:
            opened = await outsider.open(await outsider.create(size=3))
            with fault(service, hung("statfs")) as fault_:
                answers = [asyncio.create_task(outsider.get("/readyz")) for _ in range(20)]
                await fault_.struck()
                assert {answer.status for answer in await asyncio.gather(*answers)} == {503}
                await opened.binary(b"abc")
                await opened.durable(3)
                assert (await outsider.get("/upload/" + "A" * 22)).status == 404
                await opened.finish(b"abc")
                assert fault_.strikes == 1


async def test_one_question_is_asked_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants to know it waits for the answer to the same one; after it the disk is asked again."""
    asked, going_on = threading.Semaphore(0), threading.Semaphore(0)

    def slowly(path: Path) -> None:
        asked.release()
        going_on.acquire()

    monkeypatch.setattr(os, "statvfs", slowly)
    probe = DiskProbe(tmp_path)
    for _ in range(2):
        answers = [asyncio.create_task(probe.answers()) for _ in range(5)]
        await asyncio.to_thread(asked.acquire)
        going_on.release()
        await asyncio.gather(*answers)
    assert not asked.acquire(blocking=False)


async def test_a_directory_that_is_gone_is_not_ready(tmp_path: Path) -> None:
    """An error is an answer, and not the one that is wanted."""
    assert await DiskProbe(tmp_path).answers()
    assert not await DiskProbe(tmp_path / "nothing").answers()


async def test_a_sweep_that_fails_is_not_the_last(
    jackfield_server: JackfieldServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes out of it, what expires later still goes."""
    sweep, failed = DirectoryStore.sweep, 0

    async def failing(self: DirectoryStore) -> None:
        nonlocal failed
        failed += 1
        if failed < 3:
            raise ZeroDivisionError
        await sweep(self)

    monkeypatch.setattr(DirectoryStore, "sweep", failing)
    service = await jackfield_server({"upload": upload(expires=0.1)})
    handler = service.handlers["upload"]
    assert isinstance(handler, Upload)
    await eventually(_is(lambda: failed >= 3))
    await handler.uploads.create(Promise(fresh_name()), NOBODY)
    await eventually(_is(lambda: len(handler.uploads) == 0))


def _is(question: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return question()

    return ask
