"""A bar for every file under way, for a person at a terminal."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from tqdm import tqdm

from jackfield.handlers.upload.client import Progress
from jackfield.handlers.upload.command.display import Display, visible
from jackfield.handlers.upload.command.files import Job

_NAME: Final = 40  # characters of a file's name beside its bar
_FORM: Final = "{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} {rate_fmt} {remaining}"


class Terminal(Display):
    """Results, errors, and below them the bars."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(as_json=as_json, quiet=False)
        self._bars: dict[Job, tqdm[NoReturn]] = {}

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Take away for good, at the end of the block, the bars of what is not finished."""
        try:
            yield
        finally:
            for job in list(self._bars):
                self._finished(job)

    def progress(self, job: Job, progress: Progress) -> None:
        """Move the bar."""
        super().progress(job, progress)
        bar = self._bars.get(job)
        if bar is None:
            bar = self._bars[job] = _bar(visible(job.file), progress)
        bar.total = progress.size
        bar.update(progress.offset - bar.n)

    def _finished(self, job: Job) -> None:
        super()._finished(job)
        if job in self._bars:
            self._bars.pop(job).close()

    def say(self, text: str) -> None:
        """Tell the person, on standard error."""
        with tqdm.external_write_mode():
            super().say(text)

    def _print(self, line: str) -> None:
        with tqdm.external_write_mode():  # or it would stand in the middle of a bar
            super()._print(line)


def _bar(name: str, progress: Progress) -> "tqdm[NoReturn]":
    tqdm.monitor_interval = 0  # no thread for it: each ack moves the bar
    columns, rows = os.get_terminal_size(sys.stderr.fileno())  # 0 where a terminal does not know
    return tqdm(
        desc=name if len(name) <= _NAME else f"…{name[1 - _NAME :]}", initial=progress.offset, total=progress.size,
        unit="B", unit_scale=True, unit_divisor=1024, leave=False, bar_format=_FORM,
        ncols=columns or 80, nrows=rows or 24, dynamic_ncols=bool(columns and rows),
    )  # fmt: skip
