"""Accounting for each caller: open uploads, reserved space, and bytes stored in a day."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from jackfield.app.handler import Caller, Failure
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.store.contract import ACCOUNTED, Part, Use
from jackfield.handlers.upload.wire.messages import Promise
from jackfield.handlers.upload.wire.words import NO_SPACE, QUOTA_EXCEEDED, TOO_MANY_UPLOADS

DAY: Final = ACCOUNTED
NOBODY: Final = Caller(None, "")
"""Whose an upload is of which the store does not know it: no limit counts it."""

AT_ONCE: Final = 12
"""Creations, syncs and removals of one caller that the store does at a time: it has more threads, for others."""

_LEFT: Final = 20  # where nothing is set, one of so many open uploads is left for others

_STEP: Final = 600.0  # seconds whose bytes are counted together
_NEGLIGIBLE: Final = 2**20  # bytes of a promise for which no share of the disk is worked out


class Held(Protocol):
    """An open upload, as its account sees it."""

    promise: Promise
    part: Part

    @property
    def missing(self) -> int:
        """Bytes that were promised and have not come yet."""


class Daily:
    """Bytes of the last 24 hours, in steps of ten minutes."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, int]] = deque()  # when each began, by the monotonic clock, and its bytes

    def add(self, size: int) -> None:
        """They were stored now."""
        self._drop()
        now = time.monotonic()
        if self._steps and now - self._steps[-1][0] < _STEP:
            begun, before = self._steps.pop()
            self._steps.append((begun, before + size))
        else:
            self._steps.append((now, size))

    def restore(self, size: int, ago: float) -> None:
        """They were stored so many seconds before now, by a service that ran before."""
        begun = time.monotonic() - ago - _STEP
        self._steps = deque(sorted([(begun, size), *self._steps]))

    @property
    def total(self) -> int:
        """What counts now."""
        self._drop()
        return sum(size for _, size in self._steps)

    def wait(self, excess: int) -> float:
        """Seconds until so many of them count no more; a whole day where there are not so many."""
        self._drop()
        for begun, size in self._steps:
            excess -= size
            if excess <= 0:
                return begun + _STEP + DAY - time.monotonic()
        return DAY

    def _drop(self) -> None:
        oldest = time.monotonic() - DAY - _STEP
        while self._steps and self._steps[0][0] < oldest:
            self._steps.popleft()


class Account:
    """One caller. What a token says of it comes before what the options say of everybody."""

    def __init__(self, caller: Caller, options: UploadOptions) -> None:
        self.caller = caller
        self._options = options
        self._uploads: set[Held] = set()
        self._storing = 0  # of these, those that are ended
        self._creating: list[int] = []  # sizes of those that are being created
        self._stored = Daily()
        self.turn = asyncio.Semaphore(AT_ONCE)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to know of it."""
        return not (self._uploads or self._creating or self._stored.total)

    @property
    def max_size(self) -> int:
        """Bytes of one upload."""
        most = self._options.max_size
        return most if self.caller.max_size is None else min(most, self.caller.max_size)

    @contextmanager
    def creating(self, size: int) -> Iterator[None]:
        """An upload of so many bytes (0: unknown) is created in here. Raises Failure where it has too much already."""
        most = self._options.max_open
        limit = self.caller.max_open or self._options.max_open_per_user or most - most // _LEFT
        if len(self._uploads) - self._storing + len(self._creating) >= limit:
            raise Failure(TOO_MANY_UPLOADS, f"{limit} uploads of yours are open.")
        self.check_quota(size)
        self._creating.append(size)
        try:
            yield
        finally:
            self._creating.remove(size)

    def check_share(self, size: int, free: int) -> None:
        """Raises Failure `no_space` where its promises, this one too, would hold too large a part of the disk."""
        share = self._options.reserve
        if share is None or size <= _NEGLIGIBLE:
            return
        if sum(each.missing for each in self._uploads) + sum(self._creating) > share * free:
            raise Failure(NO_SPACE, "Your uploads would hold too large a part of the disk.")

    def check_quota(self, size: int) -> None:
        """Raises Failure `quota_exceeded` where so many bytes more are too many for 24 hours."""
        quota = self.caller.daily_quota or self._options.daily_quota
        if quota is None or self.caller is NOBODY:
            return
        under_way = sum(max(each.promise.expected or 0, each.part.offset) for each in self._uploads)
        excess = self._stored.total + under_way + sum(self._creating) + size - quota
        if excess > 0:
            again = {"Retry-After": str(math.ceil(self._stored.wait(excess)))}
            raise Failure(QUOTA_EXCEEDED, f"You may store {quota} bytes in 24 hours.", again)

    def restore(self, size: int, ago: float) -> None:
        """So many bytes were stored for it before the service was started."""
        self._stored.restore(size, ago)

    def add(self, upload: Held) -> None:
        """It is open."""
        self._uploads.add(upload)

    def remove(self, upload: Held) -> None:
        """It is gone, or stored."""
        self._uploads.discard(upload)

    def finish_begun(self) -> None:
        """One of them is being stored, and counts as open no more."""
        self._storing += 1

    def finish_done(self, stored: int | None) -> None:
        """That is over; `stored` bytes count for the day, None where it is open again."""
        self._storing -= 1
        if stored is not None:
            self._stored.add(stored)


class Accounts:
    """All of them, by what limits count by."""

    def __init__(self, options: UploadOptions) -> None:
        self._options = options
        self._known: dict[str, Account] = {}

    def of(self, caller: Caller) -> Account:
        """The newest request of a user says what its token allows."""
        account = self._known.get(caller.key)
        if account is None:
            account = self._known[caller.key] = Account(caller, self._options)
        account.caller = caller
        return account

    def known(self, caller: Caller) -> Account:
        """The account as it is, or a new one: nobody has asked."""
        return self._known.get(caller.key) or self.of(caller)

    def restore(self, uses: Iterable[Use]) -> None:
        """What was stored before the service was started."""
        for use in uses:
            self.known(Caller(use.user, use.remote)).restore(use.size, use.ago)

    def sweep(self) -> None:
        """Forget those of whom there is nothing to know."""
        self._known = {key: account for key, account in self._known.items() if not account.idle}
