"""The small files of staging: what stands in them, and reading it back without believing too much. Pure.

A power cut, a failing disk or a stranger may have left anything there. Whatever is not exactly what we
write is a ValueError: nothing in it is used, and above all no name that leads out of the directory.
"""

import json
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

from jackfield.app.errors import Failure
from jackfield.handlers.upload.wire.messages import Promise, Receipt
from jackfield.handlers.upload.wire.names import check_name

LARGEST: Final = 64 * 1024  # bytes of such a file; what is larger is none
LARGEST_GROUP: Final = 1024 * 1024  # bytes of one that tells of a whole group
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_KEYS: Final = re.compile(rb'^\{"key": "([0-9a-f]{64})"', re.MULTILINE)
_QUOTE: Final = json.JSONEncoder().encode


@dataclass(frozen=True, slots=True)
class Proof:
    """The first `size` bytes of a part have this digest: they are not what was written if they have another."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of an open upload. `durable` bytes are trusted, `touched` is when that was last said.

    `whole` is the modification time of the part in nanoseconds, and there from the moment that the whole
    file is verified, durable, and proved by `proof`: then a start-up finishes what a crash interrupted.
    """

    promise: Promise
    durable: int
    touched: float  # seconds since 1970, by the clock of staging
    proof: Proof | None = None
    whole: int | None = None

    def proved(self, size: int) -> str | None:
        """The digest that a file of `size` bytes must have; None where none is known."""
        return self.proof.sha256 if self.proof is not None and self.proof.size == size else None


@dataclass(frozen=True, slots=True)
class Member:
    """A small file that is, or will be, published with others: its bytes are in the file with this inode."""

    key: str
    inode: int
    receipt: Receipt


def write_record(record: Manifest | Receipt) -> bytes:
    """What stands in its file."""
    return json.dumps(asdict(record)).encode()


def read_manifest(data: bytes) -> Manifest:
    """Raises ValueError where it is rubbish."""
    fields = _object(_parse(data))
    promise = _promise(_object(fields.get("promise")))
    durable, proof, whole = _count(fields.get("durable")), fields.get("proof"), fields.get("whole")
    if promise.size is not None and durable > promise.size:
        raise ValueError("more bytes than were promised")
    return Manifest(
        promise,
        durable,
        _time(fields.get("touched")),
        None if proof is None else _proof(_object(proof)),
        None if whole is None else _count(whole),
    )


def read_receipt(data: bytes) -> Receipt:
    """Raises ValueError where it is rubbish."""
    fields = _object(_parse(data))
    return Receipt(_name(fields.get("name")), _count(fields.get("size")), _digest(fields.get("sha256")))


def write_group(members: Iterable[Member]) -> bytes:
    """A line for each of them. One line alone is a receipt as `read_receipt` knows it."""
    return "".join(
        f'{{"key": "{member.key}", "inode": {member.inode}, "name": {_QUOTE(member.receipt.name)}, '
        f'"size": {member.receipt.size}, "sha256": "{member.receipt.sha256}"}}\n'
        for member in members
    ).encode()


def read_group(data: bytes) -> list[Member]:
    """All members whose line is whole; the others are left out."""
    found = []
    for line in data.splitlines(keepends=True):
        with suppress(ValueError):
            found.append(_member(line))
    return found


def _member(line: bytes) -> Member:
    if not line.endswith(b"\n"):
        raise ValueError("torn")
    fields = _object(_parse(line))
    receipt = Receipt(_name(fields.get("name")), _count(fields.get("size")), _digest(fields.get("sha256")))
    return Member(_digest(fields.get("key")), _count(fields.get("inode")), receipt)


def keys_of_group(data: bytes) -> list[str]:
    """The keys in it, in the order of the lines, without looking at the rest of them: a start-up has many to read."""
    return [key.decode() for key in _KEYS.findall(data)]


def _promise(fields: dict[str, Any]) -> Promise:
    size, sha256, plain = fields.get("size"), fields.get("sha256"), fields.get("plain")
    if not isinstance(plain, bool):
        raise ValueError("plain or not?")  # noqa: TRY004 - callers wait for one kind of exception
    return Promise(
        _name(fields.get("name")),
        None if size is None else _count(size),
        None if sha256 is None else _digest(sha256),
        plain,
    )


def _proof(fields: dict[str, Any]) -> Proof:
    return Proof(_count(fields.get("size")), _digest(fields.get("sha256")))


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("too deep") from None


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError("no object")


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("no name")  # noqa: TRY004 - likewise
    try:
        check_name(value)
    except Failure as failure:
        raise ValueError(failure.detail) from None
    return value


def _count(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError("no count")


def _time(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError("no time")


def _digest(value: Any) -> str:
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return value
    raise ValueError("no digest")
