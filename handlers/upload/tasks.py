"""Detached tasks: they run to their end even if the caller is cancelled, and are supervised."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from jackfield.app.errors import INTERNAL
from jackfield.app.handler import Failure, supervised

_T = TypeVar("_T")


def begin(name: str, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
    """Begin the work as a task of its own. Failure and OSError are raised to a caller that awaits it.

    Any other exception is a fault of ours: it is logged with its traceback and counted under `name`, and the caller
    gets Failure `internal_error`.
    """
    task = asyncio.create_task(_supervise(name, work))
    task.add_done_callback(_retrieve)
    task.add_done_callback(lambda _: work.close())  # a task that is cancelled before its first step never began it
    return task


async def _supervise(name: str, work: Coroutine[Any, Any, _T]) -> _T:
    results: list[_T] = []
    refusals: list[Failure | OSError] = []

    async def run() -> None:
        try:
            results.append(await work)
        except (Failure, OSError) as refusal:
            refusals.append(refusal)

    if not await supervised(name, run):
        raise Failure(INTERNAL, "The service failed; its log says why.")
    if refusals:
        raise refusals[0]
    return results[0]


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Mark the exception as retrieved: asyncio would log it where no caller awaits the task any more."""
    if not task.cancelled():
        task.exception()
