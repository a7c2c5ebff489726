"""The files of one command: each is here from when it is found until its outcome is reported."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from jackfield.handlers.upload.command.files import Job, Note, Problem

Found = Job | Problem | Note


class Agenda:
    """Finds files as they are wanted, in worker threads, one at a time. `prepare` is called for each, in order."""

    def __init__(self, found: Iterator[Found], prepare: Callable[[Job], None]) -> None:
        self._found = found
        self._prepare = prepare
        self._turn = asyncio.Lock()
        self._later: deque[Found] = deque()  # found, and to be sent one by one
        self._small: dict[str, list[Job]] = {}  # handed to `upload_many`, by their paths
        self._open: set[Job] = set()  # found, and without an outcome
        self.count = 0  # files that were found, or asked for and not found
        self.ended = 0  # of them with an outcome

    async def next(self) -> Found | None:
        """Return the next one; None when there are no more."""
        async with self._turn:
            return self._later.popleft() if self._later else await asyncio.to_thread(self._advance)

    def small_ones(self, small: Callable[[Job], bool]) -> Iterator[Job]:
        """Find the small files, and keep the others for later. For a worker thread."""
        while (found := self._advance()) is not None:
            if isinstance(found, Job) and small(found):
                self._small.setdefault(found.file, []).append(found)
                yield found
            else:
                self._later.append(found)

    def small_one(self, file: str) -> Job:
        """Return the job of a path that `small_ones` gave, once."""
        jobs = self._small[file]
        job = jobs.pop(0)
        if not jobs:
            del self._small[file]
        return job

    def _advance(self) -> Found | None:
        found = next(self._found, None)
        if isinstance(found, Job):
            self._prepare(found)
            self._open.add(found)
        self.count += isinstance(found, Job | Problem)
        return found

    def postpone(self, job: Job) -> None:
        """It could not be sent with the others: it is to be sent by itself."""
        self._later.append(job)

    def end(self, found: Job | Problem) -> None:
        """It has its outcome."""
        if isinstance(found, Job):
            self._open.remove(found)
        self.ended += 1

    @property
    def unsent(self) -> int:
        """How many of those that were found have no outcome."""
        return len(self._open) + sum(isinstance(found, Problem) for found in self._later)

    def find_all(self) -> None:
        """Find what is left, to count it. For a worker thread."""
        while (found := self._advance()) is not None:
            self._later.append(found)
