"""`jackfield upload` as a shell runs it: a process, its standard streams, its exit status."""

import asyncio
import contextlib
import os
import pty
import signal
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.support.service import COMMAND

PATIENCE = 30.0  # seconds a command may take on a busy machine


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines of its standard output."""
        return self.out.splitlines()


class Uploader:
    """Runs the command in `folder`; what it remembers lies in `state`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self._processes: list[Process] = []

    @property
    def remembered(self) -> list[Path]:
        """The files in which unfinished uploads are remembered."""
        return sorted((self.state / "jackfield" / "uploads").glob("*"))

    async def start(
        self, *words: str | Path, stdin: int = PIPE, stdout: int | IO[bytes] = PIPE, stderr: int | IO[bytes] = PIPE
    ) -> Process:
        """Start it, and leave it running."""
        process = await asyncio.create_subprocess_exec(
            COMMAND, "upload", *words, cwd=self.folder, stdin=stdin, stdout=stdout, stderr=stderr,
            env={**os.environ, "XDG_STATE_HOME": str(self.state)},
        )  # fmt: skip
        self._processes.append(process)
        return process

    async def run(self, *words: str | Path, stdin: bytes = b"") -> Done:
        """Run it to its end."""
        return await self.end(await self.start(*words), stdin)

    async def run_on_terminal(self, *words: str | Path) -> tuple[Done, bytes]:
        """Run it to its end with a terminal for standard error, and what that showed."""
        ours, theirs = pty.openpty()
        with os.fdopen(theirs, "wb") as terminal:
            done = await self.end(await self.start(*words, stderr=terminal))
        shown = b""
        with os.fdopen(ours, "rb", buffering=0) as terminal, contextlib.suppress(OSError):
            while chunk := terminal.read(65536):  # Linux raises EIO where nobody holds the other end
                shown += chunk
        return done, shown

    async def end(self, process: Process, stdin: bytes = b"") -> Done:
        """Wait for its end, feeding it what is left of its input."""
        out, err = await asyncio.wait_for(process.communicate(stdin if process.stdin else None), PATIENCE)
        assert process.returncode is not None
        return Done(process.returncode, (out or b"").decode(), (err or b"").decode())

    async def kill(self, process: Process, number: int = signal.SIGKILL) -> Done:
        """Send it a signal, and wait for its end."""
        process.send_signal(number)
        return await self.end(process)

    async def dispose(self) -> None:
        """Kill what is still running."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                await process.communicate()
