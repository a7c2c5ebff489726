"""Output for a person or a script. Results go to standard output, all else to standard error."""

import json
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from jackfield.handlers.upload.client import Progress, Receipt
from jackfield.handlers.upload.command.files import Job

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # control, direction, half a surrogate pair, separators


def visible(text: str) -> str:
    """Return text that is safe to print: what a terminal obeys, or does not show, is written as an escape."""
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in _UNSEEN else c for c in text)


class Display:
    """Results, errors, and one line when the connection is lost; no bars."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.output_failed = False  # results could not be printed: the disk is full, say
        self._json = as_json
        self._quiet = quiet
        self._raw = not sys.stdout.isatty()  # so `sha256sum --check` can read it; a terminal gets what is safe
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
        if receipt.already and not self._quiet:
            self.say(f"{job.file}: already stored")
        if self._json:
            fields = {"file": job.file, "name": receipt.name, "size": receipt.size, "sha256": receipt.sha256}
            self._print(json.dumps(fields | ({"already": True} if receipt.already else {})))
        else:
            line = _checksum_line(receipt)
            self._print(line if self._raw else visible(line))

    def failed(self, file: str, reason: str, job: Job | None = None) -> None:
        """A file is not stored."""
        if job is not None:
            self._finished(job)
        self.say(f"{file}: {reason}")

    def note(self, text: str) -> None:
        """Something worth knowing, and no failure."""
        if not self._quiet:
            self.say(text)

    def _finished(self, job: Job) -> None:
        self._notes.pop(job, None)

    def say(self, text: str) -> None:
        """Tell the person, on standard error."""
        print(f"jackfield upload: {visible(text)}", file=sys.stderr, flush=True)

    def _print(self, line: str) -> None:
        try:
            print(line, flush=True)
        except BrokenPipeError:  # nobody reads results any more; what is under way is still finished
            _discard_output()
        except OSError as error:
            self.output_failed = True
            _discard_output()
            self.say(f"standard output: {error.strerror or error}; what is stored from here on is not printed")


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _checksum_line(receipt: Receipt) -> str:
    """As `sha256sum` prints it: an odd name is escaped, and the line then begins with a backslash."""
    name = receipt.name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if name != receipt.name else ""
    return f"{mark}{receipt.sha256}  {name}"
