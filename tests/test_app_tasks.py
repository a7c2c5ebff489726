"""Background work is supervised in one way: a failure is logged and counted, and periodic work goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from jackfield.app import tasks
from jackfield.app.handler import periodically, supervised
from jackfield.app.service import DISPATCHER
from jackfield.app.socket import closing
from jackfield.app.socket.connection import Connection
from jackfield.testing import JackfieldServer
from tests.support.handlers import raw, sections
from tests.test_app_metrics import reached


async def _works() -> None:
    """Nothing goes wrong."""


async def _fails() -> None:
    raise ZeroDivisionError("by nothing")


def counted(name: str) -> float:
    """Failures of this work so far, in the whole process."""
    return float(tasks.FAILURES.labels(name)._value.get())


async def test_a_failure_is_logged_with_its_traceback_and_counted() -> None:
    """Whoever supervises it learns that it failed, and nothing is raised."""
    before = counted("sums")
    with capture_logs() as lines:
        assert await supervised("sums", _works)
        assert not await supervised("sums", _fails)
    (line,) = lines
    assert (line["event"], line["log_level"], line["task"]) == ("task.failed", "error", "sums")
    assert isinstance(line["exc_info"], ZeroDivisionError)
    assert line["exc_info"].__traceback__ is not None
    assert counted("sums") == before + 1


async def test_periodic_work_goes_on_after_a_failure() -> None:
    """Every second turn fails in another way; the next one comes all the same, until it is cancelled."""
    done = asyncio.Event()
    left: list[Exception] = [OSError("the disk"), ValueError("a value"), BrokenPipeError("the log")]

    async def turn() -> None:
        if left:
            raise left.pop()
        done.set()

    work = asyncio.create_task(periodically("turns", 0, turn))
    await done.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


@pytest.mark.parametrize("broken", ["log", "counter"])
async def test_what_cannot_be_logged_or_counted_does_not_end_it(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """A log or a counter that raises takes nothing with it."""

    class Broken:
        """Raises whatever it is asked."""

        def __getattr__(self, name: str) -> Any:
            raise OSError("it is full")

    monkeypatch.setattr(tasks, "log" if broken == "log" else "FAILURES", Broken())
    assert not await supervised("sums", _fails)


async def test_a_cancellation_of_something_else_is_a_failure() -> None:
    """Work whose awaited future was cancelled by others has failed; only who cancels the task itself ends it."""

    async def waits() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    with capture_logs() as lines:
        assert not await supervised("waits", waits)
    assert [line["event"] for line in lines] == ["task.failed"]


@asynccontextmanager
async def _swept(service_heartbeat: float, server: JackfieldServer) -> AsyncIterator[tuple[Any, Any]]:
    service = await server(sections("busy"), heartbeat=service_heartbeat)
    async with raw(service, "/busy") as first, raw(service, "/busy") as second:
        yield service, (first, second)


async def test_the_sweep_of_liveness_outlives_a_fault(
    jackfield_server: JackfieldServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One socket at which the sweep fails is counted; the others are pinged all the same, again and again."""
    async with _swept(0.1, jackfield_server) as (service, (first, second)):
        broken = next(iter(service.app[DISPATCHER].sessions))
        whole = closing.ping

        async def ping(connection: Connection) -> None:
            if connection is broken:
                raise RuntimeError("a bug")
            await whole(connection)

        monkeypatch.setattr(closing, "ping", ping)
        before = counted("liveness")
        await second.frame()
        await first.ended()  # cut after two heartbeats like everybody: the fault did not stop the sweeping
        assert counted("liveness") > before
        await reached(service, "jackfield_task_failures_total", "liveness", value=counted("liveness"))
