"""Whether the disk answers: asked in a thread of its own, so that a hanging disk blocks no thread of the store."""

import asyncio
import contextlib
import os
from pathlib import Path
from threading import Thread
from typing import Final

_LIMIT: Final = 1.0  # seconds that a disk may take to answer


class DiskProbe:
    """Asks the disk of a directory, one question at a time whoever wants to know it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._question: asyncio.Future[bool] | None = None  # set while the disk has not answered

    async def answers(self) -> bool:
        """Whether it answers within a second."""
        if self._question is None:
            self._question = asyncio.get_running_loop().create_future()
            # A daemon: a thread that hangs must not hold up the end of the process.
            Thread(target=self._ask, args=(self._question,), name="probe", daemon=True).start()
        try:
            async with asyncio.timeout(_LIMIT):
                return await asyncio.shield(self._question)
        except TimeoutError:
            return False

    def _ask(self, question: "asyncio.Future[bool]") -> None:
        try:
            os.statvfs(self._directory)
        except OSError:
            answer = False
        else:
            answer = True
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            question.get_loop().call_soon_threadsafe(self._answered, question, answer)

    def _answered(self, question: "asyncio.Future[bool]", answer: bool) -> None:
        self._question = None
        question.set_result(answer)
