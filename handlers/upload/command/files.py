"""Which files to send, and under which names."""

import asyncio
import os
import stat
import unicodedata
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from jackfield.handlers.upload.client.ledger import SMALL

STDIN = "-"
_CHUNK = 1024 * 1024  # bytes


@dataclass(slots=True, eq=False)
class Job:
    """One file to send. Each is itself alone, also where two say the same."""

    file: str  # as the user would say it
    name: str  # to store it under
    found: os.stat_result | None  # what it was when it was last looked at; None for standard input
    apart: tuple[str, ...] = ()  # tells it from what has the same name, size and time

    @property
    def size(self) -> int | None:
        """In bytes, of a regular file."""
        return self.found.st_size if self.found is not None and stat.S_ISREG(self.found.st_mode) else None

    @property
    def small(self) -> bool:
        """Whether it fits in memory until its receipt."""
        return self.size is not None and self.size <= SMALL


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
    """Go through the arguments, and through folders where that is wished. Each argument comes once, however spelt.

    A folder's files are named from the folder's own name on, which `name` replaces. The disk is read on the way:
    this is for a worker thread. An error of one file is a Problem, and the others come all the same.
    """
    seen = set()
    for file in files:
        own = os.path.basename(os.path.abspath(file)) if name is None else name
        if (known := (os.path.realpath(file), own)) in seen:
            continue
        seen.add(known)
        if file == STDIN:
            yield Job(file, _normal(own), None)
        elif not os.path.isdir(file):
            yield _job(file, own)
        elif recursive:
            yield from _walk(file, own)
        else:
            yield Problem(file, "is a folder; -r sends folders")


class _Folder(NamedTuple):
    path: str
    name: str


class _Entry(NamedTuple):
    found: os.DirEntry[str]
    name: str


def _walk(folder: str, prefix: str) -> Iterator[Job | Problem | Note]:
    """Go through a folder and those in it, in the order of their names. They may lie deeper than calls can."""
    waiting: list[_Folder | _Entry | Job | Problem | Note] = [_Folder(folder, prefix)]  # the next one last
    while waiting:
        match waiting.pop():
            case _Folder(path, name):
                waiting.extend(_content(path, name))
            case _Entry(entry, name):
                waiting.append(_kind(entry, name))
            case found:
                yield found


def _content(folder: str, prefix: str) -> list[_Entry] | list[Problem] | list[Note]:
    """Return what is in a folder, the first one last."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name, reverse=True)
    except OSError as error:
        return [Problem(folder, error.strerror or str(error))]
    if not entries:
        return [Note(folder, "is an empty folder, and is not made on the service")]
    return [_Entry(entry, f"{prefix}/{entry.name}" if prefix else entry.name) for entry in entries]


def _kind(entry: os.DirEntry[str], name: str) -> _Folder | Job | Problem:
    try:
        if entry.name.startswith("."):
            return Problem(entry.path, "no part of a name may begin with a dot")
        if entry.is_dir(follow_symlinks=False):
            return _Folder(entry.path, name)
        if entry.is_dir():
            return Problem(entry.path, "is a link to a folder, which could lead in a circle")
    except OSError as error:
        return Problem(entry.path, error.strerror or str(error))
    return _job(entry.path, name)


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
