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

from app.errors import Failure
from handlers.upload.messages import Receipt
from handlers.upload.publish import Publisher
from handlers.upload.records import write_record
from handlers.upload.staging import Staging, sync_folder

_FEW: Final = 4
"""Files up to which each is synced for itself: syncing the file system pays for everybody's bytes."""

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Whole:
    """A small file, verified, in memory."""

    key: str
    name: str
    data: bytes
    sha256: str


Results = dict[str, Receipt | Exception]


class GroupPublisher:
    """Puts whole small files under their final names, many at a time."""

    def __init__(self, staging: Staging, publisher: Publisher, observe: Callable[[float], None]) -> None:
        self._staging = staging
        self._publisher = publisher
        self._observe = observe

    def publish(self, group: Sequence[Whole]) -> list[Receipt | Exception]:
        """Make each file safe: the steps of `Publisher.publish`, taken for all together.

        1. Write the bytes and, beside them, what is intended: name, size, digest.
        2. Sync: from here on a crash is finished at start-up, by these intents.
        3. Link the final names. An intent that got another name is written anew.
        4. Sync: the names outlive a power cut.
        5. The intents become the receipts, the parts go. Neither needs a sync: an intent says the same
           as a receipt, once the file that it describes is there.

        A file that fails, fails for itself: its exception stands in its place. A sync that fails fails all.
        """
        few = len(group) < _FEW or not _SYNCFS_TELLS
        results: Results = {}
        self._for_each(group, results, lambda whole: self._stage(whole, sync=few))
        self._sync(results, few, [self._staging.folder])
        self._for_each(group, results, self._link)
        self._sync(results, few, self._folders(group))
        for whole in group:
            self._settle(whole.key, results)
        return [results[whole.key] for whole in group]

    def _for_each(self, group: Sequence[Whole], results: Results, step: Callable[[Whole], Receipt]) -> None:
        for whole in group:
            if isinstance(results.get(whole.key), Exception):
                continue
            try:
                results[whole.key] = step(whole)
            except (Failure, OSError) as error:
                results[whole.key] = error

    def _stage(self, whole: Whole, *, sync: bool) -> Receipt:
        self._staging.write_new(self._staging.part(whole.key), whole.data, sync=sync)
        receipt = Receipt(whole.name, len(whole.data), whole.sha256)
        self._intend(whole.key, receipt, sync=sync)
        return receipt

    def _intend(self, key: str, receipt: Receipt, *, sync: bool) -> None:
        self._staging.write_new(self._staging.intent(key), write_record(receipt), sync=sync, mtime=self._staging.now())

    def _intend_anew(self, key: str, receipt: Receipt) -> None:
        """In one step, and durable before it: a file that has its name already must never be without an intent."""
        intent = self._staging.intent(key)
        new = intent.with_name(f"{intent.name}.new")
        self._staging.write_new(new, write_record(receipt), sync=True, mtime=self._staging.now())
        os.replace(new, intent)

    def _link(self, whole: Whole) -> Receipt:
        name = self._publisher.give_name(whole.key, whole.name)
        receipt = Receipt(name, len(whole.data), whole.sha256)
        if name != whole.name:
            try:
                self._intend_anew(whole.key, receipt)
            except OSError:
                self._take_back(whole.key, name)
                raise
        return receipt

    def _folders(self, group: Sequence[Whole]) -> list[Path]:
        """All that a new entry may have been made in: from the target directory down, and staging."""
        folders = {self._staging.folder, self._staging.directory}
        for whole in group:
            folders.update(self._staging.directory / parent for parent in Path(whole.name).parents)
        return sorted(folders)

    def _sync(self, results: Results, few: bool, folders: Iterable[Path]) -> None:
        """Where it fails nothing is believed: every file of the group has failed."""
        begun = time.perf_counter()
        try:
            if few:
                for folder in folders:
                    if folder.is_dir():
                        sync_folder(folder)
            else:
                sync_file_system(self._staging.folder)
            self._observe(time.perf_counter() - begun)
        except OSError as error:
            for key, result in results.items():
                if isinstance(result, Receipt):
                    self._take_back(key, result.name)
                    results[key] = error

    def _take_back(self, key: str, name: str) -> None:
        with contextlib.suppress(OSError), self._staging.open_part(key) as fd:
            self._publisher.take_back(key, name, fd)

    def _settle(self, key: str, results: Results) -> None:
        result = results[key]
        if isinstance(result, Receipt):
            try:
                os.replace(self._staging.intent(key), self._staging.receipt(key))
            except OSError as error:
                self._take_back(key, result.name)
                results[key] = error
            else:
                with contextlib.suppress(OSError):  # the sweep removes what is left
                    self._staging.part(key).unlink(missing_ok=True)
                return
        with contextlib.suppress(OSError):
            self._staging.remove(key)


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
