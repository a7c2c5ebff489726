"""A store that is not the local directory: in memory, on a disk that outlives it and fails when it is told to."""

import errno
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, count

from jackfield.app.errors import CannotStart, Failure
from jackfield.handlers.upload.store.contract import ACCOUNTED, Found, Kept, Use
from jackfield.handlers.upload.store.publish import Policy
from jackfield.handlers.upload.wire.messages import Promise, Receipt
from jackfield.handlers.upload.wire.names import alternative
from jackfield.handlers.upload.wire.words import DIGEST_MISMATCH, NAME_TAKEN
from tests.support.dial import Dial


@dataclass
class Durable:
    """What a crash leaves of a part."""

    promise: Promise
    data: bytes
    touched: float


@dataclass
class Disk:
    """What a crash leaves of a store."""

    dial: Dial
    parts: dict[str, Durable] = field(default_factory=dict)
    receipts: dict[str, tuple[Receipt, float, Promise]] = field(default_factory=dict)
    gone: list[tuple[Receipt, float, Promise]] = field(default_factory=list)  # receipts that are kept no more
    files: dict[str, bytes] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    holder: object = None

    def is_folder(self, name: str) -> bool:
        """Whether there is a folder of this name, made for its own sake or for a file in it."""
        return name in self.folders or any(file.startswith(f"{name}/") for file in self.files)

    def in_the_way(self, name: str) -> bool:
        """Whether no policy lets a file have this name: it is a folder's, or one of its folders is a file."""
        return self.is_folder(name) or any(name.startswith(f"{file}/") for file in self.files)


class MemoryPart:
    """See the contract, at `store.Part`."""

    def __init__(self, store: "MemoryStore", key: str, promise: Promise, data: bytes = b"") -> None:
        self._store = store
        self._disk = store.disk
        self._key = key
        self._promise = promise
        self._data = bytearray(data)
        self._failed = False
        self._broken = False
        self._marked = 0
        self.durable = len(data)

    @property
    def offset(self) -> int:
        """See the contract."""
        return len(self._data)

    async def attach(self) -> str | None:
        """See the contract."""
        self._broken = False
        if self._failed:
            del self._data[self.durable :]
            self._failed = False
        return hashlib.sha256(self._data).hexdigest() if self._data else None

    async def detach(self) -> None:
        """See the contract."""

    async def write(self, views: Sequence[memoryview], size: int) -> None:
        """See the contract."""
        self._check()
        if self._broken:
            raise OSError(errno.EIO, "A write has failed")
        self._broken = True
        self._disk.dial.step("write")
        self._data += b"".join(views)
        self._broken = False

    def _check(self) -> None:
        if self._failed:
            raise OSError(errno.EIO, "A sync has failed")

    async def sync(self) -> None:
        """See the contract."""
        if self.durable < len(self._data) or self._key not in self._disk.parts:
            self._check()
            self._save()

    def _save(self) -> None:
        try:
            self._disk.dial.step("sync")
        except OSError:
            self._failed = True
            raise
        self._disk.parts[self._key] = Durable(self._promise, bytes(self._data), time.time())
        self.durable = len(self._data)

    async def reset(self) -> None:
        """See the contract."""
        self._data.clear()
        self._save()
        self._failed = False

    async def amend(self, promise: Promise) -> None:
        """See the contract."""
        self._promise = promise
        await self._save_anew()

    async def _save_anew(self) -> None:
        data = self._disk.parts[self._key].data if self._key in self._disk.parts else b""
        self._disk.dial.step("sync")
        self._disk.parts[self._key] = Durable(self._promise, data, time.time())

    async def mark(self) -> None:
        """See the contract."""
        self._marked = len(self._data)

    async def rollback(self) -> None:
        """See the contract."""
        del self._data[self._marked :]

    async def publish(self, expected: Sequence[str]) -> Receipt:
        """See the contract."""
        self._check()
        digest = hashlib.sha256(self._data).hexdigest()
        if any(digest != promised for promised in expected):
            raise Failure(DIGEST_MISMATCH, f"The bytes have the digest {digest}.")
        self._disk.dial.step("sync")
        receipt = Receipt(self._free_name(), len(self._data), digest)
        self._disk.dial.step("name")
        # One assignment after the other, and nothing that could fail between them: on this disk that is one step.
        self._disk.files[receipt.name] = bytes(self._data)
        self._disk.receipts[self._key] = receipt, time.time(), self._promise
        self._disk.parts.pop(self._key, None)
        return receipt

    def _free_name(self) -> str:
        name, disk = self._promise.name, self._disk
        path, slash, last = name.rpartition("/")
        for candidate in chain(
            [name], (path + slash + other for other in (alternative(last, number) for number in count(1)))
        ):
            if candidate == name and disk.in_the_way(name):
                break
            if self._store.policy == "replace" or not (candidate in disk.files or disk.is_folder(candidate)):
                return candidate
            if self._store.policy == "reject":
                break
        raise Failure(NAME_TAKEN, "The name is taken.")

    async def remove(self) -> None:
        """See the contract."""
        self._disk.dial.step("name")
        self._disk.parts.pop(self._key, None)


class MemoryStore:
    """See the contract, at `store.Store`."""

    def __init__(self, disk: Disk, policy: Policy, receipts_kept: float) -> None:
        self.disk = disk
        self.policy = policy
        self._receipts_kept = receipts_kept
        self._opened = 0.0

    async def open(self) -> list[Found]:
        """See the contract."""
        if self.disk.holder is not None:
            raise CannotStart("the disk is in use by another service")
        self.disk.holder = self
        self._opened = time.time()
        return [
            Found(key, left.promise, MemoryPart(self, key, left.promise, left.data), left.touched)
            for key, left in self.disk.parts.items()
        ]

    async def close(self) -> None:
        """See the contract."""
        self.disk.holder = None

    async def create(self, key: str, promise: Promise) -> MemoryPart:
        """See the contract."""
        self.disk.dial.step("sync")
        self.disk.parts[key] = Durable(promise, b"", time.time())
        return MemoryPart(self, key, promise)

    def create_lazily(self, key: str, promise: Promise) -> MemoryPart:
        """See the contract."""
        return MemoryPart(self, key, promise)

    async def receipt(self, key: str) -> Kept | None:
        """See the contract."""
        if key not in self.disk.receipts:
            return None
        receipt, since, promise = self.disk.receipts[key]
        until = since + self._receipts_kept
        return Kept(receipt, until, promise) if until > time.time() else None

    async def forget(self, key: str) -> None:
        """See the contract."""
        if key in self.disk.receipts:
            self.disk.gone.append(self.disk.receipts.pop(key))

    async def used(self) -> list[Use]:
        """See the contract."""
        return [
            Use(promise.origin.user, promise.origin.remote, self._opened - since, receipt.size)
            for receipt, since, promise in [*self.disk.receipts.values(), *self.disk.gone]
            if promise.origin is not None and self._opened - ACCOUNTED <= since < self._opened
        ]

    def release(self, key: str) -> None:
        """See the contract."""

    async def taken(self, name: str) -> bool:
        """See the contract."""
        return self.disk.in_the_way(name) or (self.policy == "reject" and name in self.disk.files)

    async def free(self) -> int:
        """See the contract."""
        return 2**30

    async def sweep(self) -> None:
        """See the contract."""
        now = time.time()
        old = [key for key, (_, since, _) in self.disk.receipts.items() if since + self._receipts_kept <= now]
        for key in old:
            self.disk.gone.append(self.disk.receipts.pop(key))
