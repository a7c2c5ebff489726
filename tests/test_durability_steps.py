"""Death at every step: the service is killed instead of each call by which it changes the disk, one after the other."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import scenes, strace
from tests.support.deaths import not_started, play, start, start_to_die, steps_of_start
from tests.support.documents import PROJECT
from tests.support.outsider import STAGING, Outsider
from tests.support.scenes import Scene
from tests.support.service import Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(strace.unavailable()), reason=strace.unavailable()),
    pytest.mark.timeout(300),  # many starts, each of them short
]

Kind = type[Scene]
SCENES = [
    Scene,
    scenes.Sending,
    pytest.param(scenes.Storing, marks=pytest.mark.torture),  # its steps are some of those of the next one
    scenes.StoringLarge,
    pytest.param(scenes.Renaming, marks=pytest.mark.torture),
    pytest.param(scenes.Replacing, marks=pytest.mark.torture),
    scenes.Restarting,
    scenes.Cancelling,
    pytest.param(scenes.StoringInGroup, marks=pytest.mark.torture),
    scenes.RenamingInGroup,
]

EVERY = pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.torture)])
"""The short form dies at every third step."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that has not been started."""
    with not_started(tmp_path) as made:
        yield made


@pytest.mark.parametrize("kind", SCENES)
@EVERY
async def test_death_at_any_step_loses_nothing(service: Service, tmp_path: Path, kind: Kind, every: int) -> None:
    """Killed at any step, restarted and resumed: whole files only, no second one, and every promise is kept."""
    service.settings["handlers"]["upload"] |= kind.options
    await start(service)
    async with Outsider(service) as outsider:
        rehearsed = await play(kind(outsider, 0), tmp_path / "rehearsal")
        assert len(rehearsed) > 1
        steps, deaths = rehearsed[::every], 0
        for number, step in enumerate(steps, 1):
            scene = kind(outsider, number)
            await play(scene, tmp_path / f"death-{number}", step.death)
            if not service.running:
                deaths += 1
                scene.check_seen()
                await start(service)
            await scene.check()
    # strace counts the calls of each thread, and which of the pool's threads makes one is chance: not each death comes.
    assert deaths >= len(steps) // 2, f"{deaths} deaths at {len(steps)} steps"
    service.assert_clean()


@pytest.mark.torture  # test_upload_store.py has the short form: there the store alone dies while it starts
@pytest.mark.parametrize(
    ("kind", "last"),
    [
        (scenes.StoringLarge, "link in/"),
        (scenes.StoringInGroup, "link in/"),
        (scenes.StoringInGroup, "rename .incoming/KEY.group"),
        (scenes.Storing, "write .incoming/KEY.receipt.new"),
        (scenes.Replacing, "rename .incoming/KEY.link"),
        (scenes.Replacing, "write .incoming/KEY.receipt.new"),
    ],
)
async def test_death_while_recovering_loses_nothing(service: Service, tmp_path: Path, kind: Kind, last: str) -> None:
    """Killed in the middle of a store, and again at any step of the start after it: the same promises."""
    service.settings["handlers"]["upload"] |= kind.options
    await start(service)
    async with Outsider(service) as outsider:
        rehearsed = await play(kind(outsider, 0), tmp_path / "rehearsal")
        scene = kind(outsider, 1)
        fatal = next(step for step in rehearsed if str(step).startswith(last))
        await play(scene, tmp_path / "first-death", fatal.death)
        job, left = scene.job, tmp_path / "left"
        _copy(service.directory(), left)
        for number, step in enumerate(await steps_of_start(service, tmp_path / "start")):
            _copy(left, service.directory())
            await start_to_die(service, tmp_path / f"death-{number}", step.death)
            scene.check_seen()
            await start(service)
            scene.job = replace(job)
            await scene.check()
            service.kill()
    service.assert_clean()


@EVERY
async def test_death_while_starting_leaves_nothing_behind(service: Service, tmp_path: Path, every: int) -> None:
    """Killed at any step of the very first start: nothing stands in the directory, and the next is a first one."""
    for number, step in enumerate((await steps_of_start(service, tmp_path / "rehearsal"))[::every]):
        shutil.rmtree(service.directory(), ignore_errors=True)
        await start_to_die(service, tmp_path / f"death-{number}", step.death)
        if service.directory().exists():
            assert {path.name for path in service.directory().iterdir()} <= {STAGING}, step
    await start(service)
    assert service.stop() == 0


def _copy(folder: Path, place: Path) -> None:
    """The folder as it is, hard links too."""
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run(["cp", "-a", folder, place], check=True)


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("A new upload", Scene),
        ("Bytes become durable", scenes.Sending),
        ("A large upload is stored", scenes.StoringLarge),
        ("Small files on one socket", scenes.RenamingInGroup),
    ],
)
async def test_the_steps_stand_in_the_order_that_the_page_tells(
    service: Service, tmp_path: Path, section: str, kind: Kind
) -> None:
    """docs/durability.md lists the very calls that the service makes, in their order."""
    page = (PROJECT / "docs/durability.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(.*?)` \|", page.partition(f"### {section}\n")[2].partition("\n#")[0], re.MULTILINE)
    service.settings["handlers"]["upload"] |= kind.options
    await start(service)
    async with Outsider(service) as outsider:
        assert [str(step) for step in await play(kind(outsider, 0), tmp_path / "log")] == told
