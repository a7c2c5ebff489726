"""A request brings bytes to an open upload, as a socket does: the same lock, limits, batches and receipts.

    async with appending(upload, body, options, results) as append:
        # the upload is ours: whoever held it, socket or request, was ended `superseded`, and its bytes are written
        append.offset                  # bytes that are written; what the request says of its place is compared here
        await append.amend(length)     # where the client says only now how long the file will be
        await append.receive()         # the body to its end: all of it is written when this returns
        receipt = await append.finish(sha256)  # verify and store, where this was the last byte
    append.durable                     # behind the block: bytes that a crash cannot lose

Left without `finish` the upload stays open, and what has come is durable. Every failure is raised as Failure, and what
had come before it is kept: `superseded`, `draining`, `cancelled`, `idle`, `too_large` (the promised bytes are kept),
`incomplete` (the body was cut, or is finished too early), `digest_mismatch`, `name_taken`, `no_space` and what else a
disk does.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Protocol, TypeVar

from jackfield.app.errors import DRAINING, TIMED_OUT
from jackfield.app.handler import Batch, Close, Disconnected, Failure
from jackfield.handlers.upload.http.proof import Proof
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.uploads.batches import BATCH, GRACE, LAST_TURN, PATIENCE, least
from jackfield.handlers.upload.uploads.metrics import Words
from jackfield.handlers.upload.uploads.session import Session
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire.messages import End, Receipt
from jackfield.handlers.upload.wire.one import Bytes, Finish
from jackfield.handlers.upload.wire.words import IDLE, INCOMPLETE, SUPERSEDED

_T = TypeVar("_T")


class Incoming(Protocol):
    """Where a request's bytes come from: its body, or a part of that."""

    @property
    def paused(self) -> bool:
        """See `Body`."""

    def check(self) -> None:
        """See `Body`."""

    async def begin(self, offset: int) -> None:
        """See `Body`."""

    async def take(self, least: int, patience: float, timeout: float, most: int) -> Batch | None:
        """See `Body`."""

    async def next(self, least: int, patience: float, most: int) -> Batch | None:
        """See `Body`."""

    async def interruptible(self, wait: Coroutine[Any, Any, _T]) -> _T:
        """See `Body`."""

    def interrupt(self, reason: Close | Disconnected) -> None:
        """See `Body`."""


class _RequestSession(Session):
    """The session of one request."""

    brief: ClassVar[bool] = True


class Append:
    """One request on one open upload. Made by `appending`."""

    def __init__(self, session: Session, body: Incoming, options: UploadOptions) -> None:
        self._session = session
        self._body = body
        self._idle = options.idle_timeout
        self._least = least(options)
        self.durable = 0  # bytes that are on stable storage; set when the upload is let go

    @property
    def offset(self) -> int:
        """Bytes that are written."""
        return self._session.upload.part.offset

    async def amend(self, length: int) -> None:
        """The whole will have so many bytes. Raises Failure, also where another length is known."""
        await self._session.amend(length)

    async def receive(self, proof: Proof | None = None) -> None:
        """Take the body to its end. Raises Failure; all that came before it is written all the same.

        Where a `proof` is asked for, the bytes count only if the body is whole, and has it.
        """
        if proof is None:
            await self._receive(None)
            return
        await self._session.upload.expect_proof(self._session)
        await self._receive(proof)
        if not proof.holds:
            await self._session.upload.disproved(self._session)
            raise proof.failure
        self._session.upload.proved()

    async def _receive(self, proof: Proof | None) -> None:
        await self._body.begin(self.offset)
        try:
            while (batch := await self._next()) is not None:
                if proof is not None:
                    await _prove(proof, batch)
                await self._session.receive(Bytes(batch.size), batch)
            await self._session.settle()
        except Disconnected:
            raise Failure(INCOMPLETE, "The body ended early.") from None
        except Failure as failure:
            if failure.kind in (SUPERSEDED, DRAINING):
                await self._use_what_came(GRACE if failure.kind is DRAINING else 0)
            raise

    async def _next(self) -> Batch | None:
        try:
            return await self._body.take(self._least, PATIENCE, self._idle, BATCH)
        except Failure as failure:
            if failure.kind is TIMED_OUT:
                raise Failure(IDLE, failure.detail) from None
            raise

    async def _use_what_came(self, grace: float) -> None:
        """Somebody else ends this request: what has arrived is kept, and what comes within `grace` seconds."""
        deadline = asyncio.get_running_loop().time() + LAST_TURN
        try:
            while asyncio.get_running_loop().time() < deadline:
                async with asyncio.timeout(grace):
                    batch = await self._body.next(1, 0, BATCH)
                if batch is None:
                    return
                await self._session.receive(Bytes(batch.size), batch)
        except (TimeoutError, Failure, Disconnected):
            return

    async def idle(self) -> None:
        """Until no write is under way any more, however they ended."""
        await self._session.idle()

    async def finish(self, sha256: str | None = None) -> Receipt:
        """That was the last byte: verify and store. The bytes must have this digest, and the one that was promised.

        It goes on to its end even if the client leaves meanwhile.
        """
        effect = await self._session.receive(End(sha256))
        assert isinstance(effect, Finish)
        return await self._session.store(effect.sha256, self._body)


async def _prove(proof: Proof, batch: Batch) -> None:
    """Where that fails nobody writes the bytes, so their memory is given back."""
    try:
        await proof.take(batch.views)
    except BaseException:
        batch.release()
        raise


@asynccontextmanager
async def appending(
    upload: OpenUpload, body: Incoming, options: UploadOptions, results: Words
) -> AsyncIterator[Append]:
    """The upload is this request's in the block; see the module."""
    session = _RequestSession(upload, options, results, body.interrupt, lambda: None, body)
    append, problem = Append(session, body, options), None
    try:
        await session.hold()
        yield append
    except BaseException as error:
        problem = error
        raise
    finally:
        await session.release(problem)
        append.durable = upload.part.durable
