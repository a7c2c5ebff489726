"""`jackfield upload -r` of 2,000 small files while the link is cut, and both sides restart, die and are interrupted."""

import asyncio
import json
import random
import signal
from pathlib import Path

import pytest

from tests.support.outsider import digest
from tests.support.relay import Relay, relay_to
from tests.support.service import Service, running_service
from tests.support.uploader import Done, Uploader

FILES = 2000
HARMS = ("cut", "cut", "restart", "kill", "interrupt", "end", "murder")
"""To the link; SIGTERM and SIGKILL to the service; SIGINT, SIGTERM and SIGKILL to the command, which is run again."""
SIGNALS = {"interrupt": signal.SIGINT, "end": signal.SIGTERM, "murder": signal.SIGKILL}

BEFORE_IT_BEGAN = (130, -signal.SIGINT, -signal.SIGTERM)
"""Exit statuses of a command that had not got as far as to hear the signal in its own way."""


class Trial:
    """One folder, sent until it is there. `harms` are drawn from the dice, and so is the time between them."""

    def __init__(self, dice: random.Random, folder: Path, service: Service, uploader: Uploader) -> None:
        self._dice, self._folder, self._service, self._uploader = dice, folder, service, uploader
        self.sent = {file.name: digest(file.read_bytes()) for file in folder.iterdir()}
        self.receipts: dict[str, set[str]] = {name: set() for name in self.sent}  # final names, by file

    async def run(self, relay: Relay) -> None:
        """Until a run of the command ends by itself, which must be in success."""
        for _ in range(20):
            done, harmed = await self._once(relay)
            self._read(done)
            if not harmed or done.status == 0:  # a signal may come when all is done
                assert done.status == 0, done.err
                assert len(done.lines) == FILES
                return
            assert done.status in (75, *BEFORE_IT_BEGAN, -signal.SIGKILL), done.err
        raise AssertionError("it never came to an end")

    async def _once(self, relay: Relay) -> tuple[Done, bool]:
        """One run of the command, with some harms."""
        process = await self._uploader.start("--json", "-r", self._folder, relay.url)
        ended = asyncio.ensure_future(self._uploader.end(process))
        for harm in self._dice.choices(HARMS, k=self._dice.randint(0, 3)):
            await asyncio.wait({ended}, timeout=self._dice.uniform(0.05, 1.2))
            if ended.done():
                break
            if harm in SIGNALS:
                process.send_signal(SIGNALS[harm])
                return await ended, True
            await asyncio.to_thread(self._harm, harm, relay)
        return await ended, False

    def _harm(self, harm: str, relay: Relay) -> None:
        if harm == "cut":
            relay.cut()
            return
        if harm == "restart":
            assert self._service.stop() == 0
        else:
            self._service.kill()
        self._service.start()

    def _read(self, done: Done) -> None:
        """Each receipt is of a file that was sent, with its digest; the last line may be half of one."""
        for line in done.out.splitlines(keepends=True):
            if not line.endswith("\n"):
                continue
            receipt = json.loads(line)
            name = Path(receipt["file"]).name
            assert receipt["sha256"] == self.sent[name]
            self.receipts[name].add(receipt["name"])

    def judge(self) -> None:
        """Every file is there exactly once and whole, nothing else is, and each receipt is true."""
        root = self._service.directory() / self._folder.name
        assert {file.name: digest(file.read_bytes()) for file in root.iterdir()} == self.sent
        assert self.receipts == {name: {f"{self._folder.name}/{name}"} for name in self.sent}


async def rounds(seed: int, count: int, tmp_path: Path, uploader: Uploader) -> None:
    """So many folders, one after the other."""
    dice = random.Random(seed)
    (tmp_path / "service").mkdir()
    with running_service(tmp_path / "service") as service, relay_to(service.port) as relay:
        for number in range(count):
            folder = tmp_path / f"d{number}"
            folder.mkdir()
            for index in range(FILES):
                (folder / f"{index:04}.txt").write_bytes(f"{number} {index}".encode() + dice.randbytes(300))
            trial = Trial(dice, folder, service, uploader)
            await trial.run(relay)
            trial.judge()


async def test_random_harms(uploader: Uploader, tmp_path: Path) -> None:
    """Over two folders: each file is there exactly once and whole, the exit statuses and the receipts are true."""
    await rounds(20261129, 2, tmp_path, uploader)


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
async def test_random_harms_for_long(uploader: Uploader, tmp_path: Path, seed: int) -> None:
    """The same over hundreds."""
    await rounds(seed, 30, tmp_path, uploader)
