"""For whoever runs the service: what is open, and cancelling it, by `server.admin` and its command."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.outsider import Outsider
from tests.support.service import Service, jackfield, running_service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One with `admin`."""
    with running_service(tmp_path_factory.mktemp("operator"), server={"admin": {"port": 0}}) as running:
        yield running


@pytest.fixture
async def outsider(service: Service) -> AsyncIterator[Outsider]:
    """A client of it."""
    async with Outsider(service) as client:
        yield client


def uploads(service: Service, folder: Path, *words: str) -> tuple[int, str, str]:
    """Status, standard output and standard error of the command."""
    admin = str(service.wait_for("listening")["admin"])
    done = jackfield("uploads", "--admin", admin, *words, folder=folder)
    return done.returncode, done.stdout, done.stderr


def listed(service: Service, folder: Path) -> dict[str, dict[str, Any]]:
    """What is open, by its name."""
    status, output, _ = uploads(service, folder, "--json")
    assert status == 0
    return {found["name"]: found for found in map(json.loads, output.splitlines())}


async def test_what_is_open_is_listed_and_cancelled(outsider: Outsider, service: Service, tmp_path: Path) -> None:
    """With its name, whose it is, how far it is; a cancelled one ends its socket 4404 and is gone."""
    url = await outsider.create("op\u200dned.bin", size=10)
    await outsider.create("other.bin")
    opened = await outsider.open(url)
    await opened.binary(b"12345")
    await opened.acked(5)
    found = listed(service, tmp_path)["op\u200dned.bin"]
    assert (found["offset"], found["size"], found["sending"], found["remote"]) == (5, 10, True, "127.0.0.1")
    assert url.rpartition("/")[2] not in json.dumps(found)
    _, output, _ = uploads(service, tmp_path)
    assert "op\\u200dned.bin" in output
    assert uploads(service, tmp_path, "--cancel", found["id"]) == (0, "", "")
    await opened.failed("cancelled", 4404)
    assert (await outsider.get(url)).status == 404
    assert "other.bin" in listed(service, tmp_path)
    status, _, told = uploads(service, tmp_path, "--cancel", found["id"])
    assert (status, "No such upload is open" in told) == (1, True)


async def test_nobody_else_may_ask(outsider: Outsider, service: Service, tmp_path: Path) -> None:
    """The list is on `admin` alone, and not for pages of other sites; a service that is away is told in a line."""
    assert (await outsider.get("/upload/uploads")).status == 404
    assert (await outsider.get("/uploads")).status == 404
    status, _, told = uploads(service, tmp_path, "--handler", "nobody")
    assert (status, told.count("\n")) == (1, 1)
    done = jackfield("uploads", "--admin", "http://127.0.0.1:1", folder=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
