"""A receipt means that the file is safe: here the service is killed, again and again, while clients send."""

import asyncio
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.outsider import STAGING, Outsider, content, digest, eventually
from tests.support.rawsocket import Opcode, header
from tests.support.receivers import Answer, Endpoint, endpoint, told_all
from tests.support.resuming import FRAMINGS, Job, Resuming, surviving
from tests.support.resuming_many import ResumingMany
from tests.support.service import Service, configuration, running_service, upload
from tests.support.watcher import Watcher

pytestmark = pytest.mark.slow

KIB, MIB = 2**10, 2**20
LARGE = (20 * MIB + 1, 17 * MIB, 5 * MIB + 3, 2 * MIB)
SMALL = (0, 1, 5, 4 * KIB, 100 * KIB, 600 * KIB)
NAMES = ("alone-{}.bin", "in/a/folder-{}.bin", "shared.bin")


@dataclass
class Torture:
    """One run. `lives` counts the kills so far; everything random comes from `dice`."""

    service: Service
    watcher: Watcher
    kills: int
    dice: random.Random
    lives: int = 0
    up: asyncio.Event = field(default_factory=asyncio.Event)
    long: list[Job] = field(default_factory=list)  # those that live through many kills
    jobs: list[Job] = field(default_factory=list)

    def job(self, size: int, allowed: Callable[[int], int] = lambda size: size, *, alone: bool = True) -> Job:
        """Another file, of any framing, with or without promises; only one that is `alone` may be a plain upload."""
        dice, number = self.dice, len(self.jobs)
        data = random.Random(number).randbytes(size)
        name = dice.choice(NAMES).format(number)
        promises = dice.choice(({}, {"size": size}))
        job = Job(
            name, data, dice.choice(FRAMINGS), alone and dice.random() < 0.3, promises, lambda: allowed(size),
            pause=dice.choice((0, 0, 0.002, 0.02)),
        )  # fmt: skip
        self.watcher.expect(name, data)
        self.jobs.append(job)
        return job

    # --- the clients ---------------------------------------------------------------------------------

    async def lasting(self, outsider: Outsider, size: int) -> None:
        """One upload that lives through many kills: each life of the service gets its share of the bytes."""
        last = self.dice.randrange(self.kills // 2, self.kills)
        job = self.job(size, lambda size: size if self.lives >= last else size * (self.lives + 1) // (last + 1))
        self.long.append(job)
        await Resuming(outsider, job, self.up, self.dice).run()
        assert job.lives > 1

    async def renewed(self, outsider: Outsider) -> None:
        """Small uploads one after the other, so that every kill finds some that are being stored."""
        while self.lives < self.kills:
            job = self.job(self.dice.choice(SMALL))
            await Resuming(outsider, job, self.up, self.dice).run()
            await asyncio.sleep(self.dice.uniform(0, 0.2))

    async def many(self, outsider: Outsider) -> None:
        """Rows of small files on sockets that carry many, so that kills find groups that are being stored."""
        while self.lives < self.kills:
            jobs = [self.job(self.dice.choice(SMALL), alone=False) for _ in range(self.dice.choice((1, 3, 20)))]
            await ResumingMany(outsider, jobs, self.up, self.dice).run()
            await asyncio.sleep(self.dice.uniform(0, 0.2))

    async def abandoned(self, outsider: Outsider) -> None:
        """One upload that is begun and never ended: it has to expire."""
        url = ""
        while not url:
            await self.up.wait()
            with surviving():
                url = await outsider.create("abandoned.bin", size=5)

    # --- the killer ----------------------------------------------------------------------------------

    async def kill(self) -> None:
        """Kill the service at random moments; every fourth time while it is starting. At last it stays.

        The first time all that are to live through it have been created.
        """
        await self._start()
        await eventually(self._all_created, 60)
        while self.lives < self.kills:
            self.watcher.check()
            if self.lives % 4 == 3:
                await self._kill_while_starting()
            else:
                if not self.service.running:
                    await self._start()
                await asyncio.sleep(self.dice.choice((0.1, 0.4, 1.0)) * self.dice.random())
                self.up.clear()
                self.service.kill()
            self.lives += 1
        await self._start()

    async def _all_created(self) -> bool:
        return all(job.url for job in self.long)

    async def _start(self) -> None:
        self.service.port = 0  # the one before may be somebody else's by now
        await asyncio.to_thread(self.service.start)
        self.up.set()

    async def _kill_while_starting(self) -> None:
        self.service.port = 0
        starting = asyncio.create_task(asyncio.to_thread(self.service.start))
        await eventually(self._is_running)
        await asyncio.sleep(self.dice.uniform(0, 0.6))
        self.service.signal(signal.SIGKILL)
        await asyncio.gather(starting, return_exceptions=True)  # whether it got so far is chance
        assert await asyncio.to_thread(self.service.wait) == -signal.SIGKILL

    async def _is_running(self) -> bool:
        return self.service.running

    # --- the reckoning -------------------------------------------------------------------------------

    async def reckon(self, outsider: Outsider) -> None:
        """After the last life: one whole file for each receipt, the same receipts again, and no other file."""
        for job in self.jobs:
            assert job.receipt is not None
            assert outsider.stored(job.receipt) == job.data
            await Resuming(outsider, job, self.up, self.dice).ask_again()
        promised = {str(job.receipt["name"]) for job in self.jobs if job.receipt}
        assert len(promised) == len(self.jobs)
        others = set(outsider.published()) - promised
        assert len(others) <= sum(job.blind for job in self.jobs), others
        self.watcher.check()

    async def reckon_events(self, told: Endpoint) -> None:
        """Each stored file was told of, and no other: those with a receipt, and those whose client never saw theirs."""
        await told_all(self.service)
        names = {event["data"]["name"]: event["data"]["sha256"] for event in told.told}
        for job in self.jobs:
            assert job.receipt is not None
            assert names[str(job.receipt["name"])] == digest(job.data)
        assert all((self.service.directory() / name).exists() for name in names)
        print(f"{len(told.told)} tellings of {len(names)} events")

    async def expire(self) -> None:
        """With a short `expires` and `receipts_kept` nothing of them is left in staging."""
        self.service.kill()
        self.service.settings["handlers"]["upload"] |= {"expires": "1s", "receipts_kept": "1s"}
        await self._start()
        staging = self.service.directory() / STAGING
        ends = time.monotonic() + 30
        while left := set(os.listdir(staging)) - {"lock", "used"}:
            assert time.monotonic() < ends, f"still in staging: {left}"
            await asyncio.sleep(0.05)


def fickle(dice: random.Random) -> Answer:
    """A receiver that now and then fails, at once or after a while."""

    async def answer(_: Any) -> web.Response:
        if dice.random() < 0.1:
            await asyncio.sleep(dice.random() * 3)
        return web.Response(status=500 if dice.random() < 0.1 else 204)

    return answer


async def torture(folder: Path, kills: int, uploads: int, seed: int) -> None:
    """Kill a service `kills` times under so many `uploads` at once, and see that every promise was kept."""
    async with endpoint(fickle(random.Random(seed))) as told:
        await _torture(folder, kills, uploads, seed, told)


async def _torture(folder: Path, kills: int, uploads: int, seed: int, told: Endpoint) -> None:
    print(f"seed {seed}")  # shown where the test fails
    hook = {"url": told.url, "timeout": "2s"}
    settings = configuration(
        pingpong=None, upload=upload(sync_every="1MiB", receipts_kept="1h", expires="1h", on_stored=hook)
    )
    service = Service(folder, settings)
    dice = random.Random(seed)
    try:
        with Watcher(service.directory()) as watcher:
            run = Torture(service, watcher, kills, dice)
            async with Outsider(service) as outsider:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(run.kill())
                    tasks.create_task(run.abandoned(outsider))
                    tasks.create_task(run.many(outsider))
                    for number in range(uploads // 2):
                        tasks.create_task(run.lasting(outsider, LARGE[number % len(LARGE)]))
                        tasks.create_task(run.renewed(outsider))
                await run.reckon(outsider)
                await run.reckon_events(told)
            await run.expire()
            watcher.check()
        assert service.stop() == 0
        service.assert_clean()
    finally:
        if service.running:
            service.kill()
        shutil.rmtree(folder)  # hundreds of MiB


async def test_kills_lose_nothing(tmp_path: Path) -> None:
    """Five kills under eight uploads: nothing acknowledged is lost, nothing half-made seen, each file told of."""
    await torture(tmp_path, kills=5, uploads=8, seed=random.randrange(10**6))


@pytest.mark.torture
@pytest.mark.timeout(1800)
async def test_two_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    """The same with 200 kills under 20 uploads."""
    await torture(tmp_path, kills=200, uploads=20, seed=random.randrange(10**6))


async def test_a_refused_name_is_no_word_that_a_file_is_whole(tmp_path: Path) -> None:
    """A large upload whose name was taken at its end takes more bytes; a kill then publishes nothing by itself."""
    data = content(17 * MIB)
    with running_service(tmp_path, upload={"on_conflict": "reject"}) as service:
        async with Outsider(service) as outsider:
            url = await outsider.create("taken.bin")
            opened = await outsider.open(url)
            await opened.send(header(Opcode.BINARY, len(data), key=bytes(4)) + data)
            await opened.durable(len(data))
            stranger = service.directory() / "taken.bin"
            stranger.write_bytes(b"another")
            await opened.end()
            await opened.failed("name_taken", 4409)
            stranger.unlink()
            again = await outsider.open(url)
            assert again.ready["offset"] == len(data)
            await again.binary(b"and more")
            await again.acked(len(data) + 8)
            service.kill()
            service.start()
            assert outsider.published() == []
            assert (await outsider.ask(url))["state"] == "open"
            last = await outsider.open(url)
            assert last.ready["offset"] >= len(data)
            whole = data + b"and more"
            await last.binary(whole[last.ready["offset"] :])
            assert outsider.stored(await last.finish(whole)) == whole
