"""A hook that is a command: run without a shell, the event on its standard input."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
from asyncio.subprocess import Process
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

_KEPT: Final = 4096  # bytes of its output that are looked at
_LINE: Final = 500  # characters of the first line of it
_GRACE: Final = 2.0  # seconds from SIGTERM to SIGKILL
_PLACE: Final = re.compile(r"\{(path|name|id)\}")


@dataclass(frozen=True, slots=True)
class Ended:
    """A program has ended: its exit status, negative where a signal has ended it, and the first line of its output."""

    status: int
    line: str


class _Head(asyncio.Protocol):
    """Reads all of an output, and keeps its beginning."""

    def __init__(self) -> None:
        self.data = b""
        self.over = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.data += data[: _KEPT - len(self.data)]

    def connection_lost(self, _: Exception | None) -> None:
        self.over.set()


def filled(words: Sequence[str], places: Mapping[str, str]) -> list[str]:
    """The words of a command, with what `{path}`, `{name}` and `{id}` stand for; what they bring is not looked at."""
    return [_PLACE.sub(lambda found: places[found[1]], word) for word in words]


async def run(words: Sequence[str], event: bytes, limit: float, *, errors: bool) -> Ended:
    """Run it to its end. Its output is what it writes to standard output, and with `errors` to standard error too.

    Raises TimeoutError after `limit` seconds, or OSError where it cannot be begun. It is ended, with all that it has
    begun, before this raises; also where this is cancelled.
    """
    head = _Head()
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "wb", buffering=0) as output, _file_of(event) as given:
            process = await _begin(words, given, output, output if errors else subprocess.DEVNULL)
    except BaseException:
        os.close(reading)
        raise
    pipe = os.fdopen(reading, "rb", buffering=0)
    try:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: head, pipe)
        try:
            async with asyncio.timeout(limit):
                status = await process.wait()
            with contextlib.suppress(TimeoutError):  # what it has begun may still hold its output
                async with asyncio.timeout(_GRACE):
                    await head.over.wait()
        finally:
            transport.close()
    finally:
        await asyncio.shield(_end(process))
    return Ended(status, _first_line(head.data))


async def _begin(words: Sequence[str], given: int, output: IO[bytes], errors: IO[bytes] | int) -> Process:
    """Begin it. Where this is cancelled meanwhile it may run already: then it is ended, with all that it has begun."""
    beginning = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *words, stdin=given, stdout=output, stderr=errors, start_new_session=True,
        )
    )  # fmt: skip
    try:
        return await asyncio.shield(beginning)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            await _end(await beginning)
        raise


@contextlib.contextmanager
def _file_of(data: bytes) -> Iterator[int]:
    """A descriptor from which it can be read: no pipe, which would have to be written while the program runs."""
    fd = os.memfd_create("event", os.MFD_CLOEXEC)
    try:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    _signal(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GRACE):
            await process.wait()
    _signal(process.pid, signal.SIGKILL)
    await process.wait()


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _first_line(data: bytes) -> str:
    line = data.decode("utf-8", "replace").strip().partition("\n")[0]
    return "".join(char for char in line if char.isprintable())[:_LINE]
