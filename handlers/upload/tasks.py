"""Work that goes on to its end, whatever becomes of who asked for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


def begin(work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
    """Begin it as a task. That it fails is no fault of asyncio's, also where nobody waits for it any more."""
    task = asyncio.create_task(work)
    task.add_done_callback(_look_at)
    return task


def _look_at(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
