"""Many small files over one socket: sent one behind the other, without waiting for answers."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import aiohttp
from yarl import URL

from jackfield.handlers.upload.client.connection import Connect, Connection
from jackfield.handlers.upload.client.deadline import Deadline
from jackfield.handlers.upload.client.failures import (
    Lost,
    NoSpace,
    RequestTooLarge,
    Superseded,
    TokenConflict,
    UploadError,
    from_error,
)
from jackfield.handlers.upload.client.ledger import Done, Entry, Item, Ledger
from jackfield.handlers.upload.client.service import Service, upload_path
from jackfield.handlers.upload.client.silence import Listener, beside
from jackfield.handlers.upload.client.transfer import Receipt, mismatch
from jackfield.handlers.upload.wire import messages
from jackfield.handlers.upload.wire.messages import Ack, Error, Ready, Stored, print_create, print_end

_AT_ONCE = 256  # files that wait for their receipts
_REQUESTS = 8  # files at a time, where they go by requests
_IN_FLIGHT = 16 * 1024 * 1024  # bytes of them


async def upload_many(
    session: aiohttp.ClientSession,
    url: str | URL,
    files: Iterable[Entry],
    *,
    done: Done,
    connect_timeout: float = 5.0,
    give_up: float = 30.0,
    connect: Connect = Connection,
) -> None:
    """Store many files of up to 1 MiB over one socket. Each is a path and a name, and a token where you have one.

    `files` is asked for more in a worker thread, as they are sent. `done` is called once for each file, with its
    path and its receipt or what went wrong with it: in their order but for those that could not be read or had to
    be sent again. A file for which it was not called, because this function was cancelled or raised, is still to
    be sent.

    A connection that is lost is made anew, and what had no answer is sent again under its token, so that no
    file is stored twice. See `upload` for the tokens, the times (in seconds) and `connect`.

    Raises UploadError where the service as a whole refuses, or is not reached (see `failures`), and what
    `files` and `done` raise.
    """
    service = Service(session, upload_path(url), connect, (connect_timeout, give_up))
    ledger = Ledger(files, done)
    await _Many(service, ledger, Deadline(give_up)).run()
    if ledger.unfinished:
        detail = f"{ledger.unfinished} of {ledger.taken} files have no outcome, which is a fault of this client"
        raise UploadError("unaccounted", detail)


class _Many:
    def __init__(self, service: Service, ledger: Ledger, deadline: Deadline) -> None:
        self._service = service
        self._ledger = ledger
        self._deadline = deadline
        self._news = asyncio.Event()  # an answer has come, or an upload was cancelled
        self._abandoned = asyncio.Event()  # there is something to cancel
        self._stored = 0

    async def run(self) -> None:
        try:
            await self._persist()
        finally:
            left = await self._ledger.close()
            if left:
                await self._cancel_all(left)

    async def _persist(self) -> None:
        while True:
            try:
                return await self._attempt()
            except Lost as error:
                self._ledger.lost()
                await self._deadline.back_off(error)

    async def _attempt(self) -> None:
        await self._service.send(self._by_socket, self._by_requests)

    async def _by_requests(self) -> None:
        """Two requests for each file, a few files at a time."""
        ledger = self._ledger
        while ledger.queued or not ledger.exhausted:
            if not ledger.queued:
                with self._deadline.paused():
                    await ledger.fill()
            items = [ledger.send() for _ in range(min(len(ledger.queued), _REQUESTS))]
            results = await asyncio.gather(*map(self._request, items), return_exceptions=True)
            for item, result in zip(items, results, strict=True):
                if isinstance(result, BaseException):
                    await self._request_failed(item, result)
                else:
                    self._receipt(item, result)

    async def _request(self, item: Item) -> messages.Receipt:
        assert item.asked is not None
        found = await self._service.create(item.asked)
        if found.receipt is not None:
            return found.receipt
        item.open = item.token
        if found.offset:
            await self._service.cancel(item.token)
            await self._service.create(item.asked)
        digest = item.asked.promise.sha256
        assert digest is not None
        try:
            stored = (await self._service.complete(item.token, 0, digest, item.data)).receipt
        except RequestTooLarge as refused:
            raise NoSpace("too_large", str(refused)) from None
        assert stored is not None, "complete, and not stored"
        return stored

    async def _request_failed(self, item: Item, failure: BaseException) -> None:
        if not isinstance(failure, Exception):
            raise failure
        self._failed(item, failure)
        while self._ledger.abandoned:
            await self._service.cancel(self._ledger.abandoned.popleft())

    async def _by_socket(self) -> None:
        async with self._service.socket_of_many() as socket:
            listener = Listener(socket, self._deadline)
            await beside(self._send(socket), self._receive(listener), listener.watch(), self._cancel())

    # -- sending

    async def _send(self, socket: Connection) -> None:
        """Send all, and wait until each has its answer."""
        ledger = self._ledger
        while True:
            if ledger.queued:
                await self._create(socket)
            elif not ledger.exhausted:
                with self._deadline.paused():
                    await ledger.fill()
            elif ledger.sent or ledger.abandoned:
                await self._change()
            else:
                return

    async def _create(self, socket: Connection) -> None:
        while self._full(len(self._ledger.queued[0].data)):
            await self._change()
        item = self._ledger.send()
        assert item.asked is not None
        with suppress(ConnectionError):  # the receiving side reports why the socket ended
            await socket.send_file(item.data, begin=print_create(item.asked), end=print_end())

    def _full(self, coming: int) -> bool:
        """Whether so many bytes more would be too much under way."""
        ledger = self._ledger
        if len(ledger.sent) + len(ledger.abandoned) >= _AT_ONCE:
            return True
        return bool(ledger.sent) and ledger.bytes_sent + coming > _IN_FLIGHT

    async def _cancel(self) -> None:
        """Have the service drop what it refused to store: it is still open, and only so many uploads may be."""
        while True:
            while self._ledger.abandoned:
                await self._service.cancel(self._ledger.abandoned[0])
                self._ledger.abandoned.popleft()
                self._news.set()
            self._abandoned.clear()
            await self._abandoned.wait()

    async def _cancel_all(self, tokens: list[str]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.gather(*(self._service.cancel(token) for token in tokens))

    async def _change(self) -> None:
        """Until an answer has come."""
        self._news.clear()
        await self._news.wait()

    # -- receiving

    async def _receive(self, listener: Listener) -> None:
        while True:
            message = await listener.next()
            if self._ledger.sent:
                self._take(message, self._ledger.sent[0])
            self._news.set()

    def _take(self, message: Ready | Ack | Stored | Error, item: Item) -> None:
        """Answers come in the order of the requests, so this one is for the first that has none."""
        match message:
            case Ready(token):
                item.open = token
            case Stored(_, receipt):
                self._receipt(item, receipt)
            case Error():
                self._failed(item, from_error(message))

    def _receipt(self, item: Item, receipt: messages.Receipt) -> None:
        self._stored += 1
        self._deadline.reached(self._stored)
        self._ledger.answered(_outcome(item, receipt))

    def _failed(self, item: Item, failure: Exception) -> None:
        if not isinstance(failure, UploadError):
            raise failure
        if isinstance(failure, Superseded) and item.lost_sockets:
            item.lost_sockets -= 1
            self._ledger.send_again()
            return
        if item.open is not None and not isinstance(failure, Superseded | TokenConflict):
            self._ledger.abandoned.append(item.open)
            self._abandoned.set()
        self._ledger.answered(failure)


def _outcome(item: Item, receipt: messages.Receipt) -> Receipt | UploadError:
    """The receipt, if it is for the bytes of the file. It was stored before this call where no `ready` was needed."""
    assert item.asked is not None
    if (receipt.size, receipt.sha256) != (item.asked.promise.size, item.asked.promise.sha256):
        return mismatch(receipt)
    already = item.times_sent == 1 and item.open is None
    return Receipt(receipt.name, receipt.size, receipt.sha256, already=already)
