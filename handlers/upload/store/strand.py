"""The threads of a store, and strands: jobs that run one after the other, on threads that many strands share."""

import asyncio
import errno
import functools
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, ParamSpec, TypeVar

from jackfield.app.errors import CannotStart

_P = ParamSpec("_P")
_T = TypeVar("_T")

_Job = tuple["Future[Any]", Callable[[], Any]]


class Pool(ThreadPoolExecutor):
    """Threads that can be stopped: what runs then goes on to its end, and all else fails with OSError ECANCELED.

    That is also what becomes of jobs that are queued, and of those that come later; none is left without an answer.
    """

    def __init__(self, workers: int, name: str) -> None:
        super().__init__(workers, thread_name_prefix=name)
        self._stopped = False

    def start(self) -> None:
        """Start all threads now: where one cannot be had later, its job is queued though it seems refused.

        Raises RuntimeError where the system gives no more threads; the pool is to be stopped then.
        """
        all_there = threading.Barrier(self._max_workers)
        try:
            for _ in range(self._max_workers):
                super().submit(all_there.wait)
        except RuntimeError:
            all_there.abort()
            raise

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> "Future[Any]":
        """See `Executor`."""
        try:
            return super().submit(self._run, function, *arguments, **options)
        except RuntimeError:  # it is shut down
            refused: Future[Any] = Future()
            refused.set_exception(_cancelled())
            return refused

    def check(self) -> None:
        """Raises OSError ECANCELED once it is stopped."""
        if self._stopped:
            raise _cancelled()

    def _run(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
        self.check()
        return function(*arguments, **options)

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopped = True
        self.shutdown(wait=False)


def _cancelled() -> OSError:
    return OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))


class Strand(Executor):
    """Runs the jobs of one upload in the order they were given, whichever threads of `pool` they get.

    So the next write can be given before the one before it is done, and its thread finds it at once:
    with one job at a time a worker waited 0.5 to 0.8 ms for the event loop after every batch.
    """

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._jobs: deque[_Job] = deque()  # the first one is running, or is about to
        self._lock = Lock()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> "Future[Any]":
        """See `Executor`."""
        future: Future[Any] = Future()
        with self._lock:
            self._jobs.append((future, lambda: function(*arguments, **options)))
            alone = len(self._jobs) == 1
        if alone:
            self._go_on()
        return future

    def _go_on(self) -> None:
        """Queue behind what other strands have given to the pool: one job each, in turn."""
        self._pool.submit(self._run).add_done_callback(self._ran)

    def _run(self) -> None:
        future, job = self._jobs[0]
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)

    def _ran(self, run: "Future[Any]") -> None:
        """The first job is done; where the pool has refused to run it, all of them are refused."""
        refusal = run.exception()
        with self._lock:
            done = [self._jobs.popleft() for _ in range(1 if refusal is None else len(self._jobs))]
            more = bool(self._jobs)
        if refusal is not None:
            for future, _ in done:
                if future.set_running_or_notify_cancel():
                    future.set_exception(refusal)
        elif more:
            self._go_on()


@dataclass(frozen=True, slots=True)
class Threads:
    """The threads of a store. `workers` wait for disks, `writers` write, `digesters` hash."""

    workers: Pool
    writers: Pool
    digesters: Pool

    async def run(self, function: Callable[_P, _T], /, *arguments: _P.args, **options: _P.kwargs) -> _T:
        """Call it in a worker. Raises OSError ECANCELED once the threads are closed."""
        call = functools.partial(function, *arguments, **options)
        return await asyncio.get_running_loop().run_in_executor(self.workers, call)

    def check(self) -> None:
        """Raises OSError ECANCELED once the threads are closed."""
        self.workers.check()

    def start(self) -> None:
        """Start all threads. Raises CannotStart where the system gives no more."""
        try:
            for pool in self._pools:
                pool.start()
        except RuntimeError as error:
            self.stop()
            raise CannotStart(f"The threads of the store cannot be started: {error}") from error

    def stop(self) -> None:
        """Begin nothing more."""
        for pool in self._pools:
            pool.stop()

    @property
    def _pools(self) -> tuple[Pool, Pool, Pool]:
        return self.writers, self.digesters, self.workers

    async def close(self) -> None:
        """Begin nothing more, and wait for what runs; it goes on also where this is cancelled."""
        self.stop()
        for pool in self._pools:
            await asyncio.to_thread(pool.shutdown)
