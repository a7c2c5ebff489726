"""One upload, over as many sockets as it takes."""

import os
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
from yarl import URL

from jackfield.handlers.upload.client.failures import Gone, Lost, UploadError
from jackfield.handlers.upload.client.memory import Memory
from jackfield.handlers.upload.client.patience import Patience
from jackfield.handlers.upload.client.service import Service, upload_path
from jackfield.handlers.upload.client.source import File, Source
from jackfield.handlers.upload.client.stream import Stream
from jackfield.handlers.upload.client.transfer import Progress, Receipt, Report, Transfer


async def upload(
    session: aiohttp.ClientSession,
    url: str | URL,
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    sha256: str | None = None,
    progress: Report | None = None,
    window: int | None = None,
    remember: Path | None = None,
    resume: bool = True,
    connect_timeout: float = 5.0,
    give_up: float = 30.0,
) -> Receipt:
    """Store the file at `path` on the service at `url` (the service, or its upload path).

    `name` is the file's own by default. `sha256` is a promise that the service shall keep; what was sent
    is compared anyway. `progress` is called for every acknowledgement. `window`: so many bytes may be under
    way; by default what the service asks for. `remember` is a folder for what a later call needs in order
    to go on where this one stopped; with `resume` false this one begins anew. Times are in seconds: to
    connect, and without progress.

    Raises UploadError (see `failures`), OSError for the file itself, ValueError for the URL.
    """
    service = Service(session, upload_path(url), connect=connect_timeout, answer=give_up)
    name = unicodedata.normalize("NFC", name or Path(path).name)
    file = await File.open(path)
    try:
        one = _Upload(service, file, name, sha256, window, give_up, progress)
        if remember is not None:
            one.memory = Memory(remember, Path(path), file.fingerprint, str(service.url), name)
            one.resume = resume
        return await one.run()
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
    progress: Report | None = None,
    window: int | None = None,
    connect_timeout: float = 5.0,
    give_up: float = 30.0,
) -> Receipt:
    """Store the bytes that `chunks` yields; otherwise as `upload`.

    A lost connection is healed, from up to 128 MiB that are held in memory; an ended program is not.
    """
    service = Service(session, upload_path(url), connect=connect_timeout, answer=give_up)
    stream = Stream(chunks, size)
    try:
        return await _Upload(service, stream, name, sha256, window, give_up, progress).run()
    finally:
        await stream.close()


class _Upload:
    """Creates an upload, or finds the one that was remembered, and sends until there is a receipt."""

    memory: Memory | None = None
    resume = True

    def __init__(
        self,
        service: Service,
        source: Source,
        name: str,
        sha256: str | None,
        window: int | None,
        give_up: float,
        progress: Report | None,
    ) -> None:
        self._service = service
        self._source = source
        self._name = name
        self._sha256 = sha256
        self._window = window
        self._patience = Patience(give_up)
        self._progress = progress or (lambda _: None)
        self._last = Progress(0, 0, source.size)
        self._where: URL | None = None  # its own URL, once it is created
        self._same = True  # the source is the one that was sent from so far

    async def run(self) -> Receipt:
        """Try until it is stored, or there is no point in trying any more."""
        try:
            while True:
                try:
                    return await self._attempt()
                except Lost as trouble:
                    if isinstance(trouble, Gone):
                        self._forget()
                    self._report(replace(self._last, note=f"{trouble.detail}; trying again"))
                    await self._patience.wait(trouble)
        except UploadError as error:
            if self._where is None:
                error.resumable = False
            elif not error.resumable:
                await self._service.cancel(self._where)
                self._forget()
            raise

    async def _attempt(self) -> Receipt:
        where = self._where or await self._recall() or await self._create()
        async with self._service.socket(where) as socket:
            transfer = Transfer(
                socket, self._source, window=self._window, same=self._same, patience=self._patience,
                report=self._report,
            )  # fmt: skip
            receipt = await transfer.run()
        self._forget()
        return receipt

    async def _create(self) -> URL:
        self._where = await self._service.create(self._name, self._source.size, self._sha256)
        self._same = True
        self._patience.restart()
        if self.memory is not None:
            self.memory.keep(str(self._where))
        return self._where

    async def _recall(self) -> URL | None:
        """Find the upload that an earlier run left unfinished, unless nothing can be done with it."""
        remembered = self.memory and self.memory.recall()
        if not remembered:
            return None
        where = URL(remembered.upload)
        if not await self._useful(where, remembered.size):
            self._forget()
            return None
        self._where = where
        self._same = remembered.same
        return where

    async def _useful(self, where: URL, size: int) -> bool:
        """Whether it can become this file. Reads what was sent before: no socket could stay idle so long."""
        if not self.resume or size != self._source.size:
            await self._service.cancel(where)
            return False
        try:
            found = await self._service.ask(where)
        except Gone:
            return False
        self._report(replace(self._last, note="reading what was sent before"))
        with self._patience.excused():
            digest = await self._source.seek(min(found.offset, size))
        return found.sha256 in (None, digest)

    def _report(self, progress: Progress) -> None:
        self._last = progress
        self._progress(progress)

    def _forget(self) -> None:
        self._where = None
        if self.memory is not None:
            self.memory.forget()
