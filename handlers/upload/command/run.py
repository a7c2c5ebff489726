"""All the files of one command: several at once, each with its own end, and one exit status for all."""

import argparse
import asyncio
import ssl
import sys
from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import aiohttp

from jackfield.handlers.upload.client import (
    Changed,
    DigestMismatch,
    NoRoom,
    Receipt,
    Refused,
    Unreachable,
    UploadError,
    upload,
    upload_many,
    upload_stream,
)
from jackfield.handlers.upload.client.many import small
from jackfield.handlers.upload.command.display import Display
from jackfield.handlers.upload.command.files import STDIN, Job, Problem, find, standard_input

_FAILED, _SOME_FAILED = 1, 7
_STATUS: dict[type[UploadError], int] = {
    Refused: 3,
    DigestMismatch: 5,
    Changed: 5,
    NoRoom: 6,
    Unreachable: 75,
}
_ENDS_ALL = (Refused, Unreachable)  # no other file would fare better


class Batch:
    """Sends what the arguments name. `memory` is the folder for unfinished uploads, `tls` whom to trust."""

    def __init__(self, arguments: argparse.Namespace, memory: Path, tls: ssl.SSLContext | bool = True) -> None:
        self._tls = tls
        self._arguments = arguments
        self._memory = memory
        self._jobs: Iterator[Job | Problem] = find(arguments.files, recursive=arguments.recursive, name=arguments.name)
        self._display = _display(as_json=arguments.json, quiet=arguments.quiet)
        self._statuses: list[int] = []
        self._over = False

    async def run(self) -> int:
        """Send all, and return the exit status."""
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls)
        with self._display.showing():
            async with aiohttp.ClientSession(connector=connector) as session:
                if self._arguments.recursive:
                    await self._small_ones(session)
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._arguments.jobs):
                        group.create_task(self._work(session))
        if left := sum(1 for _ in self._jobs):
            self._display.say(f"{left} more not tried")
        return self._status()

    async def _small_ones(self, session: aiohttp.ClientSession) -> None:
        """Folders are full of small files: those go over one socket; the others are left to be sent one by one."""
        others: deque[Job | Problem] = deque()
        sent: dict[str, Job] = {}

        def files() -> Iterator[tuple[str, str]]:
            for job in self._jobs:
                if isinstance(job, Problem) or job.file == STDIN or not small(job.file):
                    others.append(job)
                else:
                    sent[job.file] = job
                    yield job.file, job.name

        def done(file: str, outcome: Receipt | UploadError | OSError) -> None:
            self._statuses.append(self._outcome(sent.pop(file), outcome))

        limits = {"connect_timeout": self._arguments.timeout, "give_up": self._arguments.give_up}
        try:
            await upload_many(session, self._arguments.url, files(), done=done, **limits)
        except UploadError as error:
            for job in sent.values():
                self._statuses.append(self._outcome(job, error))
        else:
            for job in sent.values():
                self._statuses.append(self._outcome(job, UploadError("internal_error", "it was not accounted for")))
        self._jobs = chain(others, self._jobs)

    async def _work(self, session: aiohttp.ClientSession) -> None:
        """Take one job after the other. Several of these share the iterator."""
        while not self._over and (job := next(self._jobs, None)):
            if isinstance(job, Problem):
                self._display.failed(job.file, job.reason)
                self._statuses.append(_FAILED)
            else:
                self._statuses.append(await self._one(session, job))

    async def _one(self, session: aiohttp.ClientSession, job: Job) -> int:
        try:
            return self._outcome(job, await self._send(session, job))
        except (UploadError, OSError) as error:
            return self._outcome(job, error)

    def _outcome(self, job: Job, outcome: Receipt | UploadError | OSError) -> int:
        """Say what became of it; its exit status."""
        if isinstance(outcome, Receipt):
            self._display.stored(job, outcome)
            return 0
        if isinstance(outcome, OSError):
            self._display.failed(job.file, outcome.strerror or str(outcome), job)
            return _FAILED
        self._display.failed(job.file, outcome.detail.rstrip(".") + self._hint(outcome, job), job)
        self._over = self._over or isinstance(outcome, _ENDS_ALL)
        return _STATUS.get(type(outcome), _FAILED)

    def _hint(self, error: UploadError, job: Job) -> str:
        again = error.resumable and isinstance(error, NoRoom | Unreachable) and job.file != STDIN
        return "; run it again to go on" if again else ""

    async def _send(self, session: aiohttp.ClientSession, job: Job) -> Receipt:
        arguments = self._arguments
        common = {
            "name": job.name,
            "progress": lambda progress: self._display.progress(job, progress),
            "connect_timeout": arguments.timeout,
            "give_up": arguments.give_up,
        }
        if job.file == STDIN:
            return await upload_stream(session, arguments.url, standard_input(), **common)
        memory, resume = self._memory, not arguments.no_resume
        return await upload(session, arguments.url, job.file, remember=memory, resume=resume, **common)

    def _status(self) -> int:
        """One file's own status; several files' common one; otherwise: some failed."""
        found = set(self._statuses)
        if len(found) > 1:
            return _SOME_FAILED
        return found.pop() if found else 0


def _display(*, as_json: bool, quiet: bool) -> Display:
    """Return the display that fits: bars only where somebody sees them."""
    if quiet or not sys.stderr.isatty():
        return Display(as_json=as_json, quiet=quiet)
    from jackfield.handlers.upload.command.bars import (
        Terminal,  # here: its library takes 30 ms that only a terminal needs
    )

    return Terminal(as_json=as_json)
