"""Stores an upload that has all of its bytes, and no client that sends it."""

import asyncio
from typing import ClassVar

from jackfield.app.handler import Failure
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire.messages import Receipt


class _Nobody:
    """A session without a client (see `Writer`)."""

    brief: ClassVar[bool] = True
    backpressured = False
    waiting = False

    def end(self, failure: Failure) -> None:
        """It has nothing to give up."""

    def progressed(self) -> None:
        """It tells nobody."""

    async def drained(self) -> None:
        """It writes nothing."""


async def store_alone(upload: OpenUpload) -> Receipt:
    """Verify and store it, also if who asked for it leaves. Raises Failure; then it is open as before."""
    nobody = _Nobody()
    try:
        await upload.hold(nobody)
        if upload.receipt is not None:
            return upload.receipt
        promised = upload.promise.sha256
        return await asyncio.shield(upload.finish(nobody, [] if promised is None else [promised]))
    finally:
        await upload.release(nobody)
