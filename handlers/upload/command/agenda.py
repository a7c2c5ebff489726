"""The files of one command: each is here from when it is found until its outcome is reported."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from jackfield.handlers.upload.client.ledger import Entry
from jackfield.handlers.upload.command.files import Job, Note, Problem

Found = Job | Problem | Note


class Agenda:
    """Finds files as they are wanted, in worker threads, one at a time. `draw` gives a file its token."""

    def __init__(self, found: Iterator[Found], draw: Callable[[Job], str | None]) -> None:
        self._found = found
        self._draw = draw
        self._turn = asyncio.Lock()
        self._later: deque[Found] = deque()  # found, and to be sent one by one
        self._small: dict[str, list[Job]] = {}  # handed to `upload_many`, by their paths
        self._open: dict[Job, str | None] = {}  # found, and without an outcome; their tokens
        self.count = 0  # files that were found, or asked for and not found
        self.ended = 0  # of them with an outcome

    async def next(self) -> Found | None:
        """Return the next one; None when there are no more."""
        async with self._turn:
            return self._later.popleft() if self._later else await asyncio.to_thread(self._advance)

    def small_ones(self) -> Iterator[Entry]:
        """Find the small files, and keep the others for later. For a worker thread."""
        while (found := self._advance()) is not None:
            if isinstance(found, Job) and found.size is not None and not found.large:
                self._small.setdefault(found.file, []).append(found)
                yield found.file, found.name, self._open[found]
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
            self._open[found] = self._draw(found)
        self.count += isinstance(found, Job | Problem)
        return found

    def token(self, job: Job) -> str | None:
        """Return the token it is to be sent with; None for one that has no outcome to remember."""
        return self._open[job]

    def postpone(self, job: Job) -> None:
        """It could not be sent with the others: it is to be sent by itself."""
        self._later.append(job)

    def end(self, found: Job | Problem) -> None:
        """It has its outcome."""
        if isinstance(found, Job):
            del self._open[found]
        self.ended += 1

    @property
    def unsent(self) -> int:
        """How many of those that were found have no outcome."""
        return len(self._open) + sum(isinstance(found, Problem) for found in self._later)

    def find_all(self) -> None:
        """Find what is left, to count it. For a worker thread."""
        while (found := self._advance()) is not None:
            self._later.append(found)
