"""How a handler hears that its socket has ended: raised where it waits for it, or by being cancelled."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, Protocol, TypeVar

from jackfield.app.errors import Close, Disconnected

GRACE: Final = 0.5  # seconds that a handler may be busy with something else once its socket has ended

_T = TypeVar("_T")


class Source(Protocol):
    """Where messages or bytes come from."""

    @property
    def end(self) -> Close | Disconnected | None:
        """How the peer has ended it."""

    @property
    def queued(self) -> bool:
        """Whether there is something that could be taken at once."""

    def wake(self) -> None:
        """End the wait for more: there may be something new."""


SourceT = TypeVar("SourceT", bound=Source)


class Interruptible(Generic[SourceT]):
    """The part of a connection, or of a body, that ends its handler. `source` is where messages or bytes come from."""

    __slots__ = (
        "_checking", "_interruption", "_notified", "_shields", "_taken", "_waiting", "patience", "serving", "source",
    )  # fmt: skip

    def __init__(self, source: SourceT) -> None:
        self.source = source
        self.serving: asyncio.Task[Any] | None = None  # set by `serve_in`
        self.patience = GRACE  # seconds that it may go on after the end, if it has heard of it or has messages to take
        self._taken = 0  # messages, or pieces of a stream, that the handler has taken
        self._interruption: Close | Disconnected | None = None
        self._notified: asyncio.Task[Any] | None = None  # the task to which the end was raised
        self._waiting: asyncio.Task[Any] | None = None  # the task inside `interruptible`
        self._shields = 0
        self._checking = False  # set once `_check` is scheduled

    async def interruptible(self, wait: Coroutine[Any, Any, _T]) -> _T:
        """Await something that `interrupt` may end; what it was given is raised here."""
        reason = self._interruption
        task = asyncio.current_task()
        if reason is not None:
            self._notified = task
            wait.close()
            raise reason
        self._waiting = task
        try:
            return await wait
        except asyncio.CancelledError:
            reason = self._interruption
            if reason is None or task is None:
                raise
            task.uncancel()
            self._notified = task
            raise reason from None
        finally:
            self._waiting = None

    def interrupt(self, reason: Close | Disconnected) -> None:
        """End the socket from outside: raised where the handler waits for it now, or next. The first one counts."""
        if self._interruption is not None:
            return
        self._interruption = reason
        self.source.wake()
        if self._waiting is not None:
            self._waiting.cancel()
        self.on_end()

    @property
    def interruption(self) -> Close | Disconnected | None:
        """What `interrupt` was given."""
        return self._interruption

    # -- cancelling a handler that does not notice the end

    @asynccontextmanager
    async def shielded(self) -> AsyncIterator[None]:
        """The block is not cancelled when the client leaves or the service drains."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1

    def serve_in(self, task: asyncio.Task[Any] | None) -> None:
        """The handler's `serve` begins in this task; None: it has ended, or is never cancelled."""
        self.serving = task
        if self.source.end is not None or self._interruption is not None:
            self.on_end()

    def on_end(self) -> None:
        """The socket has ended: schedule the check whether its handler notices."""
        if not self._checking and self.serving is not None:
            self._checking = True
            loop = asyncio.get_running_loop()
            loop.call_later(GRACE, self._check, self._taken, loop.time())

    def _check(self, taken: int, since: float) -> None:
        """Cancel a handler that has taken nothing from its socket `since` the loop's time, when it had `taken` so many.

        One to which the end was raised, or that has messages left to take, gets `patience` seconds instead of GRACE.
        """
        loop = asyncio.get_running_loop()
        if self.serving is None:
            return
        if self._shields or self._taken != taken:
            taken, since = self._taken, loop.time()
        elif loop.time() - since >= (self.patience if self._may_end_by_itself else GRACE):
            self._interruption = self._interruption or self.source.end
            self.serving.cancel()
            return
        loop.call_later(GRACE, self._check, taken, since)

    @property
    def _may_end_by_itself(self) -> bool:
        return self._notified is self.serving or (self._interruption is None and self.source.queued)
