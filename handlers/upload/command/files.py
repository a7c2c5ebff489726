"""Which files to send, and under which names."""

import asyncio
import os
import stat
import unicodedata
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

STDIN = "-"
_CHUNK = 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Job:
    """One file to send."""

    file: str  # as the user would say it
    name: str  # to store it under
    found: os.stat_result | None  # what it was when it was found; None for standard input, and where that failed

    @property
    def size(self) -> int | None:
        """In bytes, of a regular file."""
        return self.found.st_size if self.found is not None and stat.S_ISREG(self.found.st_mode) else None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was asked for, and cannot be sent. It is always reported."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something that there is nothing to send of. It is said, and no failure."""

    file: str
    text: str


def find(files: Iterable[str], *, recursive: bool, name: str | None) -> Iterator[Job | Problem | Note]:
    """Go through the arguments, and through folders where that is wished. Each file comes once.

    A folder's files are named from the folder's own name on, which `name` replaces. The disk is read on the way:
    this is for a worker thread. An error of one file is a Problem, and the others come all the same.
    """
    for file in dict.fromkeys(files):
        own = os.path.basename(os.path.abspath(file)) if name is None else name
        if file == STDIN:
            yield Job(file, _normal(own), None)
        elif not os.path.isdir(file):
            yield _job(file, own)
        elif recursive:
            yield from _walk(file, own)
        else:
            yield Problem(file, "is a folder; -r sends folders")


def _walk(folder: str, prefix: str) -> Iterator[Job | Problem | Note]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        yield Problem(folder, error.strerror or str(error))
        return
    if not entries:
        yield Note(folder, "is an empty folder, and is not made on the service")
    for entry in entries:
        try:
            yield from _entry(entry, f"{prefix}/{entry.name}" if prefix else entry.name)
        except OSError as error:
            yield Problem(entry.path, error.strerror or str(error))


def _entry(entry: os.DirEntry[str], name: str) -> Iterator[Job | Problem | Note]:
    if entry.name.startswith("."):
        yield Problem(entry.path, "no part of a name may begin with a dot")
    elif entry.is_dir(follow_symlinks=False):
        yield from _walk(entry.path, name)
    elif entry.is_dir():
        yield Problem(entry.path, "is a link to a folder, which could lead in a circle")
    else:
        yield _job(entry.path, name)


def _job(file: str, name: str) -> Job | Problem:
    try:
        name.encode()
    except UnicodeEncodeError:
        return Problem(file, "is not UTF-8; give it a --name")
    try:
        return Job(file, _normal(name), os.stat(file))
    except (OSError, ValueError) as error:
        return Problem(file, getattr(error, "strerror", None) or str(error))


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


async def standard_input() -> AsyncIterator[bytes]:
    """Yield what comes in. No thread waits for it: that would keep an interrupted program from ending."""
    _widen_pipe()
    await _readable()
    while chunk := await asyncio.to_thread(os.read, 0, _CHUNK):
        yield chunk
        await _readable()


def _widen_pipe() -> None:
    with suppress(ImportError, OSError, AttributeError):  # not Linux, not a pipe
        import fcntl

        fcntl.fcntl(0, fcntl.F_SETPIPE_SZ, _CHUNK)


async def _readable() -> None:
    """Wait until a read of standard input returns at once."""
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    try:
        loop.add_reader(0, arrived.set)
    except (PermissionError, NotImplementedError):  # a regular file, which always is; or Windows
        return
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(0)
