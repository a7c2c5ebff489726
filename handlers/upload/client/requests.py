"""One upload by requests (Resumable Uploads for HTTP), for where no WebSocket gets through.

Each request brings as much as takes a few seconds, so that there is progress also where a proxy collects whole
requests before it passes them on; where one is too large for a proxy the next are smaller.
"""

import time
from collections.abc import AsyncIterator
from typing import Final

from jackfield.handlers.upload.client.deadline import Deadline
from jackfield.handlers.upload.client.failures import DigestMismatch, Gone, NoSpace, RequestTooLarge
from jackfield.handlers.upload.client.service import Found, Service
from jackfield.handlers.upload.client.source import Source
from jackfield.handlers.upload.client.transfer import Progress, Receipt, Report, verified

_FIRST: Final = 1024 * 1024  # bytes of the first request
_LEAST: Final = 64 * 1024
_MOST: Final = 64 * 1024 * 1024
_SHORT: Final = 2.0  # seconds; after a request that took less the next one is twice as long


class Requests:
    """Sends what the service has not got yet. Only the service's offset is believed. Raises as `Transfer` does."""

    def __init__(self, service: Service, token: str, source: Source, deadline: Deadline, report: Report) -> None:
        self._service = service
        self._token = token
        self._source = source
        self._deadline = deadline
        self._report = report
        self._most = _FIRST  # bytes of the next request
        self._limit = _MOST  # bytes of any
        self._ended = False  # the source has no more
        self.sending = False  # once a byte was sent

    async def run(self) -> Receipt:
        """Send, and return once the service has said that the file is stored."""
        found = await self._service.ask(self._token)
        resumed = found.offset > 0
        while found.receipt is None:
            self._report(Progress(found.offset, found.offset, self._source.size))
            found = await self._next(found.offset, resumed=resumed)
        return await verified(self._source, found.receipt)

    async def _next(self, offset: int, *, resumed: bool) -> Found:
        """One request more."""
        if self._ended or offset == self._source.size:
            return await self._complete(offset, resumed=resumed)
        self._check(offset)
        with self._deadline.paused():
            await self._source.seek(offset)
        began, size = time.monotonic(), self._source.size
        length = None if size is None else min(size - offset, self._most)
        try:
            found = await self._service.append(self._token, offset, self._body(), length)
        except RequestTooLarge as refused:
            if self._most <= _LEAST:
                raise NoSpace("too_large", str(refused)) from None
            self._most = self._limit = max(self._most // 2, _LEAST)
            return await self._service.ask(self._token)
        self._deadline.reached(found.offset)
        self._source.release(found.offset)
        if time.monotonic() - began < _SHORT:
            self._most = min(self._most * 2, self._limit)
        return found

    def _check(self, offset: int) -> None:
        if self._source.size is not None and offset > self._source.size:
            raise DigestMismatch("digest_mismatch", f"the service has {offset} bytes, more than the file")

    async def _body(self) -> AsyncIterator[memoryview]:
        """The next bytes of the source, so many as one request may have."""
        left, self.sending = self._most, True
        while left:
            with self._deadline.paused():
                piece = await self._source.read()
            if not piece:
                self._ended = self._source.size is None
                return
            yield piece[:left]
            left -= min(left, len(piece))
            if self._source.full:
                return

    async def _complete(self, offset: int, *, resumed: bool) -> Found:
        """Say that it was the last byte, and what digest all of them have."""
        with self._deadline.paused():
            digest = await self._source.drain()
        try:
            return await self._service.complete(self._token, offset, digest)
        except DigestMismatch:
            if not resumed:
                raise
            raise Gone("what was there before was of another file; it is sent anew") from None
