"""Many small files over one socket: sent one behind the other, without waiting for answers."""

import asyncio
import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import WSMsgType
from yarl import URL

from jackfield.handlers.upload.client.connection import LONGEST, Connection
from jackfield.handlers.upload.client.failures import Changed, DigestMismatch, Gone, Lost, UploadError, from_close
from jackfield.handlers.upload.client.patience import Patience
from jackfield.handlers.upload.client.service import Service, upload_path
from jackfield.handlers.upload.client.source import fingerprint
from jackfield.handlers.upload.client.transfer import Receipt
from jackfield.handlers.upload.client.words import fault, parsed, text, whole

SMALL = LONGEST  # bytes of a file that is held in memory until its receipt
_AT_ONCE = 256  # files that wait for their receipts
_IN_FLIGHT = 16 * 1024 * 1024  # bytes of them
_HOP = 16  # files that one visit to a worker thread reads
_SILENCE = 15.0  # seconds without a word or a pong until the connection counts as dead

Done = Callable[[str, Receipt | UploadError | OSError], None]


@dataclass(slots=True)
class _Item:
    """One file: its bytes and their digest once it is read, its token once the service has told it."""

    path: str
    name: str
    data: bytes = b""
    sha256: str = ""
    trouble: UploadError | OSError | None = None
    token: str | None = None


async def upload_many(
    session: aiohttp.ClientSession,
    url: str | URL,
    files: Iterable[tuple[str | os.PathLike[str], str]],
    *,
    done: Done,
    connect_timeout: float = 5.0,
    give_up: float = 30.0,
) -> None:
    """Store many files, each a path and a name, over one socket; for files of up to 1 MiB.

    `done` is called for each file, in their order but for those that could not be read, with its path and
    its receipt or what went wrong with it. A connection that is lost is made anew, and what had no receipt
    is asked for by its token first, so that no file is stored twice. Times are in seconds.

    Raises UploadError where the service as a whole refuses, or is not reached (see `failures`).
    """
    service = Service(session, upload_path(url), connect=connect_timeout, answer=give_up)
    await _Many(service, files, done, Patience(give_up)).run()


class _Many:
    def __init__(
        self, service: Service, files: Iterable[tuple[str | os.PathLike[str], str]], done: Done, patience: Patience
    ) -> None:
        self._service = service
        self._files = iter(_Item(os.fspath(path), name) for path, name in files)
        self._done = done
        self._patience = patience
        self._again: deque[_Item] = deque()  # sent on a socket that was lost, and not answered
        self._reading: list[_Item] = []  # taken, and being read: a lost socket cancels who waits for that
        self._waiting: deque[_Item] = deque()  # sent on this socket, in order
        self._unnamed: deque[_Item] = deque()  # those of them that wait for `ready`
        self._refused: deque[str] = deque()  # tokens of those that are open and will not be stored
        self._room = asyncio.Event()
        self._refusal = asyncio.Event()
        self._heard = 0.0
        self._stored = 0

    async def run(self) -> None:
        while True:
            try:
                await self._attempt()
            except Lost as trouble:
                # A request may have been answered and not heard: the token tells, where it was heard.
                self._again.extendleft(reversed(self._waiting))
                self._waiting.clear()
                self._unnamed.clear()
                await self._patience.wait(trouble)
            else:
                return

    async def _attempt(self) -> None:
        async with self._service.socket(self._service.url) as socket:
            try:
                async with asyncio.TaskGroup() as group:
                    helpers = [
                        group.create_task(work) for work in (self._hear(socket), self._watch(socket), self._cancel())
                    ]
                    await self._send(socket)
                    while self._waiting or self._refused:
                        await self._change()
                    for helper in helpers:
                        helper.cancel()
            except ExceptionGroup as faults:
                raise faults.exceptions[0] from None

    # -- sending

    async def _send(self, socket: Connection) -> None:
        while True:
            while self._again:
                await (self._create(socket) if self._again[0].token is None else self._resume(socket))
            self._reading = items = self._reading or list(islice(self._files, _HOP))
            if not items:
                return
            await asyncio.to_thread(_read_all, items)
            self._reading = []
            for item in items:
                if item.trouble is not None:
                    self._done(item.path, item.trouble)
            self._again.extend(item for item in items if item.trouble is None)

    async def _create(self, socket: Connection) -> None:
        item = self._again[0]
        while self._full(len(item.data)):
            await self._change()
        self._begin(item)
        with suppress(ConnectionError):  # why the socket ended is heard where it is read
            await self._content(socket, item, {"type": "create", "name": item.name, "size": len(item.data)})

    def _begin(self, item: _Item) -> None:
        """From now on the service may have it: what is lost with the socket is found among those that wait."""
        self._again.popleft()
        self._waiting.append(item)
        self._unnamed.append(item)

    async def _content(self, socket: Connection, item: _Item, begin: dict[str, Any]) -> None:
        await socket.send_file(item.data, begin=begin, end={"type": "end", "sha256": item.sha256})

    async def _resume(self, socket: Connection) -> None:
        """Ask what became of one: it is stored, or it is sent from its beginning. Alone: the answers are its own."""
        while self._waiting:
            await self._change()
        item = self._again[0]
        self._begin(item)
        with suppress(ConnectionError):
            await socket.say(type="resume", token=item.token)
            while self._unnamed:
                await self._change()
            if self._waiting:
                self._unnamed.append(item)
                await self._content(socket, item, {"type": "restart"})
        while self._waiting:
            await self._change()

    def _full(self, coming: int) -> bool:
        """Whether so many bytes more would be too much under way."""
        if len(self._waiting) + len(self._refused) >= _AT_ONCE:
            return True
        return bool(self._waiting) and sum(len(item.data) for item in self._waiting) + coming > _IN_FLIGHT

    async def _cancel(self) -> None:
        """Have the service drop what it refused to store: it is still open, and only so many uploads may be."""
        while True:
            while self._refused:
                await self._service.cancel(self._service.url / self._refused[0])
                self._refused.popleft()
                self._room.set()
            self._refusal.clear()
            await self._refusal.wait()

    async def _change(self) -> None:
        """Until an answer has come."""
        self._room.clear()
        await self._room.wait()

    # -- hearing

    async def _hear(self, socket: Connection) -> None:
        while True:
            received = await socket.receive()
            self._heard = asyncio.get_running_loop().time()
            match received.type:
                case WSMsgType.TEXT:
                    self._take(parsed(received.data))
                case WSMsgType.PING:
                    await socket.pong(received.data)
                case WSMsgType.CLOSE | WSMsgType.CLOSING | WSMsgType.CLOSED | WSMsgType.ERROR:
                    number = socket.close_code
                    detail = f"the service closed the connection: {number} {received.extra or ''}".rstrip()
                    raise Lost("the connection was lost") if number == 1006 else from_close(number, "", detail)

    def _take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "ready" if self._unnamed:
                self._unnamed.popleft().token = text(message, "token")
            case "stored" if self._waiting:
                self._answered(self._receipt(message))
            case "error" if self._waiting:
                unknown = message.get("code") == "unknown_upload"
                self._answered(Gone("the upload is unknown to the service") if unknown else fault(message))
        self._room.set()

    def _receipt(self, stored: dict[str, Any]) -> Receipt | UploadError:
        receipt = Receipt(text(stored, "name"), whole(stored, "size"), text(stored, "sha256"))
        item = self._waiting[0]
        if (receipt.size, receipt.sha256) == (len(item.data), item.sha256):
            return receipt
        detail = f"the service stored {receipt.size} bytes with SHA-256 {receipt.sha256}, not what was sent"
        return DigestMismatch("digest_mismatch", detail)

    def _answered(self, outcome: Receipt | Exception) -> None:
        item = self._waiting.popleft()
        if self._unnamed and self._unnamed[0] is item:
            self._unnamed.popleft()
        if isinstance(outcome, Lost):
            if isinstance(outcome, Gone):
                item.token = None  # to the service it is a new file
            self._waiting.appendleft(item)
            raise outcome
        if isinstance(outcome, Receipt):
            self._stored += 1
            self._patience.reached(self._stored)
        elif not isinstance(outcome, UploadError):
            raise outcome
        elif item.token is not None and not outcome.resumable:
            self._refused.append(item.token)
            self._refusal.set()
        self._done(item.path, outcome)

    async def _watch(self, socket: Connection) -> None:
        """Raise Lost when the service is silent although it was asked."""
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        limit = min(_SILENCE, self._patience.limit / 2)
        while True:
            await asyncio.sleep(limit / 6)
            if loop.time() - self._heard > limit:
                raise Lost(f"nothing was heard for {limit:g} s")
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(limit / 6):
                    await socket.ping()


def _read_all(items: Iterable[_Item]) -> None:
    """Read and digest each file, in one visit to the worker thread."""
    for item in items:
        try:
            item.data = _read(item.path)
            item.sha256 = hashlib.sha256(item.data).hexdigest()
        except (UploadError, OSError) as error:
            item.trouble = error


def _read(path: str) -> bytes:
    with Path(path).open("rb") as file:
        before = fingerprint(file.fileno())
        data = file.read(before[0] + 1)
        if fingerprint(file.fileno()) != before or len(data) != before[0]:
            raise Changed("changed", f"{path} changed while it was read")
        return data


def small(path: str | os.PathLike[str]) -> bool:
    """Whether it is a file to send this way."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size <= SMALL
