"""The files of the staging folder. Blocking calls.

    .incoming/lock             held with flock while a service runs; in it, JSON: when the machine was started
    .incoming/<key>.part       the bytes of an open upload
    .incoming/<key>.upload     its manifest, JSON
    .incoming/<key>.receipt    of a stored one, JSON; kept for a while, its mtime says since when
    .incoming/<key>.group      the journal of small files that are being published together: what their receipts will be
    .incoming/<key>.receipts   of such files once they are stored; under the key of the first of them
    .incoming/<key>.event      a second name of a receipt, until all have been told of it that are to be
    .incoming/<key>.events     the same of the receipts of a group
    .incoming/<key>.told       the keys of those of a group of which all have been told, a line each
    .incoming/<key>.failed     a receipt whose receiver was given up
    .incoming/retry            some of these are events again: `jackfield events --retry` has made it
    .incoming/used             who has stored how much, of receipts that went before their day was over
    .incoming/<key>.link       a temporary name, while a file is replaced
    .incoming/*.new            a file that is being written

The key is the SHA-256 of the token: who can read the folder cannot use what lies in it.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from jackfield.handlers.upload.store import records
from jackfield.handlers.upload.store.disk import Disk
from jackfield.handlers.upload.store.lock import FolderLock
from jackfield.handlers.upload.store.records import Checkpoint, Manifest, Member, Stored
from jackfield.handlers.upload.wire.messages import Promise

NAME: Final = ".incoming"


class Staging:
    """The folder `.incoming` in the target directory, on the same file system."""

    def __init__(self, directory: Path, disk: Disk, *, announces: bool = False) -> None:
        self.directory = directory
        self.announces = announces  # whether somebody is to be told of each receipt
        self.folder = directory / NAME
        self.disk = disk
        self._lock = FolderLock(directory, self.folder, disk)

    def open(self) -> None:
        """Make the folders, check that they can be used, and lock them. Raises CannotStart."""
        self._lock.acquire()

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    def now(self) -> float:
        """Seconds since 1970, by the store's own clock: see `FolderLock.now`."""
        return self._lock.now()

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

    def group(self, key: str) -> Path:
        """Where the journal of a group is, the first file of which has this key."""
        return self.folder / f"{key}.group"

    def receipts(self, key: str) -> Path:
        """Where the receipts of such a group are."""
        return self.folder / f"{key}.receipts"

    def event(self, key: str) -> Path:
        """The second name of a receipt, while it is an event."""
        return self.folder / f"{key}.event"

    def events(self, key: str) -> Path:
        """The second name of a group's receipts, while some of them are events."""
        return self.folder / f"{key}.events"

    def told(self, key: str) -> Path:
        """Where it stands which of them are events no more."""
        return self.folder / f"{key}.told"

    def failed(self, key: str) -> Path:
        """A receipt of which nobody will be told any more."""
        return self.folder / f"{key}.failed"

    @property
    def used(self) -> Path:
        """Where it stands who has stored how much, of receipts that went before their day was over."""
        return self.folder / "used"

    @property
    def retry(self) -> Path:
        """What stands here says that some of these are events again."""
        return self.folder / "retry"

    def link(self, key: str) -> Path:
        """A second name of the part, while it replaces a file."""
        return self.folder / f"{key}.link"

    def entries(self) -> Iterator[os.DirEntry[str]]:
        """All that lies in the folder."""
        return self.disk.entries(self.folder)

    # -- what the files say

    def create(self, key: str, promise: Promise, data: bytes, checkpoint: Checkpoint | None) -> Manifest:
        """A new upload: a part with `data`, of which `checkpoint` tells, and its manifest, all durable.

        Raises FileExistsError where there is something left of it, and another OSError; then there may be.
        """
        self.disk.write_new(self.part(key), data, sync=bool(data))
        manifest = Manifest(promise, len(data), self.now(), checkpoint)
        self.save(key, manifest)
        return manifest

    def save(self, key: str, manifest: Manifest) -> None:
        """Replace the manifest, atomically and durably."""
        self.disk.replace_file(self.manifest(key), records.write_manifest(manifest))

    def load(self, key: str) -> Manifest:
        """Read a manifest back. Raises OSError, or ValueError where it is invalid."""
        return records.read_manifest(self.disk.read_file(self.manifest(key), records.LARGEST))

    def save_receipt(self, key: str, stored: Stored) -> None:
        """Write the receipt, durably, and with it the event; its mtime says by our own clock since when it is kept."""
        event = self.event(key) if self.announces else None
        self.disk.replace_file(self.receipt(key), records.write_stored(stored), mtime=self.now(), also=event)

    def load_receipt(self, key: str) -> tuple[Stored, float] | None:
        """The receipt and since when it is kept; None where there is none, or an invalid one. Raises OSError."""
        path = self.receipt(key)
        try:
            stored = records.read_stored(self.disk.read_file(path, records.LARGEST))
            return stored, self.disk.lstat(path).st_mtime
        except (FileNotFoundError, ValueError):
            return None

    def drop_receipt(self, key: str) -> None:
        """Remove the receipt, durably, where there is one. Raises OSError."""
        path = self.receipt(key)
        if self.disk.exists(path):
            self.disk.unlink(path)
            self.disk.sync_folder(self.folder)

    def write_group(self, path: Path, members: Sequence[Member], event: Path, *, sync: bool) -> None:
        """What a group's receipts will be, in a new file; its mtime says since when they are kept.

        `event` is the name under which they are events: they count as soon as the file is called receipts.
        """
        self.disk.write_new(path, records.write_group(members), sync=sync, mtime=self.now())
        if self.announces:
            self.disk.add_name(path, event)

    def replace_group(self, path: Path, members: Sequence[Member], event: Path) -> None:
        """The same in the place of an older one, atomically and durably."""
        also = event if self.announces else None
        self.disk.replace_file(path, records.write_group(members), mtime=self.now(), also=also)

    def withdraw_group(self, path: Path, event: Path) -> None:
        """None of its files was stored: the event goes before the journal, which says that it does not count."""
        if self.announces:
            self.disk.unlink(event)
            self.disk.sync_folder(self.folder)
        self.disk.unlink(path)

    def rewrite_group(self, path: Path, members: Sequence[Member]) -> None:
        """Fewer receipts in the place of those there are; they are kept as long as before."""
        since = self.disk.lstat(path).st_mtime
        self.disk.replace_file(path, records.write_group(members), mtime=since)

    def read_group(self, path: Path) -> Sequence[Member]:
        """Its valid lines: a torn one was never durable. Raises OSError."""
        try:
            return records.read_group(self.disk.read_file(path, records.LARGEST_GROUP))
        except ValueError:
            return ()

    def keys_of_group(self, path: Path) -> Sequence[str]:
        """The keys of all that it tells of. Raises OSError."""
        try:
            return records.keys_of_group(self.disk.read_file(path, records.LARGEST_GROUP))
        except ValueError:
            return ()

    # -- the end of an upload, or of its file

    def discard(self, key: str) -> None:
        """Throw an upload away, so that a power cut does not bring it back."""
        self.disk.unlink(self.event(key))
        self.remove(key)
        self.disk.sync_folder(self.folder)

    def remove(self, key: str) -> None:
        """Throw an upload away: the manifest first, since recovery drops a part without one."""
        for path in (self.manifest(key), self.link(key), self.part(key)):
            self.disk.unlink(path)

    def replace_part(self, key: str, size: int) -> None:
        """Put a file of its own in the place of the part, with its first `size` bytes, durable.

        For a part that must be changed and may not: its file has a name elsewhere, or cannot be trusted.
        """
        new = self.folder / f"{key}.part.new"
        self.disk.unlink(new)
        with self.disk.opened(new, os.O_RDWR | os.O_CREAT | os.O_EXCL) as target:
            if size:
                with self.open_part(key) as source:
                    self.disk.copy(source, target, size)
            self.disk.fsync(target)
        self.disk.replace(new, self.part(key))
        self.disk.sync_folder(self.folder)

    def open_part(self, key: str) -> AbstractContextManager[int]:
        """A descriptor of the part, for reading; never through a link."""
        return self.disk.opened(self.part(key))
