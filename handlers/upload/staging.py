"""The staging folder: what lies in it, how its small files are written, how it is locked. Blocking calls.

    .incoming/lock             held with flock while a service runs
    .incoming/<key>.part       the bytes of an open upload
    .incoming/<key>.upload     its manifest, JSON
    .incoming/<key>.receipt    of a stored one, JSON; kept for a while, its mtime says since when
    .incoming/<key>.intent     of a small file that is being published with others: what its receipt will be
    .incoming/<key>.link       a name in passing, while a file is replaced
    .incoming/*.new            a small file that is being written

The key is the SHA-256 of the token: who can read the folder cannot use what lies in it.
"""

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from app.errors import CannotStart
from handlers.upload.messages import Promise, Receipt

NAME: Final = ".incoming"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of an open upload. `durable` bytes are trusted, `touched` is when that was last said.

    `sha256` is there from the moment that the whole file is verified and durable: then a start-up
    finishes what a crash interrupted.
    """

    promise: Promise
    durable: int
    touched: float
    sha256: str | None = None

    def at(self, durable: int, now: float) -> "Manifest":
        """The next one."""
        return replace(self, durable=durable, touched=now, sha256=None)


class Staging:
    """The folder `.incoming` in the target directory, on the same file system."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.folder = directory / NAME
        self._lock: int | None = None
        # Wall time that goes on from what it was at the start: a clock that jumps expires nothing.
        self._epoch = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since 1970, by a clock that does not jump while the service runs."""
        return self._epoch + time.monotonic()

    # -- the folder

    def open(self) -> None:
        """Make the folders, see that they can be used, and lock them. Raises CannotStart."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                self.folder.mkdir(mode=0o700)
            self._check()
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._probe()
        except BlockingIOError:
            self.close()
            raise CannotStart(f"{self.directory} is in use by another service") from None
        except OSError as error:
            self.close()
            raise CannotStart(f"{self.directory} cannot be used for uploads: {error.strerror}") from error

    def _check(self) -> None:
        folder = os.lstat(self.folder)
        if not stat.S_ISDIR(folder.st_mode):
            raise CannotStart(f"{self.folder} is not a folder")
        if folder.st_dev != self.directory.stat().st_dev:
            raise CannotStart(f"{self.folder} is on another file system than {self.directory}")

    def _probe(self) -> None:
        """Publishing is a hard link into the directory: find out now whether there are any."""
        probe, link = self.folder / "probe.new", self.directory / f".probe-{os.getpid()}"
        try:
            probe.touch(mode=0o600)
            os.link(probe, link)
        except PermissionError as error:
            raise CannotStart(f"{self.directory} cannot be written: {error.strerror}") from error
        finally:
            for path in (link, probe):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- paths

    def part(self, key: str) -> Path:
        """Where the bytes are."""
        return self.folder / f"{key}.part"

    def manifest(self, key: str) -> Path:
        """Where the manifest is."""
        return self.folder / f"{key}.upload"

    def receipt(self, key: str) -> Path:
        """Where the receipt is."""
        return self.folder / f"{key}.receipt"

    def intent(self, key: str) -> Path:
        """Where it stands what a small file will be."""
        return self.folder / f"{key}.intent"

    def link(self, key: str) -> Path:
        """A second name of the part, while it replaces a file."""
        return self.folder / f"{key}.link"

    def entries(self) -> Iterator[os.DirEntry[str]]:
        """All that lies in the folder."""
        with os.scandir(self.folder) as entries:
            yield from entries

    # -- small files

    def create(self, key: str, promise: Promise) -> Manifest:
        """A new upload: an empty part and its manifest, both durable."""
        os.close(os.open(self.part(key), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644))
        manifest = Manifest(promise, 0, self.now())
        self.save(key, manifest)
        return manifest

    def save(self, key: str, manifest: Manifest) -> None:
        """Replace the manifest, atomically and durably."""
        self._write(self.manifest(key), asdict(manifest))

    def load(self, key: str) -> Manifest:
        """Read a manifest back. Raises OSError, ValueError, TypeError or KeyError where it is rubbish."""
        fields = json.loads(self._read(self.manifest(key)))
        manifest = Manifest(**{**fields, "promise": Promise(**fields["promise"])})
        if not isinstance(manifest.durable, int) or manifest.durable < 0:
            raise ValueError("durable is no offset")
        float(manifest.touched)
        return manifest

    def save_receipt(self, key: str, receipt: Receipt) -> None:
        """Write the receipt, durably; its mtime says by our own clock since when it is kept."""
        self._write(self.receipt(key), asdict(receipt), self.now())

    def load_receipt(self, key: str) -> tuple[Receipt, float] | None:
        """The receipt and since when it is kept; None where there is none that can be read."""
        try:
            since = os.lstat(self.receipt(key)).st_mtime
            return Receipt(**json.loads(self._read(self.receipt(key)))), since
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def remove(self, key: str) -> None:
        """Throw an upload away: the manifest first, since bytes without one are nobody's."""
        for path in (self.manifest(key), self.intent(key), self.link(key), self.part(key)):
            path.unlink(missing_ok=True)

    def load_intent(self, key: str) -> Receipt | None:
        """What was intended; None where it cannot be read: then it was never durable."""
        try:
            return Receipt(**json.loads(self._read(self.intent(key))))
        except (OSError, ValueError, TypeError):
            return None

    def write_new(self, path: Path, data: bytes, *, sync: bool, mtime: float | None = None) -> None:
        """A file that was not there before; its folder is not synced."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            with open(fd, "wb", buffering=0, closefd=False) as file:
                while data:
                    data = data[file.write(data) :]
            if mtime is not None:
                os.utime(fd, (mtime, mtime))
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)

    def _read(self, path: Path) -> bytes:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            return file.read()

    def _write(self, path: Path, fields: dict[str, Any], mtime: float | None = None) -> None:
        """New file, sync, rename over the old, sync the folder: readers find the old or the new, never a half."""
        new = path.with_name(path.name + ".new")
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(json.dumps(fields).encode())
            if mtime is not None:
                os.utime(fd, (mtime, mtime))
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(new, path)
        sync_folder(self.folder)


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
