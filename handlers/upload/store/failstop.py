"""Fail-stop: a part that has failed once takes nothing more until it is attached anew."""

import asyncio
import errno
import os

from jackfield.app.errors import Failure


class FailStop:
    """Remembers the first failure of a part. The loop and the threads that write ask it alike.

    What was meant to follow a write that failed would stand in the wrong place, and after a failed publication the
    file may stand under a final name. So everything asks `check` first, also what was queued before the failure.
    """

    def __init__(self) -> None:
        self._failed: int | None = None  # the errno of the first failure since `reset`

    @property
    def failed(self) -> bool:
        """Whether the part must be attached anew."""
        return self._failed is not None

    def reset(self) -> None:
        """The part is attached: what it says of its bytes is true again."""
        self._failed = None

    def fail(self, number: int) -> None:
        """Take nothing more, and say this errno."""
        if self._failed is None:
            self._failed = number

    def check(self) -> None:
        """Raises OSError after a failure, with the errno of the first one."""
        if self._failed is not None:
            raise OSError(self._failed, os.strerror(self._failed))

    def __enter__(self) -> None:
        """What raises in this block is a failure. Raises OSError after an earlier one."""
        self.check()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, OSError):
            self.fail(error.errno or errno.EIO)
        elif isinstance(error, Failure | asyncio.CancelledError):  # after the second nobody knows whether it was done
            self.fail(errno.EIO)
