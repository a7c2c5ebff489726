"""All open uploads: creation, limits, lookup by token, expiry."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final, TypeVar

from jackfield.app.errors import INTERNAL_ERROR, TOO_LARGE
from jackfield.app.handler import Caller, Failure, get_logger
from jackfield.handlers.upload import tasks
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.store.contract import Kept, Part, Store
from jackfield.handlers.upload.uploads.accounts import NOBODY, Account, Accounts
from jackfield.handlers.upload.uploads.hooks import Hooks, NoHooks
from jackfield.handlers.upload.uploads.metrics import UploadMetrics
from jackfield.handlers.upload.uploads.space import Space
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire.messages import Origin, Promise, check_token
from jackfield.handlers.upload.wire.names import check_name, prefixed
from jackfield.handlers.upload.wire.words import (
    ALREADY_STORED,
    CANCELLED,
    EXPIRED,
    IDLE,
    NAME_TAKEN,
    NO_SPACE,
    NOT_PERMITTED,
    REFUSED,
    TOKEN_CONFLICT,
    TOO_MANY_FILES,
    TOO_MANY_UPLOADS,
    UNKNOWN_UPLOAD,
    failure_of,
)

_BYTES_OF_TOKEN: Final = 24
_LOGGED_NAME: Final = 200  # characters of a name that is refused: it may be as long as a request

log = get_logger()

_T = TypeVar("_T")


class Uploads:
    """All of them, by the hash of their tokens."""

    def __init__(
        self, store: Store, options: UploadOptions, metrics: UploadMetrics, hooks: Hooks | None = None
    ) -> None:
        self._store = store
        self._hooks = hooks or NoHooks()
        self._options = options
        self._metrics = metrics
        self._open: dict[str, OpenUpload] = {}  # also those that are being stored
        self._storing = 0  # uploads in `_open` that are ended: they do not count against `max_open`
        self._creating = 0  # uploads that are not in `_open` yet, and count
        self._creations: dict[str, asyncio.Event] = {}  # by key: creations under way; set when done
        self._space = Space(store.free, self._promised)
        self._accounts = Accounts(options)
        self.restoring: asyncio.Task[None] | None = None  # set when the store is open; done when accounts are complete

    def __len__(self) -> int:
        return len(self._open)

    async def open(self) -> None:
        """Open the store, and load its open uploads. Raises CannotStart."""
        now = time.time()
        for found in await self._store.open():
            upload = self._add(found.key, found.promise, found.part, self._accounts.known(_owner(found.promise)))
            upload.last_byte = time.monotonic() - max(now - found.touched, 0)
        self.restoring = tasks.begin("upload.used", self._restore_uses())  # there may be many receipts to read
        free = await _from_store(self._store.free())
        if free < self._options.min_free:
            log.warning("space.low", free=free, min_free=self._options.min_free)

    async def _restore_uses(self) -> None:
        self._accounts.restore(await self._store.used())

    def _add(self, key: str, promise: Promise, part: Part, account: Account) -> OpenUpload:
        upload = self._open[key] = OpenUpload(key, promise, part, self._options, self._space, self, account)
        account.add(upload)
        return upload

    # -- creating

    async def create(
        self,
        promise: Promise,
        caller: Caller,
        *,
        token: str | None = None,
        lazily: bool = False,
        ask_later: bool = False,
    ) -> tuple[str, OpenUpload | Kept]:
        """A new upload and its token, or, where the client has drawn the token and asked before, that upload again.

        It is given back as it stands, or its receipt where it is stored. Raises Failure for each limit that "Create"
        names, and `token_conflict` where name, size or digest are not those of before.

        Created `lazily` it may stay in memory until it is ended, left, idle or large: for a socket of many files.
        With `ask_later` whoever may refuse it is asked beside, and it is stored only once it is allowed: for one that
        has come whole, and that is ended at once.
        """
        try:
            if token is None:
                drawn = draw_token()
                return drawn, await self._create(
                    key_of(drawn), promise, self._accounts.of(caller), lazily=lazily, ask_later=ask_later
                )
            async with self._one_at_a_time(key_of(token)) as key:
                known = await self._known(key)
                if known is not None:
                    return token, self._repeat(key, known, promise)
                return token, await self._create(
                    key, promise, self._accounts.of(caller), lazily=lazily, ask_later=ask_later
                )
        except Failure as failure:
            self._refuse(promise, failure)
            raise

    @asynccontextmanager
    async def _one_at_a_time(self, key: str) -> AsyncIterator[str]:
        """Creations with one token go one after the other."""
        while (other := self._creations.get(key)) is not None:
            await other.wait()
        done = self._creations[key] = asyncio.Event()
        try:
            yield key
        finally:
            del self._creations[key]
            done.set()

    async def _known(self, key: str) -> OpenUpload | Kept | None:
        """What has this key; what has expired, and what is being removed, is gone before this returns."""
        while (upload := self._open.get(key)) is not None and upload.receipt is None:
            if self._expired(upload):
                await self._expire(upload)
            elif upload.gone is None:
                return upload
            else:
                async with upload.lock:
                    pass
        return await _from_store(self._store.receipt(key))

    def _repeat(self, key: str, known: OpenUpload | Kept, promise: Promise) -> OpenUpload | Kept:
        if _promises(known.promise) != _promises(promise):
            raise Failure(TOKEN_CONFLICT, "An upload with this token has another name, size or digest.")
        state = "stored"
        if isinstance(known, OpenUpload):
            state, known.creations = "open", known.creations + 1
        log.info("upload.repeated", upload=key[:12], name=promise.name, size=promise.size, state=state)
        self._metrics.results.labels("repeated").inc()
        return known

    async def _create(
        self, key: str, promise: Promise, account: Account, *, lazily: bool, ask_later: bool
    ) -> OpenUpload:
        check_name(promise.name)
        options, size = self._options, promise.size or 0
        promise = self._let_in(key, promise, account.caller)
        if size > account.max_size:
            raise Failure(TOO_LARGE, f"An upload may have {account.max_size} bytes.")
        if not lazily or promise.whole:
            if await _from_store(self._store.taken(promise.place)):
                raise Failure(NAME_TAKEN, "The name is taken.")
            self._space.invalidate()
        if len(self._open) - self._storing + self._creating >= options.max_open:
            raise Failure(TOO_MANY_UPLOADS, f"{options.max_open} uploads are open.")
        with account.creating(size):
            self._creating += 1
            try:
                if not ask_later:
                    await self._hooks.ask(key, promise)
                upload = await self._reserve_and_make(key, promise, account, lazily=lazily)
                if ask_later and self._hooks.asks:
                    upload.permission = tasks.begin("upload.ask", self._hooks.ask(key, promise))
                return upload
            finally:
                self._creating -= 1

    def _let_in(self, key: str, promise: Promise, caller: Caller) -> Promise:
        """The promise with its origin. Raises Failure where no file of this name is taken."""
        options, now = self._options, time.time()
        if options.accept and not any(fnmatchcase(promise.name, pattern) for pattern in options.accept):
            raise Failure(REFUSED, "Files of this name are not taken here.")
        place = promise.name
        if options.prefix:
            date = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")
            place = prefixed(options.prefix, promise.name, caller.user, date, key[:32])
        mtime = promise.mtime if options.keep_mtime else None
        return replace(promise, mtime=mtime, origin=Origin(place, caller.user, caller.remote, now))

    async def _reserve_and_make(self, key: str, promise: Promise, account: Account, *, lazily: bool) -> OpenUpload:
        size = promise.size or 0
        await _from_store(self._space.reserve(size, self._options.min_free))
        try:
            account.check_share(size, self._space.free)
            if lazily:
                part: Part = self._store.create_lazily(key, promise)
            else:
                async with account.turn:
                    part = await _from_store(self._store.create(key, promise))
            upload = self._add(key, promise, part, account)
        finally:
            self._space.release(size)
        self._report_created(upload, lazily=lazily)
        return upload

    def _report_created(self, upload: OpenUpload, *, lazily: bool) -> None:
        promise = upload.promise
        self._metrics.results.labels("created").inc()
        fields = {"upload": upload.id, "name": promise.name, "size": promise.size, "plain": promise.plain}
        if lazily:  # it is as a rule stored a moment later, and that line says the same
            log.debug("upload.created", **fields)
        else:
            log.info("upload.created", **fields)

    def _refuse(self, promise: Promise, failure: Failure) -> None:
        kind = failure.kind
        self._metrics.refusals.labels(kind.code).inc()
        name = promise.name[:_LOGGED_NAME].encode("utf-8", "backslashreplace").decode()
        fields = {"failure": kind.code, "name": name, "size": promise.size}
        if kind in (NO_SPACE, NOT_PERMITTED, TOO_MANY_FILES) or kind.close == INTERNAL_ERROR:
            log.warning("upload.refused", **fields)
        else:
            log.info("upload.refused", **fields)

    def _promised(self) -> int:
        """Bytes that open uploads were promised and have not sent yet."""
        return sum(upload.missing for upload in self._open.values())

    # -- finding

    async def find(self, token: str) -> OpenUpload | Kept:
        """What the token opens. Raises Failure `unknown_upload`, also for a text that cannot be a token."""
        key = key_of(token)
        upload = self._open.get(key)
        if upload is not None and upload.receipt is None:
            if upload.gone is None and not self._expired(upload):
                return upload
        elif check_token(token) and (kept := await _from_store(self._store.receipt(key))) is not None:
            return kept
        raise Failure(UNKNOWN_UPLOAD, "There is no such upload; it may have expired.")

    def expires_in(self, upload: OpenUpload) -> float:
        """Seconds from now, counted from its last byte; what has a socket on it stays in spite of it."""
        options = self._options
        kept = options.expires if upload.used else min(options.unused, options.expires)
        return upload.last_byte + kept - time.monotonic()

    def expires_at(self, upload: OpenUpload) -> float:
        """The same in seconds since 1970."""
        return time.time() + self.expires_in(upload)

    def _expired(self, upload: OpenUpload) -> bool:
        return upload.session is None and not upload.lock.locked() and self.expires_in(upload) <= 0

    # -- ending

    def finish_begun(self, upload: OpenUpload) -> None:
        """See `Owner`."""
        self._storing += 1
        upload.account.finish_begun()

    def finish_failed(self, upload: OpenUpload, failure: Failure) -> None:
        """See `Owner`."""
        log.info("upload.failed", upload=upload.id, failure=failure.kind.code, offset=upload.part.offset)
        self._metrics.results.labels(failure.kind.code).inc()

    def refused(self, upload: OpenUpload, failure: Failure) -> None:
        """See `Owner`."""
        self._drop(upload)
        self._refuse(upload.promise, failure)

    def finish_done(self, upload: OpenUpload) -> None:
        """See `Owner`. Of what has its receipt the store knows from now on."""
        self._storing -= 1
        receipt = upload.receipt
        upload.account.finish_done(None if receipt is None else receipt.size)
        if receipt is not None:
            self._drop(upload)
            self._hooks.stored()
            log.info("upload.stored", upload=upload.id, name=receipt.name, size=receipt.size, sha256=receipt.sha256)
            self._metrics.results.labels("stored").inc()

    def _drop(self, upload: OpenUpload) -> None:
        self._open.pop(upload.key, None)
        upload.account.remove(upload)
        self._store.release(upload.key)

    async def cancel(self, token: str) -> None:
        """Throw an upload away. Raises Failure `unknown_upload` or `already_stored`."""
        found = await self.find(token)
        if not isinstance(found, OpenUpload):
            raise Failure(ALREADY_STORED, "The upload is stored; it cannot be cancelled.")
        await self._cancel(found)

    async def forget(self, token: str) -> None:
        """Throw an open upload away, or the receipt of a stored one, whose file stays. Raises Failure."""
        found = await self.find(token)
        if isinstance(found, OpenUpload):
            why = Failure(CANCELLED, "The upload was cancelled.")
            await self._remove(found, why)
            self._tell(found, why)
        await _from_store(self._store.forget(key_of(token)))
        self._metrics.results.labels("cancelled" if isinstance(found, OpenUpload) else "forgotten").inc()

    async def discard(self, upload: OpenUpload) -> None:
        """Throw away what its request did not bring whole; that is told when its session ends. Raises Failure."""
        await self._remove(upload, Failure(CANCELLED, "The request that brought it has ended."))

    async def cancel_by_id(self, name: str) -> None:
        """The same by its name in the log."""
        found = next((upload for upload in self._open.values() if upload.id == name), None)
        if found is None or found.gone is not None:
            raise Failure(UNKNOWN_UPLOAD, "No such upload is open.")
        await self._cancel(found)

    async def _cancel(self, found: OpenUpload) -> None:
        why = Failure(CANCELLED, "The upload was cancelled.")
        await self._remove(found, why)
        if found.receipt is not None:
            raise Failure(ALREADY_STORED, "The upload is stored; it cannot be cancelled.")
        self._tell(found, why)
        self._metrics.results.labels("cancelled").inc()

    def overview(self) -> list[dict[str, Any]]:
        """What is open: sizes and offsets in bytes, `age`, `idle` and `expires_in` in seconds."""
        now, here = time.monotonic(), time.time()
        return [
            {
                "id": upload.id, "name": upload.promise.place, "size": upload.promise.expected, "offset": upload.offset,
                "user": upload.account.caller.user, "remote": upload.account.caller.remote or None,
                "age": None if (origin := upload.promise.origin) is None else round(max(here - origin.created, 0), 3),
                "sending": upload.session is not None, "idle": round(now - upload.last_byte, 3),
                "expires_in": round(self.expires_in(upload), 3),
            }
            for upload in self._open.values()
            if upload.gone is None and upload.receipt is None
        ]  # fmt: skip

    async def _expire(self, upload: OpenUpload) -> None:
        why = Failure(EXPIRED, "The upload has expired.")
        try:
            await self._remove(upload, why)
            self._tell(upload, why)
        except Failure as failure:
            log.warning("upload.not_removed", upload=upload.id, problem=failure.detail)

    async def _remove(self, upload: OpenUpload, why: Failure) -> None:
        async with upload.lock:  # a finish that is under way goes first
            if upload.receipt is not None or upload.gone is not None:
                return
            upload.gone = why
            if upload.session is not None:
                upload.session.end(why)
            try:
                async with upload.account.turn:
                    await upload.part.remove()
            except OSError as error:
                raise failure_of(error) from error
            finally:
                self._drop(upload)

    def _tell(self, upload: OpenUpload, why: Failure) -> None:
        log.info("upload.failed", upload=upload.id, failure=why.kind.code)

    async def sweep(self) -> None:
        """Remove what has expired, end what is too slow, and let the store drop old receipts. Raises OSError."""
        for upload in list(self._open.values()):
            if self._expired(upload):  # asked now, not before the others were removed: a socket may have come
                await self._expire(upload)
            elif upload.too_slow():
                upload.end_session(Failure(IDLE, f"Fewer than {self._options.min_rate} bytes a second came."))
        self._accounts.sweep()
        await self._store.sweep()

    async def close(self) -> None:
        """Let go of the store, once the finishes under way are done."""
        finishing = [upload.finishing for upload in self._open.values() if upload.finishing is not None]
        if finishing:
            await asyncio.wait(finishing)
        await self._store.close()


async def _from_store(answer: Awaitable[_T]) -> _T:
    """Await the store; an OSError becomes a Failure."""
    try:
        return await answer
    except OSError as error:
        raise failure_of(error) from error


def _promises(promise: Promise) -> tuple[str, int | None, str | None]:
    """A creation repeated with the same token must repeat these."""
    return promise.name, promise.size, promise.sha256


def _owner(promise: Promise) -> Caller:
    """For whom it was let in; what a token says of it is known again with its next request."""
    return NOBODY if promise.origin is None else Caller(promise.origin.user, promise.origin.remote)


def draw_token() -> str:
    """A new one, of 192 random bits."""
    return secrets.token_urlsafe(_BYTES_OF_TOKEN)


def key_of(token: str) -> str:
    """The hash of a token, whatever text it is: the only form in which it is kept."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
