"""Which files to send, and under which names."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

STDIN = "-"
_CHUNK = 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Job:
    """One file to send."""

    file: str  # as the user would say it
    name: str  # to store it under


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was asked for, and cannot be sent. It is never left out in silence."""

    file: str
    reason: str


def find(files: Iterable[str], *, recursive: bool, name: str | None) -> Iterator[Job | Problem]:
    """Go through the arguments, and through folders where that is wished. Each file comes once.

    A folder's files are named from the folder's own name on, which `name` replaces.
    """
    for file in dict.fromkeys(files):
        own = name or os.path.basename(os.path.abspath(file))
        if file == STDIN or not Path(file).is_dir():
            yield Job(file, own)
        elif recursive:
            yield from _walk(file, own)
        else:
            yield Problem(file, "is a folder; -r sends folders")


def _walk(folder: str, prefix: str) -> Iterator[Job | Problem]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        yield Problem(folder, error.strerror or str(error))
        return
    for entry in entries:
        name = f"{prefix}/{entry.name}" if prefix else entry.name
        if entry.name.startswith("."):
            yield Problem(entry.path, "no part of a name may begin with a dot")
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, name)
        elif Path(entry.path).is_dir():  # False, and no exception, for a link that leads to itself
            yield Problem(entry.path, "is a link to a folder, which could lead in a circle")
        else:
            yield Job(entry.path, name)


async def standard_input() -> AsyncIterator[bytes]:
    """Yield what comes in. No thread waits for it: that would keep an interrupted program from ending."""
    with suppress(OSError, AttributeError):  # not a pipe, not Linux
        fcntl.fcntl(0, fcntl.F_SETPIPE_SZ, _CHUNK)
    await _readable()
    while chunk := await asyncio.to_thread(os.read, 0, _CHUNK):
        yield chunk
        await _readable()


async def _readable() -> None:
    """Wait until a read of standard input returns at once."""
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    try:
        loop.add_reader(0, arrived.set)
    except PermissionError:  # a regular file, which always is
        return
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(0)
