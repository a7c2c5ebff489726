"""Whether handlers have ended, and where those wait that have not."""

import asyncio
import traceback
from collections.abc import Mapping
from types import FrameType
from typing import Any

from jackfield.app.handler import Connection
from jackfield.app.session import Session


async def all_ended(sessions: Mapping[Connection, Session], timeout: float) -> None:
    """Wait for that. Raises AssertionError after so many seconds."""
    ends = asyncio.get_running_loop().time() + timeout
    while sessions:
        if asyncio.get_running_loop().time() > ends:
            places = "".join(f"\n{_place(connection, session.task)}" for connection, session in sessions.items())
            raise AssertionError(f"handlers that have not ended after {timeout:g} s:{places}")
        await asyncio.sleep(0.01)


def _place(connection: Connection, task: asyncio.Task[None] | None) -> str:
    """The connection, and the lines in which its handler waits, the innermost last."""
    client = "is still there" if connection.source.end is None and not connection.lost else "has left"
    lines = "".join(traceback.format_list(traceback.StackSummary.extract((f, f.f_lineno) for f in _frames(task))))
    return f"{connection.request.path} {connection.id}, whose client {client}:\n{lines}"


def _frames(task: asyncio.Task[None] | None) -> list[FrameType]:
    """Those of the coroutines that wait for each other; asyncio tells the outermost alone."""
    found: list[FrameType] = []
    waiting: Any = None if task is None else task.get_coro()
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "ag_frame", None)
        if frame is not None:
            found.append(frame)
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "ag_await", None)
    return found
