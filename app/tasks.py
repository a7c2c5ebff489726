"""Supervised background work: an exception is logged and counted, and periodic work goes on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Final

from prometheus_client import Counter

from jackfield.app.logger import get_logger

FAILURES: Final = Counter(
    "jackfield_task_failures", "Background work that failed, by its name", ["task"], registry=None
)
"""For the whole process; every service in it shows it."""

log = get_logger()


async def supervised(name: str, make: Callable[[], Awaitable[None]]) -> bool:
    """Do the work that `make` begins, and tell whether it ended well.

    An exception is logged with its traceback (`task.failed`), counted under `name`, and raised no further.
    CancelledError is raised only if the current task itself is cancelled.
    """
    try:
        await make()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        _failed(name, error)  # something that was awaited has been cancelled: this work has not
    except Exception as error:
        _failed(name, error)
    else:
        return True
    return False


async def periodically(name: str, seconds: float, make: Callable[[], Awaitable[None]]) -> None:
    """Do the work again and again, `seconds` after its last end, until the current task is cancelled."""
    while True:
        await asyncio.sleep(seconds)
        await supervised(name, make)


@contextlib.asynccontextmanager
async def beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do the work beside the block, each part in a task of its own, and cancel it when the block ends."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _failed(name: str, error: BaseException) -> None:
    """A fault of the counter or of the log must not end what is supervised."""
    with contextlib.suppress(Exception):
        FAILURES.labels(name).inc()
    with contextlib.suppress(Exception):
        log.error("task.failed", task=name, exc_info=error)
