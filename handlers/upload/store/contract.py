"""The contract of a store; each method says what an implementation must do.

A store keeps *parts* (the bytes of open uploads, under a key that is the hash of the token) and
*receipts*. The local directory is one; whatever passes `tests/test_upload_store.py` is another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from jackfield.handlers.upload.wire.messages import Promise, Receipt

ACCOUNTED: Final = 24 * 3600.0
"""Seconds for which a store can say what was stored for whom."""


@dataclass(frozen=True, slots=True)
class Use:
    """Bytes that were stored for one caller, all of them about `ago` seconds ago."""

    user: str | None
    remote: str
    ago: float
    size: int


@dataclass(frozen=True, slots=True)
class Found:
    """An open upload that was there when the store was opened; `touched` is when its last byte was made durable."""

    key: str
    promise: Promise
    part: "Part"
    touched: float  # seconds since 1970


@dataclass(frozen=True, slots=True)
class Kept:
    """A receipt, when it will be dropped, and the promise that was asked for when the upload was created."""

    receipt: Receipt
    until: float  # seconds since 1970
    promise: Promise


class Part(Protocol):
    """The bytes of one open upload. One call at a time, with these exceptions.

    `sync` may run beside `write`. Calls of `write` may overlap: they are done in the order they were
    begun. `remove` may be called while they are; it waits for them.
    """

    @property
    def offset(self) -> int:
        """Bytes written; the next one goes here."""

    @property
    def durable(self) -> int:
        """Bytes that a crash of the machine cannot lose; never more than `offset`, never falling but by `reset`."""

    async def attach(self) -> str | None:
        """Be ready to write. The digest of the bytes so far; None when there are none, or it is not known yet.

        After a failure of `write` or `sync`, and after a crash, `offset` is cut to what can be trusted.
        """

    async def detach(self) -> None:
        """Release what `attach` took; the bytes stay."""

    async def write(self, views: Sequence[memoryview], size: int) -> None:
        """Append all `size` bytes.

        Where it raises OSError none of them are, and none of any later call until `attach`: what was
        meant to follow would stand in the wrong place.
        """

    async def sync(self) -> None:
        """Make what is written now durable: first the bytes, then the checkpoint (`durable`).

        Where it raises OSError nothing is trusted that was not durable before: a sync that succeeds
        after one that failed proves nothing, since the system drops the pages either way.
        """

    async def reset(self) -> None:
        """Throw all bytes away: `offset` and `durable` are 0, also after a crash."""

    async def amend(self, promise: Promise) -> None:
        """Another promise in the place of the one before, durable before this returns."""

    async def mark(self) -> None:
        """What is written from now on can be thrown away by `rollback`, as long as `sync` is not called."""

    async def rollback(self) -> None:
        """Throw away what was written since `mark`; no write is under way.

        Where it raises OSError, `attach` does it.
        """

    async def publish(self, expected: Sequence[str]) -> Receipt:
        """Verify, and put the file under its final name, whole and durable, with its receipt; then the part is gone.

        Each digest in `expected` must be that of the bytes: Failure `digest_mismatch`, and nothing is
        published. Never overwrites but by the policy `replace`; Failure `name_taken` where the policy or
        the file system does not let it have a name. When this returns, the bytes, the name and the
        receipt survive a power cut. After a crash in the middle the store is opened with either the
        part or the receipt, never with both and never with neither.
        """

    async def remove(self) -> None:
        """Throw the part away, bytes and promise."""


class Store(Protocol):
    """Where uploads are kept."""

    async def open(self) -> list[Found]:
        """Lock the store, recover after a crash, return what is open. Raises CannotStart."""

    async def close(self) -> None:
        """Release the lock, once nothing runs any more that was asked for before.

        Whatever is asked of the store and of its parts from now on raises OSError ECANCELED, also what waits for its
        turn; what is being done goes on to its end. Where this is cancelled, the lock stays held.
        """

    async def create(self, key: str, promise: Promise) -> Part:
        """A new part, durable before this returns."""

    def create_lazily(self, key: str, promise: Promise) -> Part:
        """A new part that is durable only after its first `sync`, or once it is published; this does not wait.

        A part of a few kilobytes may be published without ever having been durable as a part.
        """

    async def receipt(self, key: str) -> Kept | None:
        """The receipt that was given for this key, while it is kept."""

    async def forget(self, key: str) -> None:
        """Drop the receipt that was given for this key, durably; the file stays."""

    async def used(self) -> list[Use]:
        """What was stored in the last `ACCOUNTED` seconds before the store was opened, by whom it was let in for.

        Also of receipts that are kept no more, and of those that were forgotten.
        """

    def release(self, key: str) -> None:
        """The upload is over, stored or removed: what is left of its part may be removed."""

    async def taken(self, name: str) -> bool:
        """Whether a new upload of this name could not be published under the policy, as things stand."""

    async def free(self) -> int:
        """Bytes that may still be written here."""

    async def sweep(self) -> None:
        """Drop receipts that have been kept long enough, and files that nothing refers to."""
