"""Time: what has expired goes by itself, what has not stays, whatever clocks and crashes do."""

import asyncio
import os
import signal
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.store.directory import DirectoryStore
from jackfield.handlers.upload.uploads.accounts import NOBODY
from jackfield.handlers.upload.uploads.metrics import UploadMetrics
from jackfield.handlers.upload.uploads.registry import Uploads
from jackfield.handlers.upload.wire.messages import Promise
from tests.support.faults import Clock, fault, needs_faketime, needs_strace, staged
from tests.support.outsider import STAGING, Outsider, eventually
from tests.support.service import Service, running_service
from tests.support.writer import Writer

pytestmark = pytest.mark.slow


async def test_a_sweep_spares_an_upload_that_is_taken_up_while_others_go(tmp_path: Path) -> None:
    """A socket that was let in before the end of time, and holds the upload only now, keeps it."""
    options = UploadOptions(directory=tmp_path, min_free=0, expires=0.01)
    uploads = Uploads(
        DirectoryStore(tmp_path, "rename", 1.0, 1.0), options, UploadMetrics("upload", CollectorRegistry())
    )
    await uploads.open()
    _, first = await uploads.create(Promise("first"), NOBODY)
    token, second = await uploads.create(Promise("second"), NOBODY)
    removing, going_on = asyncio.Event(), asyncio.Event()
    remove = first.part.remove

    async def slowly() -> None:
        removing.set()
        await going_on.wait()
        await remove()

    first.part.remove = slowly  # type: ignore[method-assign]
    await asyncio.sleep(0.02)
    sweeping = asyncio.create_task(uploads.sweep())
    await removing.wait()
    holder = Writer()
    await second.hold(holder)
    going_on.set()
    await sweeping
    assert (first.gone is not None, second.gone) == (True, None)
    assert await uploads.find(token) is second
    await second.release(holder)
    await uploads.close()


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """A wall clock that jumps at our word."""
    return Clock(tmp_path)


def _believed(header: str) -> float:
    """Seconds between the true time and this HTTP date."""
    return parsedate_to_datetime(header).timestamp() - time.time()


async def _swept(service: Service) -> None:
    """Wait until a sweep is over: it takes a receipt that is older than any clock says."""
    old = service.directory() / STAGING / "old.receipt"
    old.touch()
    os.utime(old, (0, 0))

    async def gone() -> bool:
        return not old.exists()

    await eventually(gone, 20)


@needs_faketime
@pytest.mark.parametrize("jump", ["+2d", pytest.param("-2d", marks=pytest.mark.torture)])
async def test_a_clock_that_jumps_ends_nothing(tmp_path: Path, clock: Clock, jump: str) -> None:
    """Two days either way, while the service runs and again at its start: uploads and receipts outlive it."""
    upload = {"expires": "60s", "receipts_kept": "60s"}
    with running_service(tmp_path, environment=clock.environment, upload=upload) as service:
        async with Outsider(service) as outsider:
            left, attached, done = await outsider.create(), await outsider.create(), await outsider.create()
            receipt = await (await outsider.open(done)).finish(b"")
            opened = await outsider.open(attached)
            await opened.binary(b"before ")
            await opened.durable(7)
            clock.jump(jump)
            answer = await outsider.get(left)
            assert answer.json()["state"] == "open"
            days = 2 * 86400 if jump[0] == "+" else -2 * 86400
            assert abs(_believed(answer.headers["Upload-Expires"]) - days - 60) < 30
            await _swept(service)
            await opened.binary(b"after")
            await opened.durable(12)
            service.kill()
            service.start()
            assert (await outsider.ask(left))["state"] == "open"
            assert (await outsider.ask(done))["name"] == receipt["name"]
            again = await outsider.open(attached)
            assert again.ready["offset"] == 12
            await again.finish(b"before after")
            clock.jump("+0")
            service.stop()
            service.start()
            assert (await outsider.ask(left))["state"] == "open"
            assert (await outsider.ask(attached))["state"] == "stored"


@needs_faketime
@pytest.mark.parametrize("jump", ["+2d", pytest.param("-2d", marks=pytest.mark.torture)])
async def test_what_has_expired_goes_by_itself_whatever_the_clock_says(tmp_path: Path, clock: Clock, jump: str) -> None:
    """After a jump uploads without a socket and old receipts still leave in their time; one with a socket stays."""
    upload = {"expires": 5, "receipts_kept": 5}
    with running_service(tmp_path, environment=clock.environment, upload=upload) as service:
        async with Outsider(service) as outsider:
            left, attached, done = await outsider.create(), await outsider.create(), await outsider.create()
            await (await outsider.open(done)).finish(b"")
            opened = await outsider.open(attached)
            clock.jump(jump)
            gone = [staged(outsider, left, "part"), staged(outsider, left, "upload"), staged(outsider, done, "receipt")]

            async def swept() -> bool:
                return not any(path.exists() for path in gone)

            await eventually(swept, 40)
            assert await outsider.is_gone(left)
            assert await outsider.is_gone(done)
            await opened.binary(b"here")
            await opened.finish(b"here")


@needs_strace
@pytest.mark.parametrize("kind", ["upload", "part", "receipt"])
async def test_a_sweep_that_is_killed_is_done_again(tmp_path: Path, kind: str) -> None:
    """Killed at each of its steps, the sweep leaves nothing half: at the next start it goes on, and the others stay."""
    upload = {"expires": 2, "receipts_kept": 2}
    with running_service(tmp_path, upload=upload) as service:
        async with Outsider(service) as outsider:
            old, done = await outsider.create(), await outsider.create()
            opened = await outsider.open(old)
            await opened.binary(b"old")
            await opened.durable(3)
            opened.reset()
            receipt = await (await outsider.open(done)).finish(b"")
            of = done if kind == "receipt" else old
            with fault(service, "unlink,unlinkat:signal=KILL", path=staged(outsider, of, kind)):
                assert await asyncio.to_thread(service.wait) == -signal.SIGKILL
            service.start()
            young = await outsider.open(await outsider.create())
            for url in (old, done):
                await eventually(lambda url=url: outsider.is_gone(url), 20)  # type: ignore[misc]
            folder = service.directory() / STAGING

            async def empty() -> bool:
                left = {path.name.partition(".")[0] for path in folder.iterdir() if path.suffix[1:] in KINDS}
                return len(left) == 1

            await eventually(empty, 20)
            await young.binary(b"young")
            await young.finish(b"young")
            assert (service.directory() / str(receipt["name"])).exists()


KINDS = {"part", "upload", "receipt", "receipts", "link", "group", "new"}
