"""A power cut: what was acknowledged as durable is there, and what was stored is there under its name, whole."""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import disks, scenes, strace
from tests.support.deaths import play, start
from tests.support.disks import Disk
from tests.support.outsider import Outsider, content, digest, eventually, pour
from tests.support.rawsocket import Opcode, header
from tests.support.receivers import endpoint, told_all
from tests.support.resuming import FRAMINGS, Job, Resuming
from tests.support.scenes import Scene
from tests.support.service import Service, configuration, upload

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # many starts, each of them short

MIB = 2**20
NOBODY = {"url": "http://127.0.0.1:9/"}  # nobody listens there: events wait
_LARGE_ONES = 32 * MIB  # bytes of all files after which only small ones follow: a third of the smallest disk
SYSTEMS = [
    pytest.param("ext4", marks=pytest.mark.skipif(bool(disks.unavailable("ext4")), reason=disks.unavailable("ext4"))),
    pytest.param(
        "xfs",
        marks=[
            pytest.mark.torture,
            pytest.mark.skipif(bool(disks.unavailable("xfs")), reason=disks.unavailable("xfs")),
        ],
    ),
]


@pytest.fixture
def disk(tmp_path: Path, system: str) -> Iterator[Disk]:
    """A disk with nothing on it."""
    with Disk(tmp_path, system) as made:
        yield made


@contextlib.asynccontextmanager
async def served(disk: Disk, **options: object) -> AsyncIterator[Outsider]:
    """A client of a service that keeps its uploads on this disk."""
    folder = disk.place.with_name("service")
    folder.mkdir()
    settings = upload(directory=str(disk.place / "uploads"), **options)
    service = Service(folder, configuration(pingpong=None, upload=settings))
    try:
        await asyncio.to_thread(service.start)
        async with Outsider(service) as outsider:
            yield outsider
    finally:
        if service.running:
            service.kill()
    service.assert_clean()


async def cut(disk: Disk, service: Service) -> Disk:
    """Cut the power at this moment: the service is stopped, between two of its calls, while the disk is copied."""
    service.signal(signal.SIGSTOP)
    try:
        await eventually(lambda: _stands_still(service.pid))
        return disk.cut()
    finally:
        service.signal(signal.SIGCONT)


async def _stands_still(pid: int) -> bool:
    """Whether no thread is in a call any more."""
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    return all((task / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "T" for task in tasks)


@pytest.mark.parametrize("system", SYSTEMS)
async def test_what_an_ack_called_durable_survives(disk: Disk) -> None:
    """Whenever an ack has called bytes durable, a power cut right after it loses none of them."""
    data = content(4 * MIB)
    cuts = []
    async with served(disk, sync_every="1MiB") as outsider:
        url = await outsider.create("in/durable.bin")
        opened = await outsider.open(url)
        await opened.send(header(Opcode.BINARY, len(data), key=bytes(4)))
        for sent in range(MIB, len(data) + 1, MIB):
            await opened.send(data[sent - MIB : sent])
            durable = (await opened.durable(sent))["durable"]
            cuts.append((durable, await cut(disk, outsider.service)))
    for durable, found in cuts:
        with found:
            async with served(found) as outsider:
                assert outsider.published() == []
                opened = await outsider.open(url)
                offset = opened.ready["offset"]
                assert durable <= offset <= len(data)
                assert opened.ready["sha256"] == digest(data[:offset])
                await opened.binary(data[offset:])
                assert outsider.stored(await opened.finish(data)) == data


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    "kind",
    [
        scenes.StoringLarge,
        scenes.Replacing,
        scenes.RenamingInGroup,
        pytest.param(scenes.Storing, marks=pytest.mark.torture),
        pytest.param(scenes.StoringInGroup, marks=pytest.mark.torture),
    ],
)
async def test_what_was_stored_survives(disk: Disk, kind: type[Scene]) -> None:
    """A power cut right after a receipt: the file is there under its name, whole, and the receipt and the event too."""
    async with served(disk, on_stored=NOBODY, **kind.options) as outsider:
        scene = kind(outsider, 1)
        await scene.prepare()
        await scene.act()
        found = await cut(disk, outsider.service)
    async with endpoint() as told:
        with found:
            async with served(found, on_stored={"url": told.url}) as scene.outsider:
                scene.check_seen()
                await scene.check()
                await told_all(scene.outsider.service)
        assert scene.job.receipt is not None
        assert {event["subject"] for event in told.told} == {scene.job.receipt["name"]}


@pytest.mark.parametrize("system", SYSTEMS)
async def test_events_of_a_group_survive(disk: Disk) -> None:
    """A power cut right after the receipts of twelve small files: each is told of, those of a group too."""
    async with served(disk, on_stored=NOBODY) as outsider:
        names = await pour(outsider, 12)
        found = await cut(disk, outsider.service)
    async with endpoint() as told:
        with found:
            async with served(found, on_stored={"url": told.url}) as again:
                await told_all(again.service)
        assert {event["subject"] for event in told.told} == set(names)


@pytest.mark.skipif(bool(strace.unavailable()), reason=strace.unavailable())
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("kind", [scenes.Storing, pytest.param(scenes.RenamingInGroup, marks=pytest.mark.torture)])
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.torture)])  # the short form cuts at a third
async def test_a_power_cut_at_any_step_shows_no_half_file(
    disk: Disk, tmp_path: Path, kind: type[Scene], every: int
) -> None:
    """At any step the journal may be written and the power fail: a name never stands before its bytes."""
    async with served(disk, **kind.options) as outsider:
        rehearsed = await play(kind(outsider, 0), tmp_path / "rehearsal")
        for number, step in enumerate(rehearsed[::every], 1):
            scene = kind(outsider, number)
            await play(scene, tmp_path / f"death-{number}", step.death)
            assert not outsider.service.running, step
            disk.commit()
            with disk.cut() as found:
                async with served(found, **kind.options) as scene.outsider:
                    scene.check_seen()
                    await scene.check()
            await start(outsider.service)


@pytest.mark.skipif(bool(strace.unavailable()), reason=strace.unavailable())
@pytest.mark.parametrize("system", SYSTEMS)
async def test_what_a_restart_has_finished_survives(disk: Disk, tmp_path: Path) -> None:
    """A group killed before its bytes were synced and published by the next start: no power cut leaves it half."""
    async with served(disk) as outsider:
        scene = scenes.StoringCrowd(outsider, 1)
        await play(scene, tmp_path / "death", "syncfs:signal=KILL:when=1")
        await start(outsider.service)
        found = await cut(disk, outsider.service)
        assert len(outsider.published()) > 1
    with found:
        async with served(found) as scene.outsider:
            scene.check_seen()


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("cuts", [3, pytest.param(40, marks=[pytest.mark.torture, pytest.mark.timeout(600)])])
async def test_power_cuts_at_random_lose_nothing(disk: Disk, cuts: int) -> None:
    """Many uploads at once, and the power fails at any moment: no receipt was false, no durable byte is missing."""
    dice = random.Random(seed := random.randrange(10**6))
    print(f"seed {seed}")
    found = []
    async with served(disk, sync_every="256KiB", expires="1h") as outsider:
        working = asyncio.create_task(_work(outsider, dice, jobs := []))
        for _ in range(cuts):
            await asyncio.sleep(dice.uniform(0.05, 0.5))
            promised = [replace(job) for job in jobs if job.url]
            found.append((promised, await cut(disk, outsider.service)))
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
    for promised, lost in found:
        with lost:
            async with served(lost) as outsider:
                await _check(outsider, promised, jobs)


async def _work(outsider: Outsider, dice: random.Random, jobs: list[Job]) -> None:
    """Six clients, each with one file after the other: small ones only, once a good part of the disk is full."""

    async def client(number: int) -> None:
        while True:
            large = (100_000, MIB, 2 * MIB) if sum(len(job.data) for job in jobs) < _LARGE_ONES else ()
            size = dice.choice((0, 5, 4096, *large))
            name = f"in/{len(jobs)}.bin"
            job = Job(name, dice.randbytes(size), FRAMINGS[number % len(FRAMINGS)], number == 5, pause=0.01)
            jobs.append(job)
            await Resuming(outsider, job, up, dice).run()

    up = asyncio.Event()
    up.set()
    async with asyncio.TaskGroup() as clients:
        for number in range(6):
            clients.create_task(client(number))


async def _check(outsider: Outsider, promised: list[Job], jobs: list[Job]) -> None:
    """After the cut: what is seen is whole; each upload goes on where it was durable, or has its receipt still."""
    whole = {job.name: job.data for job in jobs}
    for name in outsider.published():
        assert (outsider.directory() / name).read_bytes() == whole[name], f"{name} is not whole"
    up = asyncio.Event()
    up.set()
    for job in promised:
        client = Resuming(outsider, job, up, random.Random())
        await client.run()
        await client.ask_again()
        assert outsider.stored(job.receipt or {}) == job.data
