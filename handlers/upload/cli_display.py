"""What the person at the terminal sees. Results go to standard output, all else to standard error."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from handlers.upload.cli_files import Job
from handlers.upload.client import Progress, Receipt

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class Display:
    """Results, errors, and one line when the connection is lost; no bars."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self._json = as_json
        self._quiet = quiet
        self._notes: dict[Job, str | None] = {}

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show what goes on for the length of the block."""
        yield

    def progress(self, job: Job, progress: Progress) -> None:
        """The service acknowledged something, or something else is done meanwhile."""
        before = self._notes.get(job)
        self._notes[job] = progress.note
        if progress.note and progress.note != before and not self._quiet:
            self.say(f"{job.file}: {progress.note}")

    def stored(self, job: Job, receipt: Receipt) -> None:
        """A file is stored: one line on standard output, as `sha256sum` or as JSON."""
        self._finished(job)
        if self._json:
            fields = {"file": job.file, "name": receipt.name, "size": receipt.size, "sha256": receipt.sha256}
            self._print(json.dumps(fields))
        else:
            self._print(_checksum_line(receipt))

    def failed(self, file: str, reason: str, job: Job | None = None) -> None:
        """A file is not stored."""
        if job is not None:
            self._finished(job)
        self.say(f"{file}: {reason}")

    def _finished(self, job: Job) -> None:
        self._notes.pop(job, None)

    def say(self, text: str) -> None:
        """Tell the person, on standard error."""
        print(f"jackfield upload: {text}", file=sys.stderr, flush=True)

    def _print(self, line: str) -> None:
        try:
            print(line, flush=True)
        except BrokenPipeError:  # nobody reads results any more; what is under way is still finished
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class Terminal(Display):
    """Also a bar for every file under way."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(as_json=as_json, quiet=False)
        self._bars = _bars()
        self._tasks: dict[Job, TaskID] = {}

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show the bars for the length of the block, and take them away."""
        with self._bars:
            yield

    def progress(self, job: Job, progress: Progress) -> None:
        """Move the bar."""
        super().progress(job, progress)
        if job not in self._tasks:
            self._tasks[job] = self._bars.add_task(job.file, total=progress.size)
        self._bars.update(self._tasks[job], completed=progress.offset)

    def _finished(self, job: Job) -> None:
        if job in self._tasks:
            self._bars.remove_task(self._tasks.pop(job))

    def say(self, text: str) -> None:
        """Tell the person, on standard error."""
        self._bars.console.print(f"jackfield upload: {text}", markup=False, highlight=False, soft_wrap=True)

    def _print(self, line: str) -> None:
        self._bars.stop()  # or the line would stand in the middle of a bar
        super()._print(line)
        self._bars.start()


def display(*, as_json: bool, quiet: bool) -> Display:
    """Return the display that fits: bars only where somebody sees them."""
    if quiet or not sys.stderr.isatty():
        return Display(as_json=as_json, quiet=quiet)
    return Terminal(as_json=as_json)


def _bars() -> "Bars":
    from rich import progress as rich  # here: it takes 50 ms that only a terminal needs
    from rich.console import Console
    from rich.table import Column

    name = Column(no_wrap=True, overflow="ellipsis", ratio=1)  # gives way to the others
    return rich.Progress(
        rich.TextColumn("{task.description}", markup=False, table_column=name),
        rich.BarColumn(bar_width=20),
        rich.TaskProgressColumn(),
        rich.DownloadColumn(),
        rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(),
        console=Console(stderr=True),
        expand=True,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _checksum_line(receipt: Receipt) -> str:
    """As `sha256sum` prints it: an odd name is escaped, and the line then begins with a backslash."""
    name = receipt.name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if name != receipt.name else ""
    return f"{mark}{receipt.sha256}  {name}"
