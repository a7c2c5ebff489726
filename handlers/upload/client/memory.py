"""Remembers unfinished uploads in a folder, so that the next run goes on where this one stopped."""

import hashlib
import json
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Remembered:
    """An unfinished upload."""

    upload: str  # its URL: the only key to it
    size: int  # bytes of the file when it was begun
    same: bool  # whether the file still looks the same


class Memory:
    """What is remembered of one file that goes to one service under one name.

    The file it lies in is readable for its owner only. Where it cannot be written, the upload goes on
    without it, and says so in the log.
    """

    def __init__(self, folder: Path, path: Path, fingerprint: tuple[int, int, int], url: str, name: str) -> None:
        self._path = os.fspath(path.absolute())
        self._fingerprint = list(fingerprint)
        key = json.dumps([self._path, url, name])
        self._file = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"

    def recall(self) -> Remembered | None:
        """Return what is remembered, if anything."""
        try:
            found = json.loads(self._file.read_text())
            fingerprint = found["fingerprint"]
            return Remembered(str(found["upload"]), int(fingerprint[0]), fingerprint == self._fingerprint)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError):
            _log.warning("cannot read %s, so %s begins anew", self._file, self._path)
            return None

    def keep(self, upload: str) -> None:
        """Remember an upload that was just created."""
        text = json.dumps({"upload": upload, "path": self._path, "fingerprint": self._fingerprint})
        partial = self._file.with_suffix(f".{os.getpid()}")
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial.touch(mode=0o600)
            partial.write_text(text)
            partial.replace(self._file)
        except OSError as error:
            _log.warning("cannot remember the upload of %s: %s", self._path, error)

    def forget(self) -> None:
        """There is nothing to go on with any more."""
        with suppress(OSError):
            self._file.unlink()
