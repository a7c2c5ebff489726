"""Fail-stop: a part that has failed once takes nothing more until it is attached anew."""

import asyncio
import contextlib
import errno
import os
from collections.abc import Iterator

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

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """What raises in this block is a failure; raises OSError after an earlier one."""
        self.check()
        try:
            yield
        except OSError as error:
            self.fail(error.errno or errno.EIO)
            raise
        except (Failure, asyncio.CancelledError):  # after the second nobody knows whether it was done
            self.fail(errno.EIO)
            raise
