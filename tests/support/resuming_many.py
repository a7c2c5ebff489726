"""A client of the socket of many files that never gives up, beside `resuming`."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from tests.support.outsider import Outsider, UploadSocket
from tests.support.resuming import Job, Resuming, surviving


class ResumingMany:
    """Brings a row of small files to their receipts, over sockets on which they are created.

    It waits for no answer, so that the service may store many at once. A file whose `ready` it has not read when
    the service dies it cannot ask for: it sends that one anew, and counts it as `blind`.
    """

    def __init__(self, outsider: Outsider, jobs: Sequence[Job], up: asyncio.Event, dice: random.Random) -> None:
        self._outsider = outsider
        self._jobs = jobs
        self._up = up
        self._dice = dice

    async def run(self) -> None:
        """Until all receipts; raises AssertionError for a promise that was not kept."""
        while self._open():
            await self._up.wait()
            with surviving():
                for job in self._open():
                    if job.url:
                        await self._what_became_of(job)
                await self._send(self._open())
            await asyncio.sleep(0.01)

    def _open(self) -> list[Job]:
        return [job for job in self._jobs if job.receipt is None]

    async def _what_became_of(self, job: Job) -> None:
        """After a crash: stored, open, or forgotten; the last only if nothing of it was called durable."""
        answer = await self._outsider.get(job.url)
        if answer.status == 404:
            assert job.durable == 0, f"{job.name} is forgotten after durable {job.durable}"
            job.url = ""
            return
        await Resuming(self._outsider, job, self._up, self._dice).turn()

    async def _send(self, jobs: Sequence[Job]) -> None:
        opened = await self._outsider.unread("/upload")
        listening = asyncio.create_task(self._listen(opened, jobs))
        try:
            for job in jobs:
                job.lives += 1
                job.blind += 1
                await opened.json(type="create", name=job.name, **job.promises)
                for wire, _ in job.framing(memoryview(job.data), self._dice):
                    await opened.send(wire)
                await opened.end()
            await listening
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await opened.dispose()

    async def _listen(self, opened: UploadSocket, jobs: Sequence[Job]) -> None:
        """One answer after the other, in the order of the requests."""
        for job in jobs:
            ready = await opened.message("ready")
            job.check_ready(ready)
            job.url = f"/upload/{ready['token']}"
            job.blind -= 1
            last: dict[str, Any] = {"offset": ready["offset"], "durable": 0}
            while (found := await opened.said())["type"] == "ack":
                job.check_ack(found, last)
                last = found
            assert (found["type"], found.get("token")) == ("stored", ready["token"]), found
            job.take(found, self._outsider.stored(found))
