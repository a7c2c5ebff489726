"""The receipts that are kept: one to a file, or those of a whole group in one file. Blocking calls."""

import os
import threading
import zlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from jackfield.handlers.upload.store.records import Member, Stored
from jackfield.handlers.upload.store.staging import Staging

_BEGINNING: Final = 8  # bytes of a key that are remembered; the whole key is in the file
_SLOTS: Final = 2**20  # of the filter: with 100,000 receipts it lets a tenth of unknown keys through


class Receipts:
    """Finds a receipt by its key.

    A receipt in a file of its own costs no memory: its key is its name. Of those that share a file eight bytes each
    are kept in memory, so that 100,000 of them take 1 MB, and looking through all of them 0.1 ms.
    """

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._lock = threading.Lock()  # for a file that is read, changed and written
        self._groups: dict[str, bytes] = {}  # by the key that names the file: the beginnings of all keys in it
        self._filter = bytearray(_SLOTS)  # a Bloom filter with one hash; somebody else's file may have any name

    def open(self) -> None:
        """Look at the files there are. Raises OSError."""
        for entry in self._staging.entries():
            key, _, kind = entry.name.partition(".")
            if kind == "receipts":
                self.add_group(key, self._staging.keys_of_group(self._staging.receipts(key)))
            elif kind == "receipt":
                self.add(key)

    def add(self, key: str) -> None:
        """There is a new one, in a file of its own."""
        self._filter[_slot(key)] = 1

    def add_group(self, group: str, keys: Sequence[str]) -> None:
        """There is a new file, with the receipts of these keys."""
        self._groups[group] = b"".join(map(_beginning, keys))
        for key in keys:
            self.add(key)

    def may_have(self, key: str) -> bool:
        """Whether there may be a receipt. This does not look at the disk, and may be asked by any thread."""
        return self._filter[_slot(key)] == 1

    def drop(self, group: str) -> None:
        """That file is gone."""
        self._groups.pop(group, None)

    def forget(self, key: str) -> None:
        """Drop one, durably. Raises OSError."""
        self._staging.drop_receipt(key)
        with self._lock:
            for group in self._groups_of(key):
                path = self._staging.receipts(group)
                members = [member for member in self._staging.read_group(path) if member.key != key]
                self._staging.rewrite_group(path, members)
                self.add_group(group, [member.key for member in members])

    def _groups_of(self, key: str) -> list[str]:
        """The files that may have it."""
        beginning = _beginning(key)
        # A copy: other threads change it.
        return [group for group, beginnings in list(self._groups.items()) if beginning in beginnings]

    def find(self, key: str) -> tuple[Stored, float] | None:
        """The receipt, and since when it is kept (seconds since 1970, by the clock of staging). Raises OSError."""
        found = self._staging.load_receipt(key)
        if found is not None:
            return found
        for group in self._groups_of(key):
            path = self._staging.receipts(group)
            with suppress(FileNotFoundError):
                for member in self._staging.read_group(path):
                    if member.key == key:
                        return Stored(member.receipt, member.asked), self._staging.disk.lstat(path).st_mtime
        return None

    def read(self, key: str, kind: str) -> Sequence[Stored | Member]:
        """All that the file of this key tells; `kind` is `receipt` or `receipts`. Raises OSError."""
        if kind == "receipts":
            return self._staging.read_group(self._staging.receipts(key))
        found = self._staging.load_receipt(key)
        return [] if found is None else [found[0]]


def _slot(key: str) -> int:
    return zlib.crc32(os.fsencode(key)) % _SLOTS


def _beginning(key: str) -> bytes:
    return bytes.fromhex(key[: 2 * _BEGINNING])
