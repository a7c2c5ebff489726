"""A clock that tests move."""

import asyncio
import time

import pytest

_TURNS = 20  # of the loop, in which what is due runs


class Clock:
    """Moves `time.time()`, `time.monotonic()` and with them the timers of asyncio's own event loops."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._ahead = 0.0  # seconds

    async def advance(self, seconds: float) -> None:
        """Let so much time pass at once: what is due by then runs, a timer that repeats itself once.

        Raises RuntimeError on another loop, as uvloop's, whose timers cannot be moved.
        """
        if not isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):
            raise RuntimeError("only the timers of asyncio's own event loops can be moved")  # noqa: TRY004
        if not self._ahead:
            for name, real in (("time", time.time), ("monotonic", time.monotonic)):
                self._monkeypatch.setattr(time, name, lambda real=real: real() + self._ahead)
        self._ahead += seconds
        for _ in range(_TURNS):
            await asyncio.sleep(0)
