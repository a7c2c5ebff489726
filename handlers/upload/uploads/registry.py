"""All open uploads: their tokens, what room they were promised, when they expire."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable
from typing import Final, TypeVar

import structlog

from jackfield.app.errors import TOO_LARGE, Failure
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.store.contract import Kept, Part, Store
from jackfield.handlers.upload.uploads.space import Room
from jackfield.handlers.upload.uploads.upload import OpenUpload, storage_failure
from jackfield.handlers.upload.wire.messages import Promise
from jackfield.handlers.upload.wire.names import check_name
from jackfield.handlers.upload.wire.words import (
    ALREADY_STORED,
    CANCELLED,
    EXPIRED,
    NAME_TAKEN,
    TOO_MANY_UPLOADS,
    UNKNOWN_UPLOAD,
)

_BYTES_OF_TOKEN: Final = 24

log = structlog.get_logger()

_T = TypeVar("_T")


class Uploads:
    """All of them, by the hash of their tokens."""

    def __init__(self, store: Store, options: UploadOptions) -> None:
        self._store = store
        self._options = options
        self._open: dict[str, OpenUpload] = {}
        self._creating = 0
        self._room = Room(store.free, self._promised)

    def __len__(self) -> int:
        return len(self._open)

    async def open(self) -> None:
        """Take up what the store has."""
        now = time.time()
        for found in await self._store.open():
            upload = OpenUpload(found.key, found.promise, found.part, self._options, self._room)
            upload.last_byte = time.monotonic() - max(now - found.touched, 0)
            self._open[found.key] = upload

    async def create(self, promise: Promise, *, lazily: bool = False) -> tuple[str, OpenUpload]:
        """A new upload and its token. Raises Failure for each limit that "Create" names.

        Created `lazily` it may stay in memory until it is ended, left, quiet or large: for a socket of many files.
        """
        check_name(promise.name)
        options, size = self._options, promise.size or 0
        if size > options.max_size:
            raise Failure(TOO_LARGE, f"An upload may have {options.max_size} bytes.")
        if not lazily:
            if await _asked(self._store.taken(promise.name)):
                raise Failure(NAME_TAKEN, "The name is taken.")
            self._room.doubt()
        if len(self._open) + self._creating >= options.max_open:
            raise Failure(TOO_MANY_UPLOADS, f"{options.max_open} uploads are open.")
        self._creating += 1
        try:
            await _asked(self._room.claim(size, options.min_free))
            try:
                return await self._create(promise, lazily=lazily)
            finally:
                self._room.settle(size)
        finally:
            self._creating -= 1

    async def _create(self, promise: Promise, *, lazily: bool) -> tuple[str, OpenUpload]:
        token = secrets.token_urlsafe(_BYTES_OF_TOKEN)
        key = key_of(token)
        if lazily:
            part: Part = self._store.create_lazily(key, promise)
        else:
            part = await _asked(self._store.create(key, promise))
        upload = self._open[key] = OpenUpload(key, promise, part, self._options, self._room)
        if lazily:  # it is as a rule stored a moment later, and that line says the same: two cost a tenth of all
            log.debug("upload.created", upload=upload.id, name=promise.name, size=promise.size, plain=promise.plain)
        else:
            log.info("upload.created", upload=upload.id, name=promise.name, size=promise.size, plain=promise.plain)
        return token, upload

    def _promised(self) -> int:
        """Bytes that open uploads were promised and have not sent yet."""
        return sum(max((upload.promise.size or 0) - upload.part.offset, 0) for upload in self._open.values())

    async def find(self, token: str) -> OpenUpload | Kept:
        """What the token opens. Raises Failure `unknown_upload`."""
        key = key_of(token)
        upload = self._open.get(key)
        if upload is not None and upload.gone is None and not self._expired(upload):
            return upload
        kept = await _asked(self._store.receipt(key)) if upload is None else None
        if kept is None:
            raise Failure(UNKNOWN_UPLOAD, "There is no such upload; it may have expired.")
        return kept

    def expires_in(self, upload: OpenUpload) -> float:
        """Seconds from now, counted from its last byte; what has a socket on it stays in spite of it."""
        return upload.last_byte + self._options.expires - time.monotonic()

    def _expired(self, upload: OpenUpload) -> bool:
        return upload.session is None and not upload.lock.locked() and self.expires_in(upload) <= 0

    def stored(self, upload: OpenUpload) -> None:
        """It has its receipt: from now on the store answers for it."""
        self._let_go(upload)

    def _let_go(self, upload: OpenUpload) -> None:
        self._open.pop(upload.key, None)
        self._store.forget(upload.key)

    async def cancel(self, token: str) -> None:
        """Throw an upload away. Raises Failure `unknown_upload` or `already_stored`."""
        found = await self.find(token)
        if isinstance(found, OpenUpload):
            await self._remove(found, Failure(CANCELLED, "The upload was cancelled."))
            if found.receipt is None:
                return
        raise Failure(ALREADY_STORED, "The upload is stored; it cannot be cancelled.")

    async def _remove(self, upload: OpenUpload, why: Failure) -> None:
        async with upload.lock:  # a finish that is under way goes first
            if upload.receipt is not None or upload.gone is not None:
                return
            upload.gone = why
            if upload.session is not None:
                upload.session.end(why)
            try:
                await upload.part.remove()
            except OSError as error:
                raise storage_failure(error) from error
            finally:
                self._let_go(upload)
            log.info("upload.failed", upload=upload.id, failure=why.kind.code)

    async def sweep(self) -> None:
        """Remove what has expired; let the store drop old receipts."""
        for upload in list(self._open.values()):
            if self._expired(upload):  # asked now, not before the others were removed: a socket may have come
                try:
                    await self._remove(upload, Failure(EXPIRED, "The upload has expired."))
                except Failure as failure:
                    log.warning("upload.not_removed", upload=upload.id, problem=failure.detail)
        await self._store.sweep()

    async def close(self) -> None:
        """Let go of the store, once the finishes under way are done."""
        finishing = [upload.finishing for upload in self._open.values() if upload.finishing is not None]
        if finishing:
            await asyncio.wait(finishing)
        await self._store.close()


async def _asked(answer: Awaitable[_T]) -> _T:
    """What the store says; where the disk fails, Failure."""
    try:
        return await answer
    except OSError as error:
        raise storage_failure(error) from error


def key_of(token: str) -> str:
    """The hash of a token: the only form in which it is kept."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
