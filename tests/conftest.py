"""What the tests share: one service a worker, with a handler for every set of options they need."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import hypothesis
import pytest
from playwright.sync_api import Browser

from tests.support.browser import ELSEWHERE, chromium
from tests.support.faults import on_a_disk_of
from tests.support.outsider import Outsider
from tests.support.scripted import Scripted, scripted
from tests.support.service import Service, pingpong, running_service, upload
from tests.support.uploader import Uploader

HANDLERS = {
    "endless": pingpong("/endless", rounds=0, interval=0.01),
    "patient": pingpong("/patient", rounds=0, interval="60s", timeout="60s"),
    "impatient": pingpong("/impatient", timeout=0.3),
    "reject": upload("/reject", on_conflict="reject"),
    "replace": upload("/replace", on_conflict="replace"),
    "small": upload("/small", max_size="1MiB"),
    "narrow": upload("/narrow", window="256KiB", message_size="16KiB"),
    "brief": upload("/brief", expires=1),
    "idle": upload("/idle", idle_timeout=0.5),
    "forgetful": upload("/forgetful", receipts_kept=0.5),
    "crowded": upload("/crowded", max_open=2),
    "roomy": upload("/roomy", max_size="1024TiB", reserve="100%"),
}
ALLOWED_HOSTS = ["panel.example", "jackfield.example", ELSEWHERE]
ALLOWED_ORIGIN = "https://app.example"


def pytest_configure(config: pytest.Config) -> None:
    """No example of hypothesis fails because the machine is busy; only the long forms draw new ones in each run."""
    long = config.getoption("markexpr") == "torture"
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("jackfield", deadline=None, derandomize=not long, suppress_health_check=slow)
    hypothesis.settings.load_profile("jackfield")


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service that all tests of a worker share; it must leave with 0 and a clean log."""
    server = {"allowed_origins": [ALLOWED_ORIGIN], "allowed_hosts": ALLOWED_HOSTS}
    with running_service(tmp_path_factory.mktemp("service"), server=server, **HANDLERS) as running:
        yield running


@pytest.fixture
async def outsider(service: Service) -> AsyncIterator[Outsider]:
    """A client of the shared service."""
    async with Outsider(service) as client:
        yield client
    service.assert_clean()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of a module; each has a context of its own."""
    with chromium() as running:
        yield running


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    """A service that plays the parts that a test writes for it."""
    async with scripted() as found:
        yield found


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """What the Python client sends with."""
    async with aiohttp.ClientSession() as found:
        yield found


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Service]:
    """A service on a disk of 16 MiB, of which 4 are to stay free."""
    directory = tmp_path / "upload"
    directory.mkdir()
    prefix = on_a_disk_of("16m", directory)
    with running_service(tmp_path, prefix=prefix, upload={"min_free": "4MiB", "reserve": "100%"}) as service:
        yield service


@pytest.fixture
async def uploader(tmp_path: Path) -> AsyncIterator[Uploader]:
    """The command, with a state of its own."""
    found = Uploader(tmp_path)
    yield found
    await found.dispose()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of three MiB and a bit."""
    file = tmp_path / "data.bin"
    file.write_bytes(os.urandom(3 * 2**20 + 12345))
    return file
