"""A scene played to its end, or to the death of the service at one of its steps; and starts that end likewise."""

import asyncio
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import strace
from tests.support.resuming import surviving
from tests.support.scenes import Scene
from tests.support.service import Service, configuration, upload


@contextmanager
def not_started(folder: Path) -> Iterator[Service]:
    """A service that is to be started, in a folder of its own; it is killed if it runs at the end."""
    (folder / "service").mkdir()
    made = Service(folder / "service", configuration(pingpong=None, upload=upload()))
    try:
        yield made
    finally:
        if made.running:
            made.kill()


async def start(service: Service) -> None:
    """Start it anew, on a port that nobody has taken meanwhile."""
    service.port = 0
    await asyncio.to_thread(service.start)


async def start_to_die(service: Service, log: Path, death: str) -> None:
    """Start it and see it killed before it listens."""
    service.prefix = [*strace.words(log, death), "-D"]  # then the process is ours, and strace its child
    with pytest.raises(AssertionError, match="listening"):
        await start(service)
    await _died(service, death)
    service.prefix = []


async def steps_of_start(service: Service, log: Path) -> list[strace.Step]:
    """Start it and kill it; by which steps it came to listen."""
    service.prefix = [*strace.words(log), "-D"]
    await start(service)
    service.kill()
    service.prefix = []
    return _effective(strace.steps(log, service.directory()))


async def play(scene: Scene, log: Path, death: str = "") -> list[strace.Step]:
    """Play a scene, to its end or to this injection; the steps it took that changed something.

    The service may outlive the injection: strace counts by thread, and which thread makes a call is chance.
    """
    service = scene.outsider.service
    await scene.prepare()
    with strace.Tracer(service.pid, log, death) as tracer, surviving():
        await scene.act()
        tracer.spare()
    if tracer.deadly:
        await _died(service, death)
    return _effective(strace.steps(log, service.directory()))


async def _died(service: Service, death: str) -> None:
    assert await asyncio.to_thread(service.wait) == -signal.SIGKILL, death


def _effective(steps: Iterable[strace.Step]) -> list[strace.Step]:
    return [step for step in steps if not step.failed]
