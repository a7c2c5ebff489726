"""Group commit: many small files are published with two syncs. Blocking calls; the order of the steps matters."""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from jackfield.app.errors import Failure
from jackfield.handlers.upload.store.disk import FOLDER, SYNCFS_TELLS
from jackfield.handlers.upload.store.folders import Folders
from jackfield.handlers.upload.store.publish import Publisher
from jackfield.handlers.upload.store.records import Member
from jackfield.handlers.upload.wire.messages import Promise, Receipt

_FEW: Final = 4
"""Files below which each is a group of its own: syncing the file system pays for everybody's bytes."""


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A small file, complete and verified, in memory."""

    key: str
    promise: Promise
    data: bytes
    sha256: str

    @property
    def name(self) -> str:
        """The name under which it is to be stored."""
        return self.promise.place


def divided(files: Sequence[_T]) -> list[Sequence[_T]]:
    """The groups in which these files are best published."""
    return [files] if len(files) >= _FEW and SYNCFS_TELLS else [[file] for file in files]


class _File:
    """One of a group on its way."""

    __slots__ = ("fd", "named", "part", "path", "result", "small")

    def __init__(self, small: SmallFile, path: Path) -> None:
        self.small = small
        self.path = path  # of its part
        self.fd = -1  # of its part, once there is one
        self.named = False  # it has failed, and may still have a final name
        self.part: os.stat_result | None = None  # set with `fd`
        self.result: Receipt | Exception = Receipt(small.name, len(small.data), small.sha256)  # so far


class Group:
    """One group on its way, named by the key of its first file. `prepare`, then `finish`; and `close` in any case.

    Each file is made safe by the steps of `Publisher.publish`, taken for all together:

    1. Write the bytes, set their attributes, and write one file for the whole group, its journal: names, sizes,
       digests. It is the event, too.
    2. Sync: from here on a crash is finished at start-up, by that file.
    3. Link the final names. Where one could not be had, or another was, the journal is written anew.
    4. Sync: the names outlive a power cut.
    5. The journal becomes the file of its receipts, the parts go. Neither needs a sync: what was intended says the
       same as a receipt, once the files that it describes are there.

    A file that fails, fails for itself: its exception is its result. A sync that fails fails all. A group of one
    syncs its own files and folders; of more the whole file system is synced.
    """

    def __init__(self, publisher: Publisher, files: Sequence[SmallFile]) -> None:
        self._publisher = publisher
        self._staging = publisher.staging
        self._disk = publisher.staging.disk
        self._files = [_File(file, self._staging.part(file.key)) for file in files]
        self._alone = len(files) == 1
        self._key = files[0].key
        self._journal = self._staging.group(self._key)
        self._event = self._staging.event(self._key) if self._alone else self._staging.events(self._key)
        self._attributes = publisher.attributes()
        self._now = time.time()
        self._system = -1  # open before the first byte is written: syncfs tells of what failed since then
        self._journaled: list[Member] = []  # what is in the journal

    def prepare(self) -> None:
        """Steps 1 and 2."""
        self._together(self._open)
        self._each(self._stage)
        self._together(self._write_journal)

    def finish(self) -> list[Receipt | Exception]:
        """Steps 3 to 5; what each file has come to."""
        with self._publisher.folders(sync=self._alone) as folders:
            self._each(lambda file: self._link(file, folders))
            self._together(lambda: self._sync_names(folders))
        self._together(self._conclude)
        self._clean()
        self.close()
        return [file.result for file in self._files]

    def _each(self, step: Callable[[_File], None]) -> None:
        for file in self._alive():
            try:
                step(file)
            except (Failure, OSError) as error:
                file.result = error

    def _alive(self) -> list[_File]:
        return [file for file in self._files if isinstance(file.result, Receipt)]

    def _together(self, step: Callable[[], None]) -> None:
        """A step for the whole group: if it fails, every file has failed, and each name is unlinked."""
        files = self._alive()
        if not files:
            return
        try:
            step()
        except OSError as error:
            for file in files:
                self._take_back(file)
                file.result = error

    # -- the steps

    def _open(self) -> None:
        self._system = self._disk.open(self._staging.folder, FOLDER)

    def _stage(self, file: _File) -> None:
        small = file.small
        try:
            file.fd = self._disk.create(file.path, small.data)
        except FileExistsError:  # left by an upload that could not be removed
            self._staging.remove(small.key)
            file.fd = self._disk.create(file.path, small.data)
        file.part = self._attributes.set(file.fd, small.promise)
        if self._alone:
            self._disk.fsync(file.fd)

    def _write_journal(self) -> None:
        self._journaled = self._members()
        try:
            self._staging.write_group(self._journal, self._journaled, self._event, sync=self._alone)
        except FileExistsError:
            self._disk.unlink(self._journal)
            self._staging.write_group(self._journal, self._journaled, self._event, sync=self._alone)
        if self._alone:
            self._disk.sync_folder(self._system)
        else:
            self._disk.sync_system(self._system)

    def _members(self) -> list[Member]:
        return [
            Member(file.small.key, file.part.st_ino, file.result, file.small.promise, self._now)
            for file in self._files
            if isinstance(file.result, Receipt) and file.part is not None
        ]

    def _link(self, file: _File, folders: Folders) -> None:
        small = file.small
        name = self._publisher.link_name(small.key, file.fd, folders.of(small.name), small.name)
        if name != small.name:
            file.result = Receipt(name, len(small.data), small.sha256)

    def _sync_names(self, folders: Folders) -> None:
        members = self._members()
        if members != self._journaled:
            # In one step, and durable before it: files that have their names must never be without their journal.
            self._staging.replace_group(self._journal, members, self._event)
        if self._alone:
            folders.sync()
        else:
            self._disk.sync_system(self._system)

    def _conclude(self) -> None:
        """The receipt of one that is alone is like any other."""
        target = self._staging.receipt if self._alone else self._staging.receipts
        self._disk.replace(self._journal, target(self._key))
        keys = [file.small.key for file in self._alive()]
        if self._alone:
            self._publisher.receipts.add(self._key)
            self._publisher.events.add(self._key)
        else:
            self._publisher.receipts.add_group(self._key, keys)
            self._publisher.events.add_group(self._key, keys)

    # -- what is left

    def _take_back(self, file: _File) -> None:
        if isinstance(file.result, Receipt) and file.part is not None:
            file.named = True
            with contextlib.suppress(OSError):
                file.named = not self._publisher.take_back(file.small.key, file.result.name, file.part)

    def _clean(self) -> None:
        """The next attempt, a start or the sweep removes what cannot be removed here.

        The part of a file that still has its name stays, and so does the journal: they say whose it is.
        """
        if not self._alive() and not any(file.named for file in self._files):
            with contextlib.suppress(OSError):
                self._staging.withdraw_group(self._journal, self._event)
        for file in self._files:
            if file.fd >= 0 and not file.named:
                self._remove_part(file)

    def _remove_part(self, file: _File) -> None:
        with contextlib.suppress(OSError):
            self._disk.unlink(file.path)

    def close(self) -> None:
        """Close the descriptors."""
        descriptors = [self._system, *(file.fd for file in self._files)]
        self._system = -1
        for file in self._files:
            file.fd = -1
        for fd in descriptors:
            if fd >= 0:
                self._disk.close(fd)
