"""Short scenes with an upload in them, to be cut by a death at any step, and what must hold after it.

Each is played by one client on a service of its own; `options` are the upload handler's.
"""

import asyncio
import os
import random
from typing import Any, ClassVar

from tests.support.outsider import Outsider, UploadSocket
from tests.support.rawsocket import Opcode, header
from tests.support.resuming import Job, Resuming
from tests.support.resuming_many import ResumingMany

SMALL = 100_000  # bytes
LARGE = 17 * 2**20  # bytes; the digest of such a file is written down before it is published


class Scene:
    """Create an upload. The others begin further on."""

    options: ClassVar[dict[str, Any]] = {"sync_every": SMALL}  # so that nobody waits for a sync
    size: ClassVar[int] = SMALL
    taken: ClassVar[bytes] = b""  # what stands under the final name before

    def __init__(self, outsider: Outsider, number: int) -> None:
        self.outsider = outsider
        self.job = Job(f"in/{type(self).__name__}-{number}.bin", random.Random(number).randbytes(self.size))
        self.up = asyncio.Event()
        self.up.set()
        self.place = outsider.directory() / self.job.name

    async def prepare(self) -> None:
        """What is done before death may come."""
        if self.taken:
            self.place.parent.mkdir(exist_ok=True)
            with self.place.open("wb", buffering=0) as file:
                file.write(self.taken)
                os.fsync(file.fileno())

    async def act(self) -> None:
        """What death may cut short; `surviving` knows what is raised then."""
        self.job.url = await self.outsider.create(self.job.name)

    def check_seen(self) -> None:
        """Nothing is seen but whole files, and none that is nobody's."""
        whole = [self.job.data, self.taken] if self.taken else [self.job.data]
        for name in self.outsider.published():
            assert name.startswith("in/"), name
        for name in self._files():
            assert (self.outsider.directory() / name).read_bytes() in whole, f"{name} is not whole"

    def _files(self) -> list[str]:
        """All that this upload may have become."""
        stem = self.job.name.removesuffix(".bin")
        return [name for name in self.outsider.published() if name.startswith(stem + ".")]

    async def check(self) -> None:
        """After the restart: go on to the receipt; it can be asked for again, and there is one file."""
        await Resuming(self.outsider, self.job, self.up, random.Random()).run()
        await self.check_stored()

    async def check_stored(self) -> None:
        """The receipt stands, for one file."""
        assert self.job.receipt is not None
        await Resuming(self.outsider, self.job, self.up, random.Random()).ask_again()
        spared = bool(self.taken) and "on_conflict" not in self.options
        expected = {self.job.receipt["name"], *([self.job.name] if spared else [])}
        assert self._files() == sorted(expected), f"{self._files()} instead of {expected}"
        assert not spared or self.place.read_bytes() == self.taken

    # --- what most of them do ------------------------------------------------------------------------

    async def open(self) -> UploadSocket:
        """Create it and open its socket."""
        self.job.url = await self.outsider.create(self.job.name)
        return await self.outsider.open(self.job.url)

    async def open_durable(self) -> UploadSocket:
        """The same, and all bytes are durable."""
        opened = await self.open()
        await self.send_durable(opened)
        return opened

    async def send(self, opened: UploadSocket) -> None:
        """Send all bytes in one frame, under a key that spares us the masking."""
        await opened.send(header(Opcode.BINARY, self.size, key=bytes(4)) + self.job.data)

    async def send_durable(self, opened: UploadSocket) -> None:
        """Send all bytes, and wait until they are called durable."""
        try:
            await self.send(opened)
            await opened.durable(self.size)
        finally:
            self.job.durable = max((ack["durable"] for ack in opened.acks), default=0)

    async def end(self, opened: UploadSocket) -> None:
        """Say the end, and read the receipt."""
        await opened.end()
        self.job.take(receipt := await opened.message("stored"), self.outsider.stored(receipt))


class Sending(Scene):
    """Bytes come, and are made durable."""

    async def prepare(self) -> None:
        await super().prepare()
        self.opened = await self.open()

    async def act(self) -> None:
        await self.send_durable(self.opened)


class Storing(Sending):
    """Bytes come and the end at once: nothing was durable before the file is stored."""

    options: ClassVar[dict[str, Any]] = {}

    async def act(self) -> None:
        await self.send(self.opened)
        await self.end(self.opened)


class StoringLarge(Scene):
    """The end of a large upload, whose bytes are durable already."""

    options: ClassVar[dict[str, Any]] = {"sync_every": LARGE}
    size = LARGE

    async def prepare(self) -> None:
        await super().prepare()
        self.opened = await self.open_durable()

    async def act(self) -> None:
        await self.end(self.opened)


class Renaming(Storing):
    """The name is taken by another file."""

    taken = b"before"


class Replacing(Renaming):
    """The file takes the place of another."""

    options: ClassVar[dict[str, Any]] = {"on_conflict": "replace"}


class Restarting(Scene):
    """The client begins anew."""

    async def prepare(self) -> None:
        await super().prepare()
        self.opened = await self.open_durable()

    async def act(self) -> None:
        self.job.durable = 0  # it is the client that gives them up
        await self.opened.json(type="restart")
        ready = await self.opened.message("ready")
        assert ready["offset"] == 0
        self.job.data = self.job.data[::-1]  # were the old bytes still there, the digest in `ready` would tell


class Cancelling(Scene):
    """The upload is thrown away."""

    async def prepare(self) -> None:
        await super().prepare()
        await (await self.open_durable()).dispose()
        self.cancelled = False

    async def act(self) -> None:
        answer = await self.outsider.http("DELETE", self.job.url)
        assert answer.status == 204
        self.cancelled = True

    async def check(self) -> None:
        """It is there with all that was durable, or it is gone with all that it had."""
        answer = await self.outsider.get(self.job.url)
        if answer.status == 200:
            assert not self.cancelled
            await super().check()
            return
        assert answer.status == 404
        assert self.outsider.staged() < self.size
        assert not self._files()


class StoringInGroup(Scene):
    """A small file on a socket of many."""

    size = 50_000

    async def prepare(self) -> None:
        await super().prepare()
        self.opened = await self.outsider.unread("/upload")

    async def act(self) -> None:
        await self.opened.json(type="create", name=self.job.name)
        self.job.url = f"/upload/{(await self.opened.message('ready'))['token']}"
        await self.send(self.opened)
        await self.end(self.opened)

    async def check(self) -> None:
        """Stored, or forgotten without a trace."""
        await ResumingMany(self.outsider, [self.job], self.up, random.Random()).run()
        await self.check_stored()


class RenamingInGroup(StoringInGroup):
    """Likewise, and the name is taken."""

    taken = b"before"


class StoringCrowd(Scene):
    """Eight small files on one socket: the first is stored alone, the others meanwhile wait for each other."""

    size = 5_000

    async def prepare(self) -> None:
        """Open the socket."""
        self.opened = await self.outsider.unread("/upload")

    async def act(self) -> None:
        """All at once."""
        for _ in range(8):
            await self.opened.json(type="create", name=self.job.name)
            await self.send(self.opened)
            await self.opened.end()
        for _ in range(8):
            await self.opened.message("ready")
            await self.opened.message("stored")
