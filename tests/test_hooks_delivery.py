"""Who is to be told of stored uploads is told of each, at least once: over crashes of either side."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.outsider import Outsider, content, digest
from tests.support.receivers import Notebook, events_left, told_all
from tests.support.service import Service, running_service


@asynccontextmanager
async def serving(folder: Path, **options: object) -> AsyncIterator[tuple[Service, Outsider]]:
    """A service with such an upload handler, and a client of it."""
    (folder / "service").mkdir()
    with running_service(folder / "service", pingpong=None, upload=options) as service:
        async with Outsider(service) as outsider:
            yield service, outsider


async def test_a_command_is_told_of_a_stored_file(tmp_path: Path) -> None:
    """The event is a CloudEvent on its standard input; path, name and id are in its arguments."""
    book = Notebook(tmp_path / "told")
    command = book.command(f'printf "%s\\n" "$1" "$2" "$3" > {tmp_path}/words')
    data = content(1000)
    async with serving(tmp_path, on_stored={"command": command}) as (service, outsider):
        receipt = await outsider.send_whole(data, "in/a b.bin")
        (event,) = await book.has(1)
        await told_all(service)
    assert event["specversion"] == "1.0"
    assert event["type"] == "io.jackfield.upload.stored"
    assert (event["source"], event["subject"]) == ("/upload", "in/a b.bin")
    path = str(service.directory() / "in/a b.bin")
    assert event["data"] == {
        "name": "in/a b.bin", "path": path, "size": 1000, "sha256": digest(data), "user": None,
        "created": event["data"]["created"], "stored": event["time"], "remote": "127.0.0.1",
    }  # fmt: skip
    assert receipt["name"] == "in/a b.bin"
    words = (tmp_path / "words").read_text(encoding="utf-8").splitlines()
    assert words == [path, "in/a b.bin", event["id"]]


async def test_an_event_outlives_the_service(tmp_path: Path) -> None:
    """Killed before anybody could be told, the service tells of single files and of groups after its next start."""
    book, gate = Notebook(tmp_path / "told"), tmp_path / "gate"
    command = ["sh", "-c", f'test -e {gate} || exit 1; exec "$@"', "sh", *book.command()]
    async with serving(tmp_path, on_stored={"command": command}) as (service, outsider):
        names = [(await outsider.send_whole(content(10), f"one-{number}.bin"))["name"] for number in range(2)]
        opened = await outsider.unread("/upload")
        for number in range(20):
            await opened.json(type="create", name=f"many-{number}.bin")
            await opened.binary(b"many")
            await opened.end()
        for _ in range(20):
            await opened.message("ready")
            names.append((await opened.message("stored"))["name"])
        service.kill()
        assert book.told == []
        gate.touch()
        service.start()
        told = await book.has(22)
        assert {event["data"]["name"] for event in told} == set(names)
        await told_all(service)
        service.kill()
        service.start()
        assert events_left(service) == []
        assert len(book.told) == 22, json.dumps(book.told)
