"""For whoever runs the service: what is open, and cancelling it, by `server.admin` and its command."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.manyfiles import answers, file, many
from tests.support.outsider import Outsider, digest
from tests.support.service import Service, jackfield, running_service

pytestmark = pytest.mark.slow


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


async def test_without_a_service_the_directory_tells(tmp_path: Path) -> None:
    """Of its files: what is open, and what is stored, alone and in a group; only then may it be cancelled there."""
    with running_service(tmp_path) as service:
        async with Outsider(service) as outsider:
            url = await outsider.create("open.bin", size=10)
            opened = await outsider.open(url)
            await opened.binary(b"12345")
            await opened.durable(5)
            receipt = await (await outsider.open(await outsider.create("sto\u200dred.bin"))).finish(b"")
            await pour(outsider, 5)
            (found,) = listing(service.folder)
            assert (found["name"], found["offset"], found["size"], found["sending"]) == ("open.bin", 5, 10, None)
            assert (found["remote"], found["user"]) == ("127.0.0.1", None)
            assert 0 <= found["idle"] <= found["age"]
            assert url.rpartition("/")[2] not in json.dumps(found)
            refused = jackfield("uploads", "--cancel", found["id"], folder=service.folder)
            assert (refused.returncode, "is in use by another service" in refused.stderr) == (1, True)
        service.stop()
        stored = {each["name"]: each["sha256"] for each in listing(service.folder, "--receipts")}
        assert stored == {receipt["name"]: receipt["sha256"], **{f"{number}": digest(b"x") for number in range(5)}}
        shown = jackfield("uploads", "--directory", service.directory(), "--receipts", folder=tmp_path.parent)
        assert "sto\\u200dred.bin" in shown.stdout
        cancelled = jackfield("uploads", "--cancel", found["id"], folder=service.folder)
        assert (cancelled.returncode, listing(service.folder)) == (0, [])
        again = jackfield("uploads", "--cancel", found["id"], folder=service.folder)
        assert (again.returncode, again.stderr.count("\n")) == (1, 1)
        service.start()
        async with Outsider(service) as outsider:
            assert (await outsider.get(url)).status == 404


def listing(folder: Path, *words: str) -> list[dict[str, Any]]:
    """What the command says of the configuration in a folder."""
    done = jackfield("uploads", "--json", *words, folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


async def pour(outsider: Outsider, count: int) -> None:
    """So many files of one byte on one socket, stored."""
    opened = await many(outsider)
    await opened.send(b"".join(file(f"{number}", b"x") for number in range(count)))
    assert [each["type"] for each in await answers(opened, count)] == ["stored"] * count


async def test_a_place_without_uploads_is_told(tmp_path: Path) -> None:
    """In one line, with a status that says so."""
    for words in (["--directory", "nowhere"], ["--directory", ".", "--cancel", "0" * 12], ["--config", "none.yaml"]):
        done = jackfield("uploads", *words, folder=tmp_path)
        assert done.returncode in (1, 2)
        assert done.stderr.count("\n") == 1


async def test_nobody_else_may_ask(outsider: Outsider, service: Service, tmp_path: Path) -> None:
    """The list is on `admin` alone, and not for pages of other sites; a service that is away is told in a line."""
    assert (await outsider.get("/upload/uploads")).status == 404
    assert (await outsider.get("/uploads")).status == 404
    status, _, told = uploads(service, tmp_path, "--handler", "nobody")
    assert (status, told.count("\n")) == (1, 1)
    done = jackfield("uploads", "--admin", "http://127.0.0.1:1", folder=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
