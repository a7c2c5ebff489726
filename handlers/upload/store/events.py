"""The events of a store: the receipts of which somebody is still to be told. Blocking calls.

A receipt is itself the event: until all have been told of it that are to be, it has a second name in staging. Both
names are made in one durable step. What becomes of an event is a name that goes, or a line that is appended, and
is not synced: after a power cut some are told once more, and that is all.
"""

import threading
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from jackfield.app.handler import get_logger
from jackfield.handlers.upload.store import records
from jackfield.handlers.upload.store.records import DeadLetter, Stored
from jackfield.handlers.upload.store.staging import Staging

log = get_logger()


@dataclass(slots=True, eq=False)
class Event:
    """An event that waits. There may be 100,000 of them, so that all else of it is read when it is needed."""

    key: str
    group: str | None = None  # the key of its group, where it has one
    attempts: int = 0
    delivered: bool = False  # and only the disk does not know it yet


class Events:
    """All events of one store. What has come waits in `arrived`, for whoever tells of it."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._disk = staging.disk
        self._left: dict[str, int] = {}  # by group: how many of it are events
        self._lock = threading.Lock()  # for `_left`
        self.arrived: deque[Event] = deque()

    def open(self) -> None:
        """Look at the files there are, once recovery has put them in order. Raises OSError."""
        self.arrived.clear()
        self._disk.unlink(self._staging.retry)
        names = sorted(entry.name for entry in self._staging.entries())
        self.arrived.extend(Event(key) for key in _keys(names, "event"))
        for group in _keys(names, "events"):
            self._open_group(group)
        for group in _keys(names, "told"):
            if group not in self._left:
                self._disk.unlink(self._staging.told(group))
        if self.arrived and not self._staging.announces:
            log.warning("events.unheard", count=len(self.arrived))

    def _open_group(self, group: str) -> None:
        keys = _untold(self._staging, group)
        self._left[group] = len(keys)
        self.arrived.extend(Event(key, group) for key in keys)
        if not keys:
            self._forget(group)

    # -- events that come

    def add(self, key: str) -> None:
        """There is a receipt, in a file of its own."""
        if self._staging.announces:
            self.arrived.append(Event(key))

    def add_group(self, group: str, keys: Collection[str]) -> None:
        """There are receipts, in the file of a group."""
        if self._staging.announces:
            with self._lock:
                self._left[group] = len(keys)
            self.arrived.extend(Event(key, group) for key in keys)

    @property
    def retried(self) -> bool:
        """Whether an operator wants some to be told again. Raises OSError."""
        return self._disk.exists(self._staging.retry)

    def add_retried(self, known: Iterable[str]) -> None:
        """Add those, which are all that have not these keys. Raises OSError."""
        self._disk.unlink(self._staging.retry)
        names = [entry.name for entry in self._staging.entries()]
        self.arrived.extend(Event(key) for key in sorted(set(_keys(names, "event")).difference(known)))

    # -- what becomes of one

    def read(self, event: Event) -> tuple[Stored, float] | None:
        """What was stored, and how many seconds ago by our own clock; None where it is there no more.

        Raises OSError, or ValueError where it is invalid.
        """
        alone = event.group is None
        path = self._staging.event(event.key) if event.group is None else self._staging.events(event.group)
        try:
            data = self._disk.read_file(path, records.LARGEST if alone else records.LARGEST_GROUP)
            age = self._staging.now() - self._disk.lstat(path).st_mtime
        except FileNotFoundError:
            return None
        stored = records.read_stored(data) if alone else records.find_member(data, event.key)
        return None if stored is None else (stored, age)

    def told(self, event: Event) -> None:
        """All have been told of it: it is no event any more. Raises OSError."""
        if event.group is None:
            self._disk.unlink(self._staging.event(event.key))
            return
        self._disk.append(self._staging.told(event.group), f"{event.key}\n".encode())
        with self._lock:
            self._left[event.group] -= 1
            over = not self._left[event.group]
        if over:
            self._forget(event.group)

    def _forget(self, group: str) -> None:
        del self._left[group]
        with suppress(OSError):  # the next start does it
            self._disk.unlink(self._staging.events(group))
            self._disk.unlink(self._staging.told(group))

    def give_up(self, event: Event, stored: Stored, problem: str) -> None:
        """Nobody will be told of it, unless an operator wants it. Durable before this returns. Raises OSError."""
        letter = DeadLetter(stored.receipt, stored.asked, stored.when, problem)
        self._disk.replace_file(self._staging.failed(event.key), records.write_dead_letter(letter))
        self.told(event)


# -- as another process sees them


def waiting(staging: Staging) -> Iterator[tuple[str, Stored]]:
    """The events that wait, with their keys. What goes meanwhile, or is invalid, is left out. Raises OSError."""
    names = {entry.name for entry in staging.entries()}
    for key in sorted(_keys(names, "event")):
        if not {f"{key}.upload", f"{key}.group"} & names:  # there is a receipt, or there was one
            with suppress(FileNotFoundError, ValueError):
                yield key, records.read_stored(staging.disk.read_file(staging.event(key), records.LARGEST))
    for group in sorted(_keys(names, "events")):
        if f"{group}.group" not in names:
            with suppress(FileNotFoundError, ValueError):
                keys = set(_untold(staging, group))
                for member in staging.read_group(staging.events(group)):
                    if member.key in keys:
                        yield member.key, Stored(member.receipt, member.asked, member.when)


def dead_letters(staging: Staging) -> Iterator[tuple[str, DeadLetter]]:
    """Those that were given up, likewise."""
    for key in sorted(_keys([entry.name for entry in staging.entries()], "failed")):
        with suppress(FileNotFoundError, ValueError):
            yield key, records.read_dead_letter(staging.disk.read_file(staging.failed(key), records.LARGEST))


def retry(staging: Staging, keys: Iterable[str]) -> None:
    """These, which were given up, are events again; a service that runs notices it. Raises OSError."""
    for key in keys:
        staging.disk.touch(staging.failed(key))  # it has its whole time anew
        staging.disk.replace(staging.failed(key), staging.event(key))
    staging.disk.append(staging.retry, b"")


def _keys(names: Iterable[str], kind: str) -> list[str]:
    return [name.removesuffix(f".{kind}") for name in names if name.endswith(f".{kind}")]


def _untold(staging: Staging, group: str) -> list[str]:
    """The keys of those of a group that are events. Raises OSError."""
    try:
        told = set(staging.disk.read_file(staging.told(group), records.LARGEST_GROUP).split(b"\n"))
    except FileNotFoundError:
        told = set()
    return [key for key in staging.keys_of_group(staging.events(group)) if key.encode() not in told]
