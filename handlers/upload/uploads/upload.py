"""One open upload in memory: its one writer, its syncs, its finish."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Final, Protocol

from jackfield.app.errors import BAD_REQUEST, INTERNAL, TOO_LARGE, Failure
from jackfield.app.handler import get_logger
from jackfield.handlers.upload import tasks
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.store.contract import Part
from jackfield.handlers.upload.uploads.accounts import Account
from jackfield.handlers.upload.uploads.pace import Pace
from jackfield.handlers.upload.uploads.space import Space
from jackfield.handlers.upload.wire.messages import Promise, Receipt
from jackfield.handlers.upload.wire.words import DIGEST_MISMATCH, SUPERSEDED, failure_of

NEWER: Final = "A newer socket or request goes on with this upload."
SYNC_IDLE: Final = 0.4  # seconds without bytes after which all that has come is made durable
MAX_SYNC_DELAY: Final = 5.0  # seconds after which that is done for a client that is never idle

log = get_logger()


class Writer(Protocol):
    """A session, of a socket or of a request, that sends the upload, as the upload sees it.

    `brief` is that of a request: whoever asks by HTTP how far the upload is may end it (see `end_request`).
    """

    brief: ClassVar[bool]

    def end(self, failure: Failure) -> None:
        """Somebody else has ended it."""

    def progressed(self) -> None:
        """`offset` or `durable` has moved."""

    @property
    def backpressured(self) -> bool:
        """Whether its client is not read, for want of memory: then the client is not idle, but held back."""

    @property
    def waiting(self) -> bool:
        """Whether nothing but its client is waited for."""

    async def drained(self) -> None:
        """Wait until it has nothing more to write."""


class Owner(Protocol):
    """The registry of uploads, as an upload sees it."""

    def finish_begun(self, upload: "OpenUpload") -> None:
        """It is ended by its client, and being stored."""

    def finish_failed(self, upload: "OpenUpload", failure: Failure) -> None:
        """It could not be stored, and no socket waits for the answer."""

    def refused(self, upload: "OpenUpload", failure: Failure) -> None:
        """It may not exist, and is gone."""

    def finish_done(self, upload: "OpenUpload") -> None:
        """It is stored (`receipt` is set), or open again, or gone."""


class OpenUpload:
    """One open upload in memory. `key` is the hash of its token; `id`, the key's beginning, names it in logs.

    All that touches the bytes begins under `lock`, and only for the session that holds the upload: so
    there is one writer at any moment. Writes are only begun there: a session may have several under way.
    Before whatever else it asks for, and before it is drained, it waits for them.
    """

    def __init__(
        self,
        key: str,
        promise: Promise,
        part: Part,
        options: UploadOptions,
        space: Space,
        owner: Owner,
        account: Account,
    ) -> None:
        self.key = key
        self.id = key[:12]
        self.promise = promise
        self.part = part
        self.receipt: Receipt | None = None  # set when it is published, before `finishing` is done
        self.creations = 1  # requests that asked for it: more than one where the client repeated its token
        self.gone: Failure | None = None  # cancelled or expired: why
        self.lock = asyncio.Lock()
        self.session: Writer | None = None  # the newest; it may still wait for the one before to be drained
        self._writer: Writer | None = None  # the session that may write
        self._draining: Writer | None = None  # which wrote last; set by `hold`, until all its writes have ended
        self.sha256: str | None = None  # of the first `offset` bytes; set by `hold`, None where it is not known yet
        self.finishing: asyncio.Task[Receipt] | None = None  # the newest; it may be done, and have failed
        self.last_byte = time.monotonic()
        self.permission: asyncio.Task[None] | None = None  # set where it may be stored only once that is done
        self.account = account
        self.max_size = account.max_size  # bytes, where no size was promised
        self.used = part.offset > 0  # whether it ever had a byte
        self._pace: Pace | None = None  # since a session holds it
        self._unverified: int | None = None  # set while bytes behind this offset may have to be thrown away
        self._options = options
        self._space = space
        self._owner = owner
        self._unsynced_since = 0.0  # when `_timer` was set after a time without one; of the monotonic clock
        self._timer: asyncio.TimerHandle | None = None  # set while a sync is planned
        self._sync: asyncio.Task[None] | None = None  # set while a sync is under way
        self._sync_wanted = False  # a sync has to begin as soon as the one under way has ended
        self._sync_mark = part.offset  # the offset when the newest sync began

    @property
    def ended(self) -> bool:
        """Whether it is being stored."""
        return self.finishing is not None and not self.finishing.done()

    @property
    def missing(self) -> int:
        """Bytes that were promised and have not come yet."""
        return max((self.promise.expected or 0) - self.part.offset, 0)

    @property
    def offset(self) -> int:
        """Bytes that have come, without those that are still to be verified."""
        return self.part.offset if self._unverified is None else self._unverified

    # -- holding the upload

    async def hold(self, session: Writer) -> None:
        """Take the upload over, at once. The session before it is ended, and writes what has arrived.

        Raises Failure when the upload is gone, or a still newer session has it.
        """
        previous, self.session = self.session, session
        if previous is not None:
            previous.end(Failure(SUPERSEDED, NEWER))
        if self._draining is not None:  # not `previous`, which may itself be waiting for it, and never write
            await self._draining.drained()
        async with self.lock:
            if self.session is not session:
                raise Failure(SUPERSEDED, NEWER)
            if self.gone is not None:
                raise self.gone
            if self.receipt is None:
                try:
                    await self._drop_unverified()
                    self.sha256 = await self.part.attach()
                except OSError as error:
                    raise failure_of(error) from error
                self._sync_mark = self.part.offset
                self._sync_soon()  # one that was created lazily is there after a crash, though no byte has come
            self._writer = self._draining = session
            self._pace = Pace(self._options.min_rate or 0, self.part.offset)

    def too_slow(self) -> bool:
        """Whether its client, while it was waited for, sent fewer bytes than it must."""
        session = self.session
        if session is None or session is not self._writer or self._pace is None or self.ended:
            return False
        return self._pace.too_slow(self.part.offset, waiting=session.waiting)

    async def release(self, session: Writer) -> tuple[int, int] | None:
        """The session is over: make durable what it brought, and let go of the file.

        `offset` and `durable` as this session leaves them; None where they are not its to tell any more, since a newer
        one has the upload, or it is ended. A finish under way goes on by itself: waiting for it here could take as
        long as a disk hangs.
        """
        if self._draining is session:
            self._draining = None
        if self.session is not session:
            return None
        ended = self.ended
        left = None
        if self._is_open() and await self._drop_unproved(session) and await self._sync_rest():
            left = (self.part.offset, self.part.durable)
        if self.session is not session:
            return None
        self.session = self._writer = None
        if not ended:
            async with self.lock:
                if self.session is None and self.gone is None:
                    await self.part.detach()
        return left

    def _is_open(self) -> bool:
        return self.receipt is None and self.gone is None and not self.ended

    def detach(self, session: Writer) -> None:
        """The session is over, and the upload is stored."""
        if self._draining is session:
            self._draining = None
        if self.session is session:
            self.session = self._writer = None

    def _check(self, session: Writer) -> None:
        if self._writer is not session:
            raise Failure(SUPERSEDED, NEWER)
        if self.gone is not None:
            raise self.gone

    # -- writing

    async def write(self, session: Writer, views: Sequence[memoryview], size: int) -> None:
        """Append; on a full disk Failure `no_space`, where it fails otherwise `storage_failed`.

        Calls may overlap; they are done in their order.
        """
        await self._append(session, views, size)
        self.last_byte, self.used = time.monotonic(), True
        if self.part.offset - self._sync_mark >= self._options.sync_every:
            self._begin_sync()
        else:
            self._sync_soon()

    async def fill(self, session: Writer, data: bytes) -> None:
        """Take over what was created just now, and give it all its bytes at once; failures are those of `write`.

        Nobody else can know of it yet; and as it is to be finished next, no sync is planned.
        """
        self.session = self._writer = self._draining = session
        await self.part.attach()
        await self._append(session, [memoryview(data)], len(data))

    async def _append(self, session: Writer, views: Sequence[memoryview], size: int) -> None:
        unpromised = size if self.promise.expected is None else 0
        try:
            async with self.lock:
                self._check(session)
                if unpromised:  # not reserved at creation: it must not take space that is reserved for others
                    await self._reserve(unpromised)
            try:
                await self.part.write(views, size)
            finally:
                self._space.release(unpromised)
        except OSError as error:
            raise failure_of(error) from error

    async def _reserve(self, size: int) -> None:
        try:
            self.account.check_quota(size)
            await self._space.reserve(size, self._options.min_free)
        except BaseException:
            self._writer = None  # later bytes that are under way must not be written in the place of these
            raise

    def _sync_soon(self) -> None:
        if self._timer is None:
            self._unsynced_since = time.monotonic()
            self._timer = asyncio.get_running_loop().call_later(SYNC_IDLE, self._on_idle)

    def _on_idle(self) -> None:
        """Time to make durable what has come, or to look again a little later."""
        self._timer = None
        now = time.monotonic()
        backpressured = self.session is not None and self.session.backpressured
        if (backpressured or now - self.last_byte < SYNC_IDLE * 0.9) and now - self._unsynced_since < MAX_SYNC_DELAY:
            self._timer = asyncio.get_running_loop().call_later(SYNC_IDLE, self._on_idle)
        else:
            self._begin_sync()

    def _begin_sync(self) -> None:
        """Sync in the background, one at a time; writing goes on beside it. While one runs, the next follows it."""
        self._sync_wanted = True
        if self._sync is None and self._may_sync():
            self._sync = tasks.begin("upload.sync", self._sync_all())

    def _may_sync(self) -> bool:
        held = self.session is not None and self._unverified is None
        return held and self.receipt is None and self.gone is None

    async def _sync_all(self) -> None:
        try:
            while self._sync_wanted and self._may_sync():
                self._sync_wanted, self._sync_mark = False, self.part.offset
                async with self.account.turn:
                    await self.part.sync()
                if self.session is not None:
                    self.session.progressed()
        except OSError as error:
            self.end_session(failure_of(error))
        except Exception:  # a fault of ours: `tasks` tells it
            self.end_session(Failure(INTERNAL, "The service failed; its log says why."))
            raise
        else:
            if self.part.durable < self.part.offset:  # they came while it ran
                self._sync_soon()
        finally:
            self._sync = None

    async def end_request(self) -> None:
        """Where a request sends it, end that; when this returns all that it brought, and that counts, is durable."""
        session = self.session
        if session is not None and session.brief:
            session.end(Failure(SUPERSEDED, "A newer request has asked how far this upload is."))
            await session.drained()
            if self._is_open() and await self._drop_unproved(session):
                await self._sync_rest()

    def end_session(self, failure: Failure) -> None:
        """The socket that holds it hears of the failure, and lets go of it; what has arrived is kept."""
        if self.session is not None:
            self.session.end(failure)

    async def _sync_rest(self) -> bool:
        """Make durable all that has come. A disk that fails is only logged: nothing was promised of it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            async with self.account.turn:
                await self.part.sync()
        except OSError as error:
            log.warning("upload.not_durable", upload=self.id, problem=str(error))
            return False
        return True

    # -- bytes that are to be verified first

    async def expect_proof(self, session: Writer) -> None:
        """What is written from now on counts only once it is `proved`; else it is thrown away. Raises Failure."""
        async with self.lock:
            self._check(session)
            self._unverified = self.part.offset
            try:
                await self.part.mark()
            except OSError as error:
                self._unverified = None
                raise failure_of(error) from error

    def proved(self) -> None:
        """They are what they should be."""
        self._unverified = None
        self._sync_soon()

    async def disproved(self, session: Writer) -> None:
        """They are not: throw them away. Raises Failure."""
        async with self.lock:
            self._check(session)
            try:
                await self._drop_unverified()
            except OSError as error:
                raise failure_of(error) from error

    async def _drop_unproved(self, session: Writer) -> bool:
        """What this session has brought and not proved. Where the disk fails it is logged: `attach` drops them."""
        try:
            async with self.lock:
                if self.session is session:
                    await self._drop_unverified()
        except OSError as error:
            log.warning("upload.not_durable", upload=self.id, problem=str(error))
            return False
        return True

    async def _drop_unverified(self) -> None:
        """Under `lock`, when no write is under way. Raises OSError; then `attach` drops them."""
        if self._unverified is not None:
            try:
                await self.part.rollback()
            finally:
                self._unverified = None

    async def amend(self, session: Writer, length: int) -> None:
        """Its client says only now how many bytes it will have. Raises Failure, also where it has said otherwise."""
        async with self.lock:
            self._check(session)
            if length == self.promise.expected:
                return
            if self.promise.expected is not None or length < self.part.offset:
                raise Failure(BAD_REQUEST, "The upload has another length.")
            if length > self.max_size:
                raise Failure(TOO_LARGE, f"An upload may have {self.max_size} bytes.")
            try:
                await self._space.reserve(length - self.part.offset, self._options.min_free)
                try:
                    await self._promise_more(replace(self.promise, length=length))
                finally:
                    self._space.release(length - self.part.offset)
            except OSError as error:
                raise failure_of(error) from error

    async def _promise_more(self, promise: Promise) -> None:
        """Under `lock`: what its account may have it counts from now on. Raises Failure, OSError."""
        before, self.promise = self.promise, promise
        try:
            self.account.check_share(self.missing, self._space.free)
            self.account.check_quota(0)
            await self.part.amend(promise)
        except BaseException:
            self.promise = before
            raise

    # -- beginning anew, and the end

    async def restart(self, session: Writer) -> None:
        """Throw the bytes away."""
        async with self.lock:
            self._check(session)
            await self._reset()

    async def _reset(self) -> None:
        try:
            await self.part.reset()
        except OSError as error:
            raise failure_of(error) from error
        self._sync_mark, self.sha256 = 0, None
        self.last_byte = time.monotonic()  # it is begun anew, and so is its time; the store says the same

    def finish(self, session: Writer, expected: Sequence[str]) -> asyncio.Task[Receipt]:
        """Verify and store, even if the socket ends meanwhile. Each digest in `expected` must be that of the bytes."""
        self._owner.finish_begun(self)
        self.finishing = tasks.begin("upload.finish", self._finish(session, expected))
        return self.finishing

    async def _finish(self, session: Writer, expected: Sequence[str]) -> Receipt:
        try:
            async with self.lock:
                self._check(session)
                try:
                    self.receipt = await self._publish(expected)
                finally:
                    if self.receipt is not None or self.session is None:
                        await self.part.detach()
                return self.receipt
        except Failure as failure:
            if self.session is not session:
                self._owner.finish_failed(self, failure)
            raise
        finally:
            self._owner.finish_done(self)

    async def _allowed(self, permission: asyncio.Task[None]) -> None:
        """Wait until it may be stored; one that may not is gone."""
        try:
            await permission
        except Failure as refusal:
            self.gone = refusal
            try:
                await self.part.remove()
            except OSError as error:
                log.warning("upload.not_removed", upload=self.id, problem=str(error))
            self._owner.refused(self, refusal)
            raise

    async def _publish(self, expected: Sequence[str]) -> Receipt:
        if self.permission is not None:
            await self._allowed(self.permission)
        try:
            return await self.part.publish(expected)
        except OSError as error:
            raise failure_of(error) from error
        except Failure as failure:
            if failure.kind is DIGEST_MISMATCH:
                await self._reset()
            raise
