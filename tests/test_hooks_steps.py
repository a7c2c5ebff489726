"""Death at the steps by which an event is made, told and forgotten: each stored file is told of, and nothing else."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from aiohttp import web

from tests.support import scenes, strace
from tests.support.deaths import not_started, play, start
from tests.support.documents import code_words, section, tables
from tests.support.outsider import STAGING, Outsider, digest, eventually
from tests.support.receivers import Endpoint, endpoint, events_left, told_all
from tests.support.scenes import Scene
from tests.support.service import Service

pytestmark = [
    pytest.mark.skipif(bool(strace.unavailable()), reason=strace.unavailable()),
    pytest.mark.timeout(300),
]


class Telling(Scene):
    """A scene goes on until the event is told and forgotten."""

    async def act(self) -> None:
        await super().act()
        service = self.outsider.service

        async def over() -> bool:
            return not service.running or not events_left(service)

        await eventually(over, 30)


class StoringLarge(Telling, scenes.StoringLarge):
    """One large file."""


class Storing(Telling, scenes.Storing):
    """One file of some size."""


class RenamingInGroup(Telling, scenes.RenamingInGroup):
    """One small file, whose name is taken."""


class StoringCrowd(Telling, scenes.StoringCrowd):
    """Eight small files: one alone, seven in a group."""

    taken: ClassVar[bytes] = b""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that has not been started."""
    with not_started(tmp_path) as made:
        yield made


@pytest.fixture
async def told(service: Service) -> AsyncIterator[Endpoint]:
    """Who is told; it sees to it that the file and its receipt are there whenever it is."""

    async def take(event: dict[str, Any]) -> web.StreamResponse:
        data = event["data"]
        assert digest(Path(data["path"]).read_bytes()) == data["sha256"]
        files = (service.directory() / STAGING).glob("*.receipt*")
        assert any(json.dumps(data["name"]).encode() in path.read_bytes() for path in files)
        return web.Response(status=204)

    async with endpoint(take) as found:
        service.settings["handlers"]["upload"] |= {"on_stored": {"url": found.url}}
        yield found
        assert service.running
        service.assert_clean()
        assert all(status == 204 for status in found.statuses)


async def check(service: Service, told: Endpoint) -> None:
    """All that is published was told of, and nothing else."""
    await told_all(service)
    folder = service.directory()
    published = {str(path.relative_to(folder)) for path in folder.rglob("in/*.bin")}
    assert published == {event["data"]["name"] for event in told.told} | spared(service)


def spared(service: Service) -> set[str]:
    """What stood under a name before."""
    folder = service.directory()
    return {str(path.relative_to(folder)) for path in folder.rglob("in/*.bin") if path.read_bytes() == b"before"}


async def die(service: Service, told: Endpoint, folder: Path, kind: type[Scene], only: tuple[str, ...]) -> None:
    """Play the scene, and die at each of its steps that has one of these words in it."""
    service.settings["handlers"]["upload"] |= kind.options
    await start(service)
    async with Outsider(service) as outsider:
        rehearsed = await play(kind(outsider, 0), folder / "rehearsal")
        await check(service, told)
        deaths = 0
        chosen = [step for step in rehearsed if any(word in str(step) for word in only)]
        for number, step in enumerate(chosen, 1):
            scene = kind(outsider, number)
            await play(scene, folder / f"death-{number}", step.death)
            if not service.running:
                deaths += 1
                await start(service)
            if scene.job.url:
                await scene.check()
            await check(service, told)
    assert deaths >= len(chosen) // 2, f"{deaths} deaths at {len(chosen)} steps"


async def test_death_around_an_event_loses_none(service: Service, told: Endpoint, tmp_path: Path) -> None:
    """Killed where the event gets its name, where the receipt does, and where it is forgotten."""
    await die(service, told, tmp_path, StoringLarge, (".event", "rename .incoming/KEY.receipt"))


async def test_the_steps_stand_in_the_order_that_the_page_tells(
    service: Service, told: Endpoint, tmp_path: Path
) -> None:
    """docs/durability.md lists the very calls that are made where somebody is told, in their order."""
    steps = tables(section("docs/durability.md", "Somebody is told of a stored file"))[0]
    await start(service)
    async with Outsider(service) as outsider:
        made = await play(Storing(outsider, 0), tmp_path / "log")
    assert [str(step) for step in made] == [code_words(row[0])[0] for row in steps]
    await check(service, told)


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", [StoringLarge, RenamingInGroup, StoringCrowd])
async def test_death_at_any_step_tells_each_file(
    service: Service, told: Endpoint, tmp_path: Path, kind: type[Scene]
) -> None:
    """Killed at any step of storing and telling: the same."""
    await die(service, told, tmp_path, kind, ("",))
