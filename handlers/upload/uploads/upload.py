"""One open upload in memory: who may write to it, when it is made durable, how it is finished."""

import asyncio
import errno
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from jackfield.app.errors import Failure
from jackfield.handlers.upload import tasks as background
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.store.contract import Part
from jackfield.handlers.upload.uploads.space import Room
from jackfield.handlers.upload.wire.messages import Promise, Receipt
from jackfield.handlers.upload.wire.words import NAME_TAKEN, NO_SPACE, STORAGE_FAILED, SUPERSEDED

_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_QUIET: Final = 0.4  # seconds without bytes after which all is made durable
_TRICKLE: Final = 5.0  # seconds after which that is done for a client that is never quiet

log = structlog.get_logger()


class Holder(Protocol):
    """A session on a socket that sends the upload, as the upload sees it."""

    def end(self, failure: Failure) -> None:
        """Somebody else has ended it."""

    def progressed(self) -> None:
        """`offset` or `durable` has moved."""

    @property
    def held_up(self) -> bool:
        """Whether its bytes wait outside because others have their turn: then it is not the client that is quiet."""

    async def quiet(self) -> None:
        """Until it will not write any more."""


class OpenUpload:
    """One open upload in memory. `key` is the hash of its token; `id`, the key's beginning, names it in logs.

    All that touches the bytes begins under `lock`, and only for the session that holds the upload: so
    there is one writer at any moment. Writes are only begun there: a session may have several under way.
    Before whatever else it asks for, and before it is quiet, it waits for them.
    """

    def __init__(self, key: str, promise: Promise, part: Part, options: UploadOptions, room: Room) -> None:
        self.key = key
        self.id = key[:12]
        self.promise = promise
        self.part = part
        self.receipt: Receipt | None = None
        self.gone: Failure | None = None  # cancelled or expired: why
        self.lock = asyncio.Lock()
        self.session: Holder | None = None  # the newest
        self._writer: Holder | None = None  # who may write: the newest, once the one before is quiet
        self.sha256: str | None = None  # of the bytes there are, as far as it is known: see `hold`
        self.finishing: asyncio.Task[Receipt] | None = None
        self.last_byte = time.monotonic()
        self._options = options
        self._room = room
        self._unsynced_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sync: asyncio.Task[None] | None = None
        self._sync_mark = part.offset  # what the newest sync covers

    # -- holding it

    async def hold(self, session: Holder) -> None:
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
                self._sync_soon()  # one that was created lazily is there after a crash, though no byte has come
            self._writer = session

    async def release(self, session: Holder) -> None:
        """The session is over: make durable what it brought, and let go of the file.

        A finish under way goes on by itself: waiting for it here could take as long as a disk hangs.
        """
        finishing = self.finishing is not None and not self.finishing.done()
        if self.receipt is None and self.gone is None and not finishing:
            await self.settle()
        if self.session is session:
            self.session = self._writer = None
            if finishing:
                return
            async with self.lock:
                if self.session is None and self.gone is None:
                    await self.part.detach()

    def let_go(self, session: Holder) -> None:
        """The session is over, and the upload is stored."""
        if self.session is session:
            self.session = self._writer = None

    def _check(self, session: Holder) -> None:
        if self._writer is not session:
            raise Failure(SUPERSEDED, "A newer socket goes on with this upload.")
        if self.gone is not None:
            raise self.gone

    # -- writing

    async def write(self, session: Holder, views: Sequence[memoryview], size: int) -> None:
        """Append; on a full disk Failure `no_space`, where it fails otherwise `storage_failed`.

        Calls may overlap; they are done in their order.
        """
        await self._append(session, views, size)
        self.last_byte = time.monotonic()
        if self.part.offset - self._sync_mark >= self._options.sync_every:
            self._begin_sync()
        else:
            self._sync_soon()

    async def fill(self, session: Holder, data: bytes) -> None:
        """Take over what was created just now, and give it all its bytes at once; failures are those of `write`.

        Nobody else can know of it yet; and as it is to be finished next, no sync is planned.
        """
        self.session = self._writer = session
        await self.part.attach()
        await self._append(session, [memoryview(data)], len(data))

    async def _append(self, session: Holder, views: Sequence[memoryview], size: int) -> None:
        unpromised = size if self.promise.size is None else 0
        try:
            async with self.lock:
                self._check(session)
                if unpromised:  # nobody held it back for this upload: it must not take what others were promised
                    await self._claim(unpromised)
            try:
                await self.part.write(views, size)
            finally:
                self._room.settle(unpromised)
        except OSError as error:
            raise storage_failure(error) from error

    async def _claim(self, size: int) -> None:
        try:
            await self._room.claim(size)
        except BaseException:
            self._writer = None  # bytes that are under way behind these must not stand in their place
            raise

    def _sync_soon(self) -> None:
        if self._timer is None:
            self._unsynced_since = time.monotonic()
            self._timer = asyncio.get_running_loop().call_later(_QUIET, self._quiet)

    def _quiet(self) -> None:
        """Time to make durable what has come, or to look again a little later."""
        self._timer = None
        now = time.monotonic()
        since = self._unsynced_since if self._unsynced_since is not None else now
        held_up = self.session is not None and self.session.held_up
        if (held_up or now - self.last_byte < _QUIET * 0.9) and now - since < _TRICKLE:
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

    async def restart(self, session: Holder) -> None:
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
        self.last_byte = time.monotonic()  # it is begun anew, and so is its time; the store says the same

    def finish(
        self, session: Holder, expected: Sequence[str], stored: Callable[["OpenUpload"], None]
    ) -> asyncio.Task[Receipt]:
        """Verify and store, whatever becomes of the socket. Digests in `expected` must be that of the bytes."""
        self.finishing = background.begin(self._finish(session, expected, stored))
        return self.finishing

    async def _finish(
        self, session: Holder, expected: Sequence[str], stored: Callable[["OpenUpload"], None]
    ) -> Receipt:
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


def storage_failure(error: OSError) -> Failure:
    """What a disk's refusal is called."""
    if error.errno in _FULL:
        return Failure(NO_SPACE, "The disk is full.")
    return Failure(STORAGE_FAILED, f"The disk failed: {error.strerror or error}.")
