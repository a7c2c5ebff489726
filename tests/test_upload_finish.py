"""A finish goes on by itself, whatever becomes of who asked for it, and leaves nothing behind."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from jackfield.app.handler import Failure
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.store.contract import Kept
from jackfield.handlers.upload.store.directory import DirectoryStore
from jackfield.handlers.upload.uploads.accounts import NOBODY, Account
from jackfield.handlers.upload.uploads.metrics import UploadMetrics
from jackfield.handlers.upload.uploads.registry import Uploads
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire.messages import Promise, Receipt
from jackfield.handlers.upload.wire.words import DIGEST_MISMATCH, NO_SPACE, SUPERSEDED
from tests.support.writer import Owner, Writer


class Gated:
    """Keeps one call of a part waiting until the test lets it go, with this error or with none."""

    def __init__(self, part: Any, method: str) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        self.error: Exception | None = None
        self._call = getattr(part, method)
        setattr(part, method, self._wait)

    async def _wait(self, *arguments: Any) -> Any:
        self.reached.set()
        await self.opened.wait()
        if self.error is not None:
            raise self.error
        return await self._call(*arguments)

    def detach(self, error: Exception | None = None) -> None:
        """It may go on, or fails."""
        self.error = error
        self.opened.set()


@pytest.fixture
async def uploads(tmp_path: Path) -> AsyncIterator[Uploads]:
    """A registry on a directory."""
    options = UploadOptions(directory=tmp_path, min_free=0)
    found = Uploads(DirectoryStore(tmp_path, "rename", 9.0, 9.0), options, UploadMetrics("upload", CollectorRegistry()))
    await found.open()
    yield found
    await found.close()


async def _begun(uploads: Uploads, holder: Writer) -> tuple[str, OpenUpload]:
    token, upload = await uploads.create(Promise("a"), NOBODY)
    assert isinstance(upload, OpenUpload)
    await upload.hold(holder)
    await upload.write(holder, [memoryview(b"abc")], 3)
    return token, upload


def _attached(upload: OpenUpload) -> bool:
    """Whether its file is open."""
    return cast("Any", upload.part)._file is not None


async def test_a_failure_that_nobody_waits_for_is_no_fault() -> None:
    """A socket that was taken over before it could wait for its finish leaves no exception that nobody has seen."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    nothing = cast("Any", None)
    part, account = cast("Any", SimpleNamespace(offset=0)), Account(NOBODY, UploadOptions())
    upload = OpenUpload("0" * 64, Promise("a"), part, nothing, nothing, Owner(), account)
    finishing = upload.finish(cast("Any", "a session that holds it no more"), [])
    await asyncio.wait([finishing])
    upload.finishing = None
    del finishing
    gc.collect()
    assert not faults


@pytest.mark.parametrize("error", [OSError(28, "full"), ZeroDivisionError()])
async def test_a_finish_that_fails_after_its_socket_lets_go_of_the_file(uploads: Uploads, error: Exception) -> None:
    """The socket left while it was being stored: what became of it is logged, its descriptor is closed, and it is open
    for the next socket."""
    holder = Writer()
    token, upload = await _begun(uploads, holder)
    gate = Gated(upload.part, "publish")
    finishing = upload.finish(holder, [])
    await gate.reached.wait()
    await upload.release(holder)
    with capture_logs() as logs:
        gate.detach(error)
        await asyncio.wait([finishing])
    events = [log["event"] for log in logs]
    assert events == (["upload.failed"] if isinstance(error, OSError) else ["task.failed"])
    assert not _attached(upload)
    assert await uploads.find(token) is upload
    again = Writer()
    await upload.hold(again)
    assert upload.part.offset == 3
    await upload.release(again)


@pytest.mark.parametrize("kind", [NO_SPACE, DIGEST_MISMATCH])
async def test_a_socket_that_takes_over_in_the_middle_of_a_failing_finish_goes_on(uploads: Uploads, kind: Any) -> None:
    """It waits for the finish, which fails for the one before; then it has the bytes that are left."""
    first, second = Writer(), Writer()
    _, upload = await _begun(uploads, first)
    gate = Gated(upload.part, "publish")
    finishing = upload.finish(first, [])
    await gate.reached.wait()
    holding = asyncio.create_task(upload.hold(second))
    gate.detach(Failure(kind, "it fails"))
    with contextlib.suppress(Failure):
        await finishing
    await holding
    assert upload.part.offset == (0 if kind is DIGEST_MISMATCH else 3)
    with pytest.raises(Failure) as superseded:
        await upload.write(first, [memoryview(b"x")], 1)
    assert superseded.value.kind is SUPERSEDED
    await upload.write(second, [memoryview(b"def")], 3)
    await upload.part.detach()
    await upload.part.attach()
    del upload.part.publish  # type: ignore[attr-defined]
    receipt = await upload.finish(second, [])
    assert receipt.size == (3 if kind is DIGEST_MISMATCH else 6)


async def test_between_its_publishing_and_the_end_of_its_finish_it_is_stored(uploads: Uploads) -> None:
    """Who asks, or creates it again, while the file is there and the finish not over, gets the receipt."""
    holder = Writer()
    token, upload = await _begun(uploads, holder)
    gate = Gated(upload.part, "detach")
    finishing = upload.finish(holder, [])
    await gate.reached.wait()
    try:
        found = await uploads.find(token)
        _, repeated = await uploads.create(Promise("a"), NOBODY, token=token)
    finally:
        gate.detach()
        await finishing
    assert isinstance(found, Kept)
    assert found.receipt == Receipt("a", 3, found.receipt.sha256)
    assert isinstance(repeated, Kept)


async def test_a_session_that_was_taken_over_has_nothing_more_to_tell(uploads: Uploads) -> None:
    """While its last sync runs a newer one takes over and begins anew: the older one acknowledges nothing any more."""
    first, second = Writer(), Writer()
    _, upload = await _begun(uploads, first)
    gate = Gated(upload.part, "sync")
    releasing = asyncio.create_task(upload.release(first))
    await gate.reached.wait()
    await upload.hold(second)
    await upload.restart(second)
    gate.detach()
    assert await releasing is None
    assert upload.part.offset == 0
    assert await upload.release(second) == (0, 0)


async def test_what_is_being_stored_takes_no_place(tmp_path: Path) -> None:
    """With `max_open: 2`: two that are ended, and their finish hangs, leave both places; a failed finish takes one."""
    options = UploadOptions(directory=tmp_path, min_free=0, max_open=2)
    uploads = Uploads(DirectoryStore(tmp_path, "rename", 9.0, 9.0), options, UploadMetrics("u", CollectorRegistry()))
    await uploads.open()
    holders: Sequence[Writer] = (Writer(), Writer())
    begun, finishing, gates = [], [], []
    for holder in holders:
        _, upload = await _begun(uploads, holder)
        begun.append(upload)
        gates.append(Gated(upload.part, "publish"))
        finishing.append(upload.finish(holder, []))
        await gates[-1].reached.wait()
    await uploads.create(Promise("third"), NOBODY)
    gates[0].detach(OSError(5, "disk"))
    with pytest.raises(Failure):
        await finishing[0]
    with pytest.raises(Failure) as refused:
        await uploads.create(Promise("fourth"), NOBODY)
    assert refused.value.kind.code == "too_many_uploads"
    gates[1].detach()
    await finishing[1]
    await begun[0].release(holders[0])
    await uploads.close()
