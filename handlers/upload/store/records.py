"""The records in staging (manifest, receipt, journal, clock): printed, parsed and strictly validated. Pure.

A power cut, a failing disk or another program may have left anything there. A record that is not exactly
what we write is a ValueError: nothing of it is used, above all no name that leads out of the directory.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import AfterValidator, Field, TypeAdapter

from jackfield.app.errors import Failure
from jackfield.handlers.upload.wire.messages import Promise, Receipt
from jackfield.handlers.upload.wire.names import check_name

LARGEST: Final = 64 * 1024  # bytes of such a file; what is larger is none
LARGEST_GROUP: Final = 1024 * 1024  # bytes of one that tells of a whole group
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_HEADER: Final = re.compile(r"[\x20-\x7e]*")  # what may be given back as the value of a header
_KEYS: Final = re.compile(rb'^\{"key":"([0-9a-f]{64})"', re.MULTILINE)

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0)]


def _checked(said: Promise) -> Promise:
    """The checks of `wire.messages`, for what comes from the disk."""
    try:
        check_name(said.name)
        check_name(said.place)
    except Failure as failure:
        raise ValueError(failure.detail) from None
    if any(size is not None and size < 0 for size in (said.size, said.length)):
        raise ValueError("a negative size")
    if said.sha256 is not None and not _DIGEST.fullmatch(said.sha256):
        raise ValueError("no digest")
    if said.metadata is not None and not _HEADER.fullmatch(said.metadata):
        raise ValueError("no metadata")
    return said


def _checked_receipt(given: Receipt) -> Receipt:
    _checked(Promise(given.name, given.size, given.sha256))
    return given


_Promise = Annotated[Promise, AfterValidator(_checked)]
_Receipt = Annotated[Receipt, AfterValidator(_checked_receipt)]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The first `size` bytes of a part have this digest: they are not what was written if they have another."""

    size: _Count
    sha256: _Digest


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of an open upload.

    `durable` bytes are trusted. `touched` is when that was last written, in seconds since 1970 by the clock of
    staging. `complete` is the modification time of the part in nanoseconds; it is set once the whole file is verified,
    durable, and proved by `checkpoint`: from then on a start-up finishes what a crash interrupted.
    """

    promise: _Promise
    durable: _Count
    touched: Annotated[float, Field(allow_inf_nan=False)]
    checkpoint: Checkpoint | None = None
    complete: _Count | None = None

    def proved(self, size: int) -> str | None:
        """The digest that a file of `size` bytes must have; None where none is known."""
        return self.checkpoint.sha256 if self.checkpoint is not None and self.checkpoint.size == size else None


@dataclass(frozen=True, slots=True)
class Stored:
    """A receipt, the promise that was asked for when the upload was created, and when it was stored.

    `when` is in seconds since 1970, by the system's clock.
    """

    receipt: _Receipt
    asked: _Promise
    when: Annotated[float, Field(allow_inf_nan=False)] = 0.0


@dataclass(frozen=True, slots=True)
class Member:
    """A small file that is, or will be, published with others: its bytes are in the file with this inode."""

    key: _Digest
    inode: _Count
    receipt: _Receipt
    asked: _Promise
    when: Annotated[float, Field(allow_inf_nan=False)] = 0.0  # as in `Stored`


@dataclass(frozen=True, slots=True)
class DeadLetter(Stored):
    """An event that was given up, and the problem of the last attempt. What reads a `Stored` reads it, too."""

    problem: str = ""


@dataclass(frozen=True, slots=True)
class Clock:
    """When the machine was started, in seconds since 1970, as it was first known. `boot` tells which start that was."""

    boot: str
    started: Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Used:
    """Bytes that were stored for one caller, the last of them `at` (seconds since 1970, by the clock of staging)."""

    user: str | None
    remote: str
    at: Annotated[float, Field(allow_inf_nan=False)]
    size: _Count


_CLOCK: Final = TypeAdapter(Clock)
_USED: Final = TypeAdapter(list[Used])
_MANIFEST: Final = TypeAdapter(Manifest)
_STORED: Final = TypeAdapter(Stored)
_DEAD_LETTER: Final = TypeAdapter(DeadLetter)
_MEMBER: Final = TypeAdapter(Member)


def write_manifest(manifest: Manifest) -> bytes:
    """What stands in its file."""
    return _MANIFEST.dump_json(manifest)


def read_manifest(data: bytes) -> Manifest:
    """Raises ValueError where it is invalid."""
    manifest = _MANIFEST.validate_json(data, strict=True)
    if manifest.promise.expected is not None and manifest.durable > manifest.promise.expected:
        raise ValueError("more bytes than were promised")
    return manifest


def write_stored(stored: Stored) -> bytes:
    """What stands in its file."""
    return _STORED.dump_json(stored)


def read_stored(data: bytes) -> Stored:
    """Raises ValueError where it is invalid."""
    return _STORED.validate_json(data, strict=True)


def write_dead_letter(letter: DeadLetter) -> bytes:
    """What stands in its file."""
    return _DEAD_LETTER.dump_json(letter)


def read_dead_letter(data: bytes) -> DeadLetter:
    """Raises ValueError where it is invalid."""
    return _DEAD_LETTER.validate_json(data, strict=True)


def write_group(members: Iterable[Member]) -> bytes:
    """A line for each of them. One line alone is what `read_stored` reads, too."""
    return b"".join(_MEMBER.dump_json(member) + b"\n" for member in members)


def read_group(data: bytes) -> list[Member]:
    """All members whose line is whole; the others are left out."""
    found = []
    for line in data.splitlines(keepends=True):
        with suppress(ValueError):
            found.append(_member(line))
    return found


def find_member(data: bytes, key: str) -> Stored | None:
    """The one with this key, without looking at the others. Raises ValueError where it is invalid."""
    at = data.find(b'{"key":"%b"' % key.encode())
    if at < 0:
        return None
    member = _member(data[at : data.find(b"\n", at) + 1])
    return Stored(member.receipt, member.asked, member.when)


def _member(line: bytes) -> Member:
    if not line.endswith(b"\n"):
        raise ValueError("torn")
    return _MEMBER.validate_json(line, strict=True)


def write_used(uses: list[Used]) -> bytes:
    """What stands in its file."""
    return _USED.dump_json(uses)


def read_used(data: bytes) -> list[Used]:
    """Raises ValueError where it is invalid."""
    return _USED.validate_json(data, strict=True)


def read_clock(data: bytes, boot: str) -> float | None:
    """When the machine was started, where that is said of this boot; None where it is not, or is invalid."""
    try:
        clock = _CLOCK.validate_json(data, strict=True)
    except ValueError:
        return None
    return clock.started if clock.boot == boot else None


def write_clock(boot: str, started: float) -> bytes:
    """What stands in its file."""
    return _CLOCK.dump_json(Clock(boot, started))


def keys_of_group(data: bytes) -> list[str]:
    """The keys in it, in the order of the lines, without looking at the rest of them: a start-up has many to read."""
    return [key.decode() for key in _KEYS.findall(data)]
