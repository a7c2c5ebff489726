"""Sends the files of one command: several at once, each with its own outcome, and one exit status for all."""

import asyncio
import hashlib
import logging
import os
import ssl
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp

from jackfield.handlers.upload.client import (
    Changed,
    DigestMismatch,
    NoSpace,
    Receipt,
    Refused,
    TokenConflict,
    Unreachable,
    UploadError,
    cancel,
    upload,
    upload_many,
    upload_stream,
)
from jackfield.handlers.upload.client.connection import Connect, Connection
from jackfield.handlers.upload.client.service import logger, upload_path
from jackfield.handlers.upload.command.agenda import Agenda
from jackfield.handlers.upload.command.display import Display
from jackfield.handlers.upload.command.files import STDIN, Job, Note, Problem, find, standard_input
from jackfield.handlers.upload.command.state import State

_FAILED, _SOME_FAILED, _INTERRUPTED = 1, 7, 75  # EX_TEMPFAIL of sysexits.h: not now, run it again
_STATUS: dict[type[UploadError], int] = {
    Refused: 3,
    DigestMismatch: 5,
    Changed: 5,
    NoSpace: 6,
    Unreachable: 75,
}
_ENDS_ALL = (Refused, Unreachable)  # no other file would fare better


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line."""

    files: list[str]
    url: str
    name: str | None  # for the one file, or folder
    recursive: bool
    jobs: int  # files at once
    resume: bool  # go on with what was sent before
    again: bool  # send also what is stored already
    as_json: bool
    quiet: bool
    tls: ssl.SSLContext | bool  # whom to trust
    headers: dict[str, str]  # of every request: who sends
    timeout: float  # seconds to connect
    give_up: float  # seconds without progress


class _Notes(logging.Handler):
    """Shows what the client logs."""

    def __init__(self, display: Display) -> None:
        super().__init__()
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self._display.note(record.getMessage())


class Command:
    """Sends what the options name. Every file ends as stored, as failed, or as not sent, and that is said."""

    def __init__(self, options: Options, state: State) -> None:
        self._options = options
        self._state = state
        self._service = str(upload_path(options.url).with_user(None))  # what tokens are derived for
        self._found: set[tuple[object, ...]] = set()  # what tokens are made of, of all jobs
        found = find(options.files, recursive=options.recursive, name=options.name)
        self._agenda = Agenda(found, self._tell_apart)
        self._display = _display(as_json=options.as_json, quiet=options.quiet)
        self._connect = _connect()
        self._statuses: set[int] = set()
        self._stored = 0
        self._over = False

    async def run(self) -> int:
        """Send all, and return the exit status."""
        if self._state.trouble is not None:
            self._display.say(self._state.trouble)
        logger.addHandler(_Notes(self._display))
        connector = aiohttp.TCPConnector(limit=0, ssl=self._options.tls)
        try:
            with self._display.showing():
                async with aiohttp.ClientSession(connector=connector, headers=self._options.headers) as session:
                    await self._send_all(session)
            return await self._conclude()
        except asyncio.CancelledError:
            return self._interrupted()

    async def _send_all(self, session: aiohttp.ClientSession) -> None:
        if self._options.recursive:
            await self._send_small_ones(session)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._options.jobs):
                group.create_task(self._work(session))

    # -- tokens

    def _tell_apart(self, job: Job) -> None:
        """Two files of one run have two tokens, and in the next run the same two."""
        if job.found is not None:
            made_of = job.name, job.found.st_size, job.found.st_mtime_ns
            job.apart = (job.file,) if made_of in self._found else ()
            self._found.add(made_of)

    def _token(self, job: Job, found: os.stat_result) -> str | None:
        """Return what the upload of this version of a file is named; None where no later run could go on with it."""
        job.found = found
        version = self._version(job)
        if version is None or job.small:
            return version
        return self._state.begin(self._service, job.name, job.file, version, again=self._options.again)

    def _version(self, job: Job) -> str | None:
        if job.found is None or not self._state.lasting or (self._options.again and job.small):
            return None
        return self._state.token(self._service, job.name, job.found, *job.apart)

    def _small(self, job: Job) -> bool:
        """Whether it can go with others: it is small, and was so when an earlier run has begun with it."""
        return job.small and not self._state.remembers(self._service, job.name, job.file)

    # -- small files

    async def _send_small_ones(self, session: aiohttp.ClientSession) -> None:
        """Folders are full of small files: those go over one socket; the others are left to be sent one by one."""
        options = self._options
        small = ((job.file, job.name, partial(self._token, job)) for job in self._agenda.small_ones(self._small))
        try:
            await upload_many(
                session, options.url, small, done=self._small_one_ended,
                connect_timeout=options.timeout, give_up=options.give_up, connect=self._connect,
            )  # fmt: skip
        except UploadError as error:
            self._display.say(error.detail.rstrip(".") + _hint(error))
            self._failed_with(error)

    def _small_one_ended(self, file: str, outcome: Receipt | UploadError | OSError) -> None:
        job = self._agenda.small_one(file)
        if isinstance(outcome, TokenConflict):
            self._agenda.postpone(job)
        else:
            self._ended(job, outcome)

    # -- one by one

    async def _work(self, session: aiohttp.ClientSession) -> None:
        """Take one after the other."""
        while not self._over and (found := await self._agenda.next()) is not None:
            match found:
                case Job():
                    await self._send(session, found)
                case Problem(file, reason):
                    self._agenda.end(found)
                    self._display.failed(file, reason)
                    self._statuses.add(_FAILED)
                case Note(file, text):
                    self._display.note(f"{file}: {text}")

    async def _send(self, session: aiohttp.ClientSession, job: Job) -> None:
        try:
            if job.file == STDIN:
                outcome = await self._send_stdin(session, job)
            else:
                outcome = await self._send_file(session, job)
        except (UploadError, OSError) as error:
            self._ended(job, error)
        else:
            self._ended(job, outcome)

    async def _send_stdin(self, session: aiohttp.ClientSession, job: Job) -> Receipt:
        options = self._options
        return await upload_stream(
            session, options.url, standard_input(), name=job.name,
            progress=lambda progress: self._display.progress(job, progress),
            connect_timeout=options.timeout, give_up=options.give_up, connect=self._connect,
        )  # fmt: skip

    async def _send_file(self, session: aiohttp.ClientSession, job: Job) -> Receipt:
        """Send it under its token; under another where that one has stored what looked the same, and was not."""
        try:
            return await self._send_once(session, job)
        except TokenConflict:
            if job.size is None:
                raise
            job.apart = (await asyncio.to_thread(_digest, job.file),)
            return await self._send_once(session, job)

    async def _send_once(self, session: aiohttp.ClientSession, job: Job) -> Receipt:
        options = self._options
        sha256 = await self._prepare(session, job)
        try:
            receipt = await upload(
                session, options.url, job.file, name=job.name, sha256=sha256, token=partial(self._token, job),
                resume=options.resume, progress=lambda progress: self._display.progress(job, progress),
                connect_timeout=options.timeout, give_up=options.give_up, connect=self._connect,
            )  # fmt: skip
        except UploadError as error:
            if not error.resumable:
                self._state.ended(self._service, job.name, job.file)
            raise
        self._state.ended(self._service, job.name, job.file)
        return receipt

    async def _prepare(self, session: aiohttp.ClientSession, job: Job) -> str | None:
        """Cancel what was sent of an older version. Returns what to promise: the same as on a socket of many."""
        which = self._service, job.name, job.file
        job.found = await asyncio.to_thread(os.stat, job.file)
        version = self._version(job)
        useless = self._state.useless(*which, version, again=self._options.again)
        if useless is not None:  # forgotten only once this is done
            await cancel(session, self._options.url, useless, connect_timeout=self._options.timeout)
            self._state.ended(*which)
        return await asyncio.to_thread(_digest, job.file) if job.small and version is not None else None

    # -- how it ends

    def _ended(self, job: Job, outcome: Receipt | UploadError | OSError) -> None:
        """Say what became of it."""
        self._agenda.end(job)
        if isinstance(outcome, Receipt):
            self._stored += 1
            self._statuses.add(0)
            self._display.stored(job, outcome)
        elif isinstance(outcome, OSError):
            self._statuses.add(_FAILED)
            self._display.failed(job.file, outcome.strerror or str(outcome), job)
        else:
            self._failed_with(outcome)
            detail = outcome.detail.rstrip(".").removeprefix(f"{job.file} ")
            self._display.failed(job.file, detail + ("" if job.file == STDIN else _hint(outcome)), job)

    def _failed_with(self, error: UploadError) -> None:
        self._statuses.add(_STATUS.get(type(error), _FAILED))
        self._over = self._over or isinstance(error, _ENDS_ALL)

    async def _conclude(self) -> int:
        """Count what is not sent, and see that the sum is right. Returns the exit status.

        One file's own status; several files' common one; otherwise: some failed.
        """
        await asyncio.to_thread(self._agenda.find_all)
        if unsent := self._agenda.unsent:
            self._display.say(f"{unsent} more not sent")
        if unaccounted := self._unaccounted():
            self._display.say(f"{unaccounted} files are unaccounted for, which is a fault of jackfield: run it again")
            self._statuses.add(_FAILED)
        if self._display.output_failed and self._statuses <= {0}:
            return _FAILED
        if len(self._statuses) > 1:
            return _SOME_FAILED
        return next(iter(self._statuses), 0)

    def _unaccounted(self) -> int:
        """How many files are neither stored, nor failed, nor said not to be sent."""
        missing = abs(self._agenda.count - self._agenda.ended - self._agenda.unsent)
        return missing or (self._agenda.unsent if self._statuses <= {0} else 0)

    def _interrupted(self) -> int:
        known = self._state.lasting and not self._options.again  # what is stored, in the next run
        text = "interrupted; run it again" + (" to go on" if known else "")
        if STDIN in self._options.files:
            text = "interrupted; what was sent of standard input is dropped"
        if self._agenda.count > 1:
            failed = self._agenda.ended - self._stored
            text += f" ({self._stored} stored, {failed} failed, {self._agenda.unsent} or more not sent)"
        self._display.say(text)
        return _INTERRUPTED


def _hint(error: UploadError) -> str:
    return "; run it again to go on" if error.resumable and isinstance(error, NoSpace | Unreachable) else ""


def _digest(file: str) -> str:
    with Path(file).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _display(*, as_json: bool, quiet: bool) -> Display:
    """Return the display that fits: bars only where somebody sees them, and where their library is."""
    if quiet or not sys.stderr.isatty():
        return Display(as_json=as_json, quiet=quiet)
    try:
        from jackfield.handlers.upload.command.bars import Terminal  # here: it takes 30 ms
    except ImportError:
        return Display(as_json=as_json, quiet=quiet)
    return Terminal(as_json=as_json)


def _connect() -> Connect:
    """Return how bytes go out: past aiohttp where that can be had."""
    if sys.platform == "win32":
        return Connection
    try:
        from jackfield.handlers.upload.command.direct import connect
    except ImportError:  # bitarray is the service's
        return Connection
    return connect
