"""Work in the background: what it raises reaches who waits, and what nobody foresaw is told, whoever waits."""

import asyncio
import gc
from typing import Any

import pytest
from structlog.testing import capture_logs

from jackfield.app.errors import INTERNAL
from jackfield.app.handler import Failure
from jackfield.app.tasks import FAILURES
from jackfield.handlers.upload import tasks
from jackfield.handlers.upload.wire.words import NO_SPACE


async def _raise(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


def _counted(name: str) -> float:
    return FAILURES.labels(name)._value.get()


async def test_its_result_is_given() -> None:
    """To whoever waits for it."""
    assert await tasks.begin("test", asyncio.sleep(0, 5)) == 5


@pytest.mark.parametrize("error", [Failure(NO_SPACE, "full"), OSError(5, "disk")])
async def test_a_refusal_is_an_answer(error: Exception) -> None:
    """A Failure or OSError is raised for who waits; it is no fault: nothing is logged, and nothing counted."""
    before = _counted("answer")
    with capture_logs() as logs, pytest.raises(type(error)) as raised:
        await tasks.begin("answer", _raise(error))
    assert raised.value is error
    assert (logs, _counted("answer")) == ([], before)


async def test_a_fault_is_told_though_nobody_waits() -> None:
    """It is logged with its traceback and counted, and asyncio has nothing to add."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    before = _counted("lonely")
    with capture_logs() as logs:
        task = tasks.begin("lonely", _raise(ZeroDivisionError()))
        await asyncio.wait([task])
        del task
        gc.collect()
    assert [(log["event"], log["task"], type(log["exc_info"])) for log in logs] == [
        ("task.failed", "lonely", ZeroDivisionError)
    ]
    assert _counted("lonely") == before + 1
    assert not faults


async def test_who_waits_for_what_fails_hears_of_a_fault_of_ours() -> None:
    """It gets a Failure with the word for it, so that a socket ends 1011."""
    with capture_logs(), pytest.raises(Failure) as raised:
        await tasks.begin("test", _raise(ZeroDivisionError()))
    assert raised.value.kind is INTERNAL


async def test_what_is_cancelled_is_no_fault() -> None:
    """It ends as any task does that is cancelled."""
    before = _counted("cancelled")
    task = tasks.begin("cancelled", asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _counted("cancelled") == before
