"""Publishing many small files with two syncs. Blocking calls; the order of the steps is the product here too."""

import contextlib
import ctypes
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jackfield.app.errors import Failure
from jackfield.handlers.upload.store.folders import Folders, sync_folder
from jackfield.handlers.upload.store.publish import Publisher
from jackfield.handlers.upload.store.receipts import Receipts
from jackfield.handlers.upload.store.records import Member
from jackfield.handlers.upload.store.staging import Staging
from jackfield.handlers.upload.wire.messages import Promise, Receipt

_FEW: Final = 4
"""Files below which each is stored for itself: syncing the file system pays for everybody's bytes."""

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A small file, verified, in memory."""

    key: str
    promise: Promise
    data: bytes
    sha256: str

    @property
    def name(self) -> str:
        """The name that was asked for."""
        return self.promise.name


class _File:
    """One of a group on its way; `result` is what it has come to so far."""

    __slots__ = ("fd", "inode", "result", "small")

    def __init__(self, small: SmallFile) -> None:
        self.small = small
        self.fd = -1  # of its part, once there is one
        self.inode = 0
        self.result: Receipt | Exception = Receipt(small.name, len(small.data), small.sha256)


class GroupPublisher:
    """Puts whole small files under their final names, many at a time."""

    def __init__(
        self, staging: Staging, publisher: Publisher, receipts: Receipts, observe: Callable[[float], None]
    ) -> None:
        self._staging = staging
        self._publisher = publisher
        self._receipts = receipts
        self._observe = observe

    def publish(self, group: Sequence[SmallFile]) -> list[Receipt | Exception]:
        """Make each file safe: the steps of `Publisher.publish`, taken for all together.

        1. Write the bytes, and one file for the whole group that tells what is intended: names, sizes, digests.
        2. Sync: from here on a crash is finished at start-up, by that file.
        3. Link the final names. Where one could not be had, or another was, the file is written anew.
        4. Sync: the names outlive a power cut.
        5. The file of the group becomes that of its receipts, the parts go. Neither needs a sync: what
           was intended says the same as a receipt, once the files that it describes are there.

        A file that fails, fails for itself: its exception is its result. A sync that fails fails all.
        Where there are few, they take these steps one after the other.
        """
        if len(group) < _FEW or not _SYNCFS_TELLS:
            return [result for small in group for result in self._publish([small])]
        return self._publish(group)

    def _publish(self, group: Sequence[SmallFile]) -> list[Receipt | Exception]:
        steps = Group(self._staging, self._publisher, group, self._observe)
        try:
            results = steps.publish()
        finally:
            steps.close()
        pairs = zip(group, results, strict=True)
        stored = [small.key for small, result in pairs if isinstance(result, Receipt)]
        if len(group) > 1 and stored:
            self._receipts.add(group[0].key, stored)
        return results


class Group:
    """One group on its way. It is named by the key of its first file."""

    def __init__(
        self, staging: Staging, publisher: Publisher, group: Sequence[SmallFile], observe: Callable[[float], None]
    ) -> None:
        self._staging = staging
        self._publisher = publisher
        self._observe = observe
        self._files = [_File(small) for small in group]
        self._alone = len(group) == 1
        self._key = group[0].key
        self._journal = staging.group(self._key)

    def publish(self) -> list[Receipt | Exception]:
        """Take the steps; what each file has come to."""
        self._each(self._stage)
        self._together(self._intend)
        intended = self._members()
        with Folders(self._staging.directory) as folders:
            self._each(lambda file: self._link(file, folders))
        self._together(lambda: self._make_names_safe(intended))
        self._together(self._conclude)
        self._clean()
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
        """Where it fails nothing is believed: every file of the group has failed, and no name stays."""
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

    def _stage(self, file: _File) -> None:
        file.fd = self._staging.write_part(file.small.key, file.small.data, sync=self._alone)
        file.inode = os.fstat(file.fd).st_ino

    def _intend(self) -> None:
        self._staging.write_group(self._journal, self._members(), sync=self._alone)
        self._sync([self._staging.folder])

    def _members(self) -> list[Member]:
        return [
            Member(file.small.key, file.inode, file.result, file.small.promise)
            for file in self._files
            if isinstance(file.result, Receipt)
        ]

    def _link(self, file: _File, folders: Folders) -> None:
        small = file.small
        name = self._publisher.give_name(small.key, file.fd, folders.of(small.name), small.name)
        if name != small.name:
            file.result = Receipt(name, len(small.data), small.sha256)

    def _make_names_safe(self, intended: Sequence[Member]) -> None:
        members = self._members()
        if members != intended:
            self._rewrite_journal(members)
        self._sync(self._folders(members))

    def _rewrite_journal(self, members: Sequence[Member]) -> None:
        """In one step, and durable before it: files that have their names must never be without their intents."""
        new = self._journal.with_name(f"{self._journal.name}.new")
        self._staging.write_group(new, members, sync=True)
        os.replace(new, self._journal)

    def _folders(self, members: Sequence[Member]) -> list[Path]:
        """All that a new entry may have been made in: from the target directory down, and staging."""
        folders = {self._staging.folder}
        for member in members:
            folders.update(self._staging.directory / parent for parent in Path(member.receipt.name).parents)
        return sorted(folders)

    def _sync(self, folders: Iterable[Path]) -> None:
        begun = time.perf_counter()
        if self._alone:
            for folder in folders:
                sync_folder(folder)
        else:
            sync_file_system(self._staging.folder)
        self._observe(time.perf_counter() - begun)

    def _conclude(self) -> None:
        """Of one that is alone it is a receipt like any other."""
        os.replace(self._journal, (self._staging.receipt if self._alone else self._staging.receipts)(self._key))

    # -- what is left

    def _take_back(self, file: _File) -> None:
        if isinstance(file.result, Receipt):
            self._publisher.take_back(file.small.key, file.result.name, file.fd)

    def _clean(self) -> None:
        """The sweep removes what cannot be removed here."""
        if not self._alive():
            with contextlib.suppress(OSError):
                self._journal.unlink(missing_ok=True)
        for file in self._files:
            if file.fd >= 0:
                with contextlib.suppress(OSError):
                    self._staging.part(file.small.key).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the parts."""
        for file in self._files:
            if file.fd >= 0:
                os.close(file.fd)
                file.fd = -1


def sync_file_system(folder: Path) -> None:
    """syncfs(2): all that was written to the folder's file system is durable. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(fd)


def _syncfs_tells() -> bool:
    """Whether syncfs says that writing failed: Linux does since 5.8."""
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return hasattr(_libc, "syncfs") and version is not None and (int(version[1]), int(version[2])) >= (5, 8)


_SYNCFS_TELLS: Final = _syncfs_tells()
