"""One upload, over as many sockets as it takes."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from jackfield.handlers.upload.client.connection import Connect, Connection
from jackfield.handlers.upload.client.creation import Token, creation
from jackfield.handlers.upload.client.deadline import Deadline
from jackfield.handlers.upload.client.failures import (
    Gone,
    Lost,
    Superseded,
    TokenConflict,
    UploadError,
)
from jackfield.handlers.upload.client.replay import Replay
from jackfield.handlers.upload.client.requests import Requests
from jackfield.handlers.upload.client.service import Service, upload_path
from jackfield.handlers.upload.client.source import File, Source
from jackfield.handlers.upload.client.transfer import Progress, Receipt, Report, Transfer, mismatch
from jackfield.handlers.upload.wire import messages
from jackfield.handlers.upload.wire.messages import Creation


async def upload(
    session: aiohttp.ClientSession,
    url: str | URL,
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    sha256: str | None = None,
    token: Token | None = None,
    resume: bool = True,
    progress: Report | None = None,
    window: int | None = None,
    connect_timeout: float = 5.0,
    give_up: float = 30.0,
    connect: Connect = Connection,
) -> Receipt:
    """Store the file at `path` on the service at `url` (the service, or its upload path).

    `name` is the file's own by default. `sha256` is a promise that the service shall keep; what was sent
    is compared anyway. `progress` is called for every acknowledgement.

    `token` names the upload (`draw_token`, 22 to 64 characters of `A-Z a-z 0-9 _ -`). A later call with the same
    token, name and size goes on where this one stopped, and where this one stored the file it returns the
    same receipt, with `already` true: however often it is called, the file is stored once. With `resume` false the
    first byte is sent again. Without a token one is drawn, so that only this call can go on with it: what it could
    not store is then cancelled. Of a token that depends on the file, give the function that makes it.

    `window`: so many bytes may be under way; by default what the service asks for. Times are in seconds:
    to connect, and without progress. `connect` makes of an opened socket what sends on it.

    Raises UploadError (see `failures`), OSError for the file itself, ValueError for the URL or the token.
    """
    service = Service(session, upload_path(url), connect, (connect_timeout, give_up))
    file = await File.open(path)
    try:
        if callable(token):
            token = await asyncio.to_thread(token, file.found)
        asked = creation(
            Path(path).name if name is None else name,
            token,
            size=file.size,
            sha256=sha256,
            mtime=file.found.st_mtime_ns,
        )
        one = _Upload(service, file, asked, Deadline(give_up), window, progress)
        return await one.run(resumable=token is not None, anew=not resume)
    finally:
        await file.close()


async def upload_stream(
    session: aiohttp.ClientSession,
    url: str | URL,
    chunks: AsyncIterator[bytes],
    *,
    name: str,
    size: int | None = None,
    sha256: str | None = None,
    token: str | None = None,
    progress: Report | None = None,
    window: int | None = None,
    connect_timeout: float = 5.0,
    give_up: float = 30.0,
    connect: Connect = Connection,
) -> Receipt:
    """Store the bytes that `chunks` yields; otherwise as `upload`.

    A lost connection is healed, from up to 128 MiB that are held in memory. A call that ends without a
    receipt cancels the upload, because nobody has its bytes any more; a later call with the same token sends
    all of them, or gets the receipt where only that was lost.
    """
    service = Service(session, upload_path(url), connect, (connect_timeout, give_up))
    stream = Replay(chunks, size)
    try:
        asked = creation(name, token, size=size, sha256=sha256)
        one = _Upload(service, stream, asked, Deadline(give_up), window, progress)
        return await one.run(resumable=False, anew=True)
    finally:
        await stream.close()


def upload_file(url: str | URL, path: str | os.PathLike[str], **options: Any) -> Receipt:
    """Store a file, and return when it is stored: `upload` for programs without asyncio, with the same options.

    Raises RuntimeError where an event loop runs in this thread: there `await upload(...)` is what to use.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_upload_file(url, path, options))
    raise RuntimeError("upload_file would stop the event loop that runs in this thread: await upload(...) there")


async def _upload_file(url: str | URL, path: str | os.PathLike[str], options: dict[str, Any]) -> Receipt:
    async with aiohttp.ClientSession() as session:
        return await upload(session, url, path, **options)


async def cancel(
    session: aiohttp.ClientSession, url: str | URL, token: str, *, connect_timeout: float = 5.0, give_up: float = 30.0
) -> None:
    """Have the service drop what it has of an upload that is not stored. One that is stored, or unknown, is let be."""
    service = Service(session, upload_path(url), Connection, (connect_timeout, give_up))
    await service.cancel(token)


class _Upload:
    """Creates an upload, or finds the one that has its token, and sends until there is a receipt."""

    def __init__(
        self,
        service: Service,
        source: Source,
        asked: Creation,
        deadline: Deadline,
        window: int | None,
        progress: Report | None,
    ) -> None:
        assert asked.token is not None
        self._service = service
        self._source = source
        self._asked = asked
        self._token = asked.token
        self._deadline = deadline
        self._window = window
        self._progress = progress or (lambda _: None)
        self._last = Progress(0, 0, source.size)
        self._anew = False  # send the first byte again, whatever the service has; until a socket has begun to send
        self._sending = False  # a socket of this call has begun to send
        self._begun = False  # the service may have an upload with this token, from this call or an earlier one
        self._found = False  # and said so
        self._lost_sockets = 0  # the service may still read what came on them, and take one for the newest

    async def run(self, *, resumable: bool, anew: bool) -> Receipt:
        """Try until it is stored, or there is no point in trying any more.

        Whatever ends it: what no later call can go on with is cancelled.
        """
        self._anew = anew
        try:
            return await self._persist()
        except BaseException as end:  # an interrupt too
            kept = self._begun and self._worth_keeping(end, resumable)
            if isinstance(end, UploadError):
                end.resumable = end.resumable and kept
            if self._begun and not kept:
                await self._service.cancel(self._token)
            raise

    def _worth_keeping(self, end: BaseException, resumable: bool) -> bool:
        if isinstance(end, Superseded | TokenConflict):
            return True  # it is somebody else's now
        if isinstance(end, UploadError) and not end.resumable:
            return False
        return resumable and self._last.offset > 0

    async def _persist(self) -> Receipt:
        while True:
            try:
                return await self._attempt()
            except Lost as lost:
                self._lost_sockets += self._found
                self._found = self._found and not isinstance(lost, Gone)
                await self._back_off(lost)
            except Superseded as superseded:
                if not self._lost_sockets:
                    raise
                self._lost_sockets -= 1
                await self._back_off(Lost(superseded.detail))

    async def _back_off(self, lost: Lost) -> None:
        self._report(replace(self._last, note=f"{lost.detail}; trying again"))
        await self._deadline.back_off(lost)

    async def _attempt(self) -> Receipt:
        stored = None if self._found else await self._create()
        if stored is not None:
            return await self._stored_already(stored)
        return await self._service.send(self._by_socket, self._by_requests)

    async def _by_socket(self) -> Receipt:
        async with self._service.socket(self._token) as socket:
            transfer = Transfer(
                socket, self._source, window=self._window, deadline=self._deadline, report=self._report
            )  # fmt: skip
            try:
                return await transfer.run(anew=self._anew)
            finally:
                self._sending = self._sending or transfer.sending
                self._anew = self._anew and not self._sending

    async def _by_requests(self) -> Receipt:
        if self._anew:
            await self._service.cancel(self._token)
            await self._service.create(self._asked)
        requests = Requests(self._service, self._token, self._source, self._deadline, self._report)
        try:
            return await requests.run()
        finally:
            self._sending = self._sending or requests.sending
            self._anew = self._anew and not self._sending

    async def _create(self) -> messages.Receipt | None:
        """Create it, or find what is there; the receipt of one that is stored."""
        self._begun = True
        try:
            found = await self._service.create(self._asked)
        except UploadError:
            self._begun = False
            raise
        self._found = True
        self._deadline.reset()
        if found.receipt is None and not self._anew:
            await self._read_what_was_sent(found.offset)
        return found.receipt

    async def _read_what_was_sent(self, offset: int) -> None:
        """Digest it before a socket is opened, because none could stay idle so long."""
        if offset:
            self._report(replace(self._last, offset=offset, note="reading what was sent before"))
            with self._deadline.paused():
                await self._source.seek(min(offset, self._source.size or 0))

    async def _stored_already(self, stored: messages.Receipt) -> Receipt:
        """Return its receipt, if it is for the bytes of the source. Raises TokenConflict."""
        self._report(replace(self._last, note="comparing it with what is stored already"))
        with self._deadline.paused():
            digest = await self._source.drain()
        if digest != stored.sha256:
            other = TokenConflict("token_conflict", "this token stored other bytes")
            raise mismatch(stored) if self._sending else other
        return Receipt(stored.name, stored.size, stored.sha256, already=not self._sending)

    def _report(self, progress: Progress) -> None:
        self._last = progress
        self._progress(progress)
