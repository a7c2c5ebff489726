"""Standard error for the log: writing a line never waits and never fails.

Lines go through a bounded queue to one thread. If the pipe is closed or not read, or the disk is full or hangs, lines
are dropped and counted, and nothing else happens.
"""

import os
import select
import sys
import threading
from collections.abc import Iterable
from queue import Empty, SimpleQueue
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

QUEUED: Final = 4 * 1024 * 1024  # bytes of lines that wait for standard error; further lines are lost
_BATCH: Final = 64 * 1024  # bytes given to one call of `write`

_Item = bytes | threading.Event


class LineWriter(Collector):
    """Writes lines in order to a descriptor, in a thread of its own. As a collector of Prometheus it shows `lost`."""

    def __init__(self, descriptor: int | None) -> None:
        self.lost = 0  # lines that nobody will read
        self._descriptor = descriptor  # None: standard error was closed before we began
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._queued = 0  # bytes in the queue
        self._lock = threading.RLock()  # reentrant: what the garbage collector finalizes within may log, too
        self._torn = False  # the last line was written in part
        self._thread: threading.Thread | None = None  # from the first line on

    def write(self, line: str) -> None:
        """Queue one line, without its line feed. Never waits, never raises."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            if self._queued + len(data) > QUEUED:
                self.lost += 1
                return
            self._queued += len(data)
            self._queue.put(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()

    def lose(self) -> None:
        """Count a line that could not even be made."""
        with self._lock:
            self.lost += 1

    def flush(self, seconds: float) -> bool:
        """Wait until all that is queued has been written or lost, or until the time is over; tell which."""
        done = threading.Event()
        self._queue.put(done)
        return self._thread is None or done.wait(seconds)

    def collect(self) -> Iterable[Metric]:
        """For Prometheus."""
        return [CounterMetricFamily("jackfield_log_lines_lost", "Lines of the log that were not written", self.lost)]

    # -- the thread

    def _run(self) -> None:
        while True:
            lines, done = self._batch()
            if lines:
                self._write_all(lines)
            if done is not None:
                done.set()

    def _batch(self) -> tuple[list[bytes], threading.Event | None]:
        """Wait for a line, and take those that are there behind it, as far as the next `flush`."""
        lines: list[bytes] = []
        size = 0
        try:
            item = self._queue.get()
            while not isinstance(item, threading.Event):
                lines.append(item)
                size += len(item)
                if size >= _BATCH:
                    return lines, None
                item = self._queue.get_nowait()
        except Empty:
            return lines, None
        return lines, item

    def _write_all(self, lines: list[bytes]) -> None:
        """Write them, or lose those that cannot be written; a line that was torn is ended before the next."""
        data = (b"\n" if self._torn else b"") + b"".join(lines)
        written = 0
        try:
            while written < len(data):
                written += self._write_some(data[written:])
        except OSError:
            lost = data.count(b"\n", written)
        else:
            lost = 0
        if written:
            self._torn = data[written - 1] != ord("\n")
        with self._lock:
            self._queued -= sum(map(len, lines))
            self.lost += lost

    def _write_some(self, data: bytes) -> int:
        if self._descriptor is None:
            raise OSError("there is no standard error")
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # whoever shares the pipe with us has made it non-blocking
            select.select([], [self._descriptor], [])
            return 0


STANDARD_ERROR: Final = LineWriter(None if sys.__stderr__ is None else 2)
"""The one of this process."""
