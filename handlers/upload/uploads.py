"""The open uploads: who may write to which, what room they were promised, and when they expire."""

import asyncio
import errno
import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from app.errors import (
    ALREADY_STORED,
    CANCELLED,
    EXPIRED,
    NAME_TAKEN,
    NO_SPACE,
    STORAGE_FAILED,
    SUPERSEDED,
    TOO_LARGE,
    TOO_MANY_UPLOADS,
    UNKNOWN_UPLOAD,
    Failure,
)
from handlers.upload.messages import Promise, Receipt
from handlers.upload.settings import UploadOptions
from handlers.upload.store import Kept, Part, Store

_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_QUIET: Final = 0.4  # seconds without bytes after which all is made durable
_TRICKLE: Final = 5.0  # seconds after which that is done for a client that is never quiet
_BYTES_OF_TOKEN: Final = 24

log = structlog.get_logger()


class Session(Protocol):
    """A socket that sends an upload, as the upload sees it."""

    def end(self, failure: Failure) -> None:
        """Somebody else has ended it."""

    def progressed(self) -> None:
        """`offset` or `durable` has moved."""

    async def quiet(self) -> None:
        """Until it will not write any more."""


class Upload:
    """One open upload in memory. `key` is the hash of its token; `id`, the key's beginning, names it in logs.

    All that touches the bytes happens under `lock`, and only for the session that holds the upload:
    so there is one writer at any moment, and a newcomer waits for one write at the longest.
    """

    def __init__(self, key: str, promise: Promise, part: Part, options: UploadOptions) -> None:
        self.key = key
        self.id = key[:12]
        self.promise = promise
        self.part = part
        self.receipt: Receipt | None = None
        self.gone: Failure | None = None  # cancelled or expired: why
        self.lock = asyncio.Lock()
        self.session: Session | None = None  # the newest
        self._writer: Session | None = None  # who may write: the newest, once the one before is quiet
        self.sha256: str | None = None  # of the bytes there are, as far as it is known: see `hold`
        self.finishing: asyncio.Task[Receipt] | None = None
        self.last_byte = time.monotonic()
        self._options = options
        self._unsynced_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sync: asyncio.Task[None] | None = None
        self._sync_mark = part.offset  # what the newest sync covers

    # -- holding it

    async def hold(self, session: Session) -> None:
        """Take the upload over, at once. The session before writes what has arrived, is told, and is over.

        Raises Failure when the upload is gone, or a still newer session has it.
        """
        previous, self.session = self.session, session
        if previous is not None:
            previous.end(Failure(SUPERSEDED, "A newer socket goes on with this upload."))
            await previous.quiet()
        async with self.lock:
            if self.session is not session:
                raise Failure(SUPERSEDED, "A newer socket goes on with this upload.")
            if self.gone is not None:
                raise self.gone
            if self.receipt is None:
                try:
                    self.sha256 = await self.part.attach()
                except OSError as error:
                    raise storage_failure(error) from error
                self._sync_mark = self.part.offset
            self._writer = session

    async def release(self, session: Session) -> None:
        """The session is over: make durable what it brought, and let go of the file."""
        if self.receipt is None and self.gone is None:
            await self.settle()
        if self.session is session:
            self.session = self._writer = None
            async with self.lock:
                if self.session is None and self.gone is None:
                    await self.part.detach()

    def _check(self, session: Session) -> None:
        if self._writer is not session:
            raise Failure(SUPERSEDED, "A newer socket goes on with this upload.")
        if self.gone is not None:
            raise self.gone

    # -- writing

    async def write(self, session: Session, views: Sequence[memoryview], size: int) -> None:
        """Append; on a full disk Failure `no_space`, where it fails otherwise `storage_failed`."""
        async with self.lock:
            self._check(session)
            try:
                await self.part.write(views, size)
            except OSError as error:
                raise storage_failure(error) from error
            self.last_byte = time.monotonic()
            if self.part.offset - self._sync_mark >= self._options.sync_every:
                self._begin_sync()
            elif self._timer is None:
                self._unsynced_since = self.last_byte
                self._timer = asyncio.get_running_loop().call_later(_QUIET, self._quiet)

    def _quiet(self) -> None:
        """Time to make durable what has come, or to look again a little later."""
        self._timer = None
        now = time.monotonic()
        since = self._unsynced_since if self._unsynced_since is not None else now
        if now - self.last_byte < _QUIET * 0.9 and now - since < _TRICKLE:
            self._timer = asyncio.get_running_loop().call_later(_QUIET, self._quiet)
        else:
            self._begin_sync()

    def _begin_sync(self) -> None:
        """Sync in the background, one at a time; writing goes on beside it."""
        if self._sync is None and self.receipt is None and self.gone is None and self.session is not None:
            self._sync_mark = self.part.offset
            self._sync = asyncio.create_task(self._sync_now())

    async def _sync_now(self) -> None:
        try:
            await self.part.sync()
        except OSError as error:
            if self.session is not None:
                self.session.end(storage_failure(error))
        else:
            if self.session is not None:
                self.session.progressed()
        finally:
            self._sync = None

    async def settle(self) -> None:
        """Make durable all that has come; a disk that fails is only logged: nothing was promised of it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            await self.part.sync()
        except OSError as error:
            log.warning("upload.not_durable", upload=self.id, problem=str(error))

    async def restart(self, session: Session) -> None:
        """Forget the bytes."""
        async with self.lock:
            self._check(session)
            await self._forget()

    async def _forget(self) -> None:
        try:
            await self.part.forget()
        except OSError as error:
            raise storage_failure(error) from error
        self._sync_mark, self.sha256 = 0, None

    def finish(
        self, session: Session, expected: Sequence[str], stored: Callable[["Upload"], None]
    ) -> asyncio.Task[Receipt]:
        """Verify and store, whatever becomes of the socket. Digests in `expected` must be that of the bytes."""
        self.finishing = asyncio.create_task(self._finish(session, expected, stored))
        return self.finishing

    async def _finish(self, session: Session, expected: Sequence[str], stored: Callable[["Upload"], None]) -> Receipt:
        async with self.lock:
            self._check(session)
            try:
                self.receipt = await self.part.publish(expected)
            except OSError as error:
                raise storage_failure(error) from error
            except Failure as failure:
                if failure.kind is not NAME_TAKEN:
                    await self._forget()
                raise
            await self.part.detach()
            stored(self)
            return self.receipt


class Uploads:
    """All of them, by the hash of their tokens."""

    def __init__(self, store: Store, options: UploadOptions) -> None:
        self._store = store
        self._options = options
        self._open: dict[str, Upload] = {}
        self._creating = 0
        self._promised_to_new = 0  # bytes promised to uploads that are being created this moment

    def __len__(self) -> int:
        return len(self._open)

    async def open(self) -> None:
        """Take up what the store has."""
        now = time.time()
        for found in await self._store.open():
            upload = Upload(found.key, found.promise, found.part, self._options)
            upload.last_byte = time.monotonic() - max(now - found.touched, 0)
            self._open[found.key] = upload

    async def create(self, promise: Promise) -> tuple[str, Upload]:
        """A new upload and its token. Raises Failure for each limit that "Create" names."""
        options = self._options
        if promise.size is not None and promise.size > options.max_size:
            raise Failure(TOO_LARGE, f"An upload may have {options.max_size} bytes.")
        if await self._store.taken(promise.name):
            raise Failure(NAME_TAKEN, "The name is taken.")
        if len(self._open) + self._creating >= options.max_open:
            raise Failure(TOO_MANY_UPLOADS, f"{options.max_open} uploads are open.")
        self._creating += 1
        self._promised_to_new += promise.size or 0
        try:
            await self._check_room()
            token = secrets.token_urlsafe(_BYTES_OF_TOKEN)
            key = key_of(token)
            try:
                part = await self._store.create(key, promise)
            except OSError as error:
                raise storage_failure(error) from error
            upload = self._open[key] = Upload(key, promise, part, options)
        finally:
            self._creating -= 1
            self._promised_to_new -= promise.size or 0
        log.info("upload.created", upload=upload.id, name=promise.name, size=promise.size, plain=promise.plain)
        return token, upload

    async def _check_room(self) -> None:
        """Free space, less what open uploads were promised and have not used, less what must stay free."""
        promised = sum(
            (upload.promise.size or 0) - upload.part.offset for upload in self._open.values() if upload.promise.size
        )
        if await self._store.free() - promised - self._promised_to_new < self._options.min_free:
            raise Failure(NO_SPACE, "There is not enough room on the disk.")

    async def find(self, token: str) -> Upload | Kept:
        """What the token opens. Raises Failure `unknown_upload`."""
        key = key_of(token)
        upload = self._open.get(key)
        if upload is not None and upload.gone is None and not self._expired(upload):
            return upload
        kept = await self._store.receipt(key) if upload is None else None
        if kept is None:
            raise Failure(UNKNOWN_UPLOAD, "There is no such upload; it may have expired.")
        return kept

    def expires_in(self, upload: Upload) -> float:
        """Seconds from now, counted from its last byte; what has a socket on it stays in spite of it."""
        return upload.last_byte + self._options.expires - time.monotonic()

    def _expired(self, upload: Upload) -> bool:
        return upload.session is None and not upload.lock.locked() and self.expires_in(upload) <= 0

    def stored(self, upload: Upload) -> None:
        """It has its receipt: from now on the store answers for it."""
        self._let_go(upload)

    def _let_go(self, upload: Upload) -> None:
        self._open.pop(upload.key, None)
        self._store.forget(upload.key)

    async def cancel(self, token: str) -> None:
        """Throw an upload away. Raises Failure `unknown_upload` or `already_stored`."""
        found = await self.find(token)
        if isinstance(found, Upload):
            await self._remove(found, Failure(CANCELLED, "The upload was cancelled."))
            if found.receipt is None:
                return
        raise Failure(ALREADY_STORED, "The upload is stored; it cannot be cancelled.")

    async def _remove(self, upload: Upload, why: Failure) -> None:
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
        for upload in [upload for upload in self._open.values() if self._expired(upload)]:
            await self._remove(upload, Failure(EXPIRED, "The upload has expired."))
        await self._store.sweep()

    async def close(self) -> None:
        """Let go of the store, once the finishes under way are done."""
        finishing = [upload.finishing for upload in self._open.values() if upload.finishing is not None]
        if finishing:
            await asyncio.wait(finishing)
        await self._store.close()


def key_of(token: str) -> str:
    """The hash of a token: the only form in which it is kept."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def storage_failure(error: OSError) -> Failure:
    """What a disk's refusal is called."""
    if error.errno in _FULL:
        return Failure(NO_SPACE, "The disk is full.")
    return Failure(STORAGE_FAILED, f"The disk failed: {error.strerror or error}.")
