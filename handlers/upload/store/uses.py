"""Who has stored how much in the last 24 hours: by the receipts, and by a record of those that are gone. Blocking."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from jackfield.handlers.upload.store import records
from jackfield.handlers.upload.store.contract import ACCOUNTED, Use
from jackfield.handlers.upload.store.receipts import Receipts
from jackfield.handlers.upload.store.records import Member, Stored, Used
from jackfield.handlers.upload.store.staging import Staging

STEP: Final = 600.0
"""Seconds whose bytes are told together."""

_LARGEST: Final = 32 * 2**20  # bytes of the record; a larger one is none


class Uses:
    """`staging` has receipts that are kept for a while; where that is shorter than a day, what they said is noted."""

    def __init__(self, staging: Staging, receipts: Receipts) -> None:
        self._staging = staging
        self._receipts = receipts
        self._lock = threading.Lock()
        self._noted: list[Used] = []  # of receipts that have gone since the record was written

    def read(self, end: float) -> list[Use]:
        """What was stored in the day before `end` (seconds since 1970, by the clock of staging). Raises OSError."""
        sums: Counter[tuple[str | None, str, int]] = Counter()
        for used in [*self._record(), *self._of_receipts(end - ACCOUNTED, end)]:
            if end - ACCOUNTED <= used.at < end:
                sums[used.user, used.remote, int((end - used.at) // STEP)] += used.size
        return [Use(user, remote, step * STEP, size) for (user, remote, step), size in sums.items()]

    def note(self, stored: Iterable[Stored | Member], since: float) -> None:
        """These receipts go before their day is over."""
        if self._staging.now() - since < ACCOUNTED:
            with self._lock:
                self._noted += _uses(stored, since)

    def save(self) -> None:
        """Write down what was noted, durably; drop what is older than a day. Raises OSError."""
        with self._lock:
            before, begin = self._record(), self._staging.now() - ACCOUNTED
            kept = [used for used in [*before, *self._noted] if used.at >= begin]
            if self._noted or len(kept) < len(before):
                self._staging.disk.replace_file(self._staging.used, records.write_used(_together(kept)))
                self._noted.clear()

    def _record(self) -> Sequence[Used]:
        with suppress(FileNotFoundError, ValueError):
            return records.read_used(self._staging.disk.read_file(self._staging.used, _LARGEST))
        return ()

    def _of_receipts(self, begin: float, end: float) -> Iterator[Used]:
        for entry in self._staging.entries():
            key, _, kind = entry.name.partition(".")
            if kind not in ("receipt", "receipts"):
                continue
            with suppress(FileNotFoundError):  # it was dropped meanwhile
                since = entry.stat(follow_symlinks=False).st_mtime
                if begin <= since < end:
                    yield from _uses(self._receipts.read(key, kind), since)


def _uses(stored: Iterable[Stored | Member], since: float) -> Iterator[Used]:
    for each in stored:
        origin = each.asked.origin
        if origin is not None:
            yield Used(origin.user, origin.remote, since, each.receipt.size)


def _together(uses: Iterable[Used]) -> list[Used]:
    """One for each caller and step."""
    sums: dict[tuple[str | None, str, float], Used] = {}
    for used in uses:
        key = used.user, used.remote, used.at // STEP
        before = sums.get(key)
        newest = used.at if before is None else max(before.at, used.at)
        sums[key] = Used(used.user, used.remote, newest, used.size + (before.size if before is not None else 0))
    return list(sums.values())
