"""`jackfield upload -r` of thousands of small files over links that are cut and services that restart."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.outsider import digest, eventually
from tests.support.relay import relay_to
from tests.support.service import Service, running_service
from tests.support.uploader import Done, Uploader

FILES = 2000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of small files, of 300 to 2,300 bytes each."""
    found, dice = tmp_path / "d", random.Random(1)
    found.mkdir()
    for number in range(FILES):
        (found / f"{number:04}.txt").write_bytes(dice.randbytes(dice.randint(300, 2300)))
    return found


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Service]:
    """A service of this test's own."""
    (tmp_path / "service").mkdir()
    with running_service(tmp_path / "service") as found:
        yield found


def stored(service: Service) -> dict[str, str]:
    """The digests of all files that the service has published in the folder `d`."""
    return {file.name: digest(file.read_bytes()) for file in (service.directory() / "d").glob("*")}


def assert_all_arrived(done: Done, service: Service, folder: Path) -> None:
    """Every file has one receipt, is on the service, and has its own bytes."""
    receipts = [json.loads(line) for line in done.lines]
    assert (done.status, len(receipts)) == (0, FILES), done.err
    sent = {file.name: digest(file.read_bytes()) for file in folder.iterdir()}
    assert {Path(each["file"]).name: each["sha256"] for each in receipts} == sent
    there = stored(service)
    assert all(there[Path(each["name"]).name] == each["sha256"] for each in receipts)


@pytest.mark.parametrize("count", [250_000, 900_000, 2_100_000])
async def test_a_link_that_is_cut_loses_no_file(own: Service, uploader: Uploader, folder: Path, count: int) -> None:
    """The connection breaks after so many bytes: each of 2,000 files is stored, once."""
    with relay_to(own.port) as relay:
        relay.cut_after(count)
        done = await uploader.run("--json", "-r", folder, relay.url)
    assert_all_arrived(done, own, folder)


async def test_a_service_that_restarts_loses_no_file(own: Service, uploader: Uploader, folder: Path) -> None:
    """An ordinary deployment in the middle: SIGTERM, and a new process on the same port."""

    async def some() -> bool:
        return len(stored(own)) >= 600

    process = await uploader.start("--json", "-r", folder, own.url)
    await eventually(some)
    assert own.stop() == 0
    own.start()
    assert_all_arrived(await uploader.end(process), own, folder)
