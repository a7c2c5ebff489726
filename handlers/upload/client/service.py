"""The service, for an upload: HTTP requests and sockets, with each fault translated into an error of `failures`."""

import asyncio
import base64
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import aiohttp
from yarl import URL

from jackfield.handlers.upload.client.connection import CLOSING, Connect, Connection
from jackfield.handlers.upload.client.failures import (
    Gone,
    Lost,
    NoSocket,
    Rejected,
    RequestTooLarge,
    Superseded,
    UploadError,
    from_answer,
)
from jackfield.handlers.upload.wire.messages import Creation, Receipt, print_creation

logger = logging.getLogger("jackfield.upload")

_T = TypeVar("_T")

_DRAFT = {"Upload-Draft-Interop-Version": "8"}
_PARTIAL = {"Content-Type": "application/partial-upload"}
_PROBLEM = "application/problem+json"
_NO_UPGRADE = (400, 403, 405, 406, 501)  # what proxies answer to an upgrade that they do not let through
_WITHOUT: WeakKeyDictionary[aiohttp.ClientSession, set[URL]] = WeakKeyDictionary()
"""Origins to which no WebSocket gets through, by the session that has found it out."""

_CANCEL_LIMIT = 2.0  # seconds in which the service may confirm that it drops an upload


class Found(NamedTuple):
    """What the service has of an upload."""

    offset: int  # bytes
    receipt: Receipt | None  # once it is stored


def upload_path(url: str | URL) -> URL:
    """Return the http(s) URL of the upload path, for the URL of the service or of the path itself.

    Raises ValueError when it is neither http(s) nor ws(s), or has no host.
    """
    found = URL(url)
    scheme = {"http": "http", "ws": "http", "https": "https", "wss": "https"}.get(found.scheme)
    if scheme is None or not found.host:
        raise ValueError(f"{_without_secret(found)} is not an http, https, ws or wss URL")
    path = found.path.rstrip("/") or "/upload"
    return found.with_scheme(scheme).with_path(path).with_fragment(None)


def _without_secret(url: URL) -> URL:
    return url.with_user(None) if url.absolute else url


class Service:
    """Speaks to one upload path. `patience` are time limits in seconds: to connect, and for an answer."""

    def __init__(
        self, session: aiohttp.ClientSession, url: URL, connect: Connect, patience: tuple[float, float]
    ) -> None:
        self.url = url
        self._session = session
        self._connect = connect
        self._to_connect, self._to_answer = patience
        self._timeout = aiohttp.ClientTimeout(total=sum(patience), sock_connect=self._to_connect)

    async def create(self, creation: Creation) -> Found:
        """Create an upload, or find the one that this token has created already."""
        headers = {"Content-Type": "application/json"}
        asked = self._session.post(self.url, data=print_creation(creation), headers=headers, timeout=self._timeout)
        with _translated(self.url):
            async with asked as answer:
                try:
                    await _accept(answer)
                except Gone as gone:
                    raise self._no_uploads(gone) from None
                return _found(await answer.json())

    async def ask(self, token: str) -> Found:
        """How far an upload is. A request that still brings bytes of it is ended, so that the answer stays true."""
        return await self._request("GET", token, dict(_DRAFT))

    async def append(self, token: str, offset: int, body: AsyncIterator[memoryview], length: int | None) -> Found:
        """Append a body of `length` bytes (None: not known), which begins at `offset`; durable when this returns."""
        headers = {**_DRAFT, **_PARTIAL, "Upload-Offset": str(offset), "Upload-Complete": "?0"}
        if length is not None:
            headers["Content-Length"] = str(length)
        return await self._request("PATCH", token, headers, body)

    async def complete(self, token: str, offset: int, sha256: str, body: bytes = b"") -> Found:
        """The same with the last bytes. The whole file must have this digest; it is stored when this returns."""
        encoded = base64.b64encode(bytes.fromhex(sha256)).decode()
        said = {"Upload-Offset": str(offset), "Upload-Complete": "?1", "Repr-Digest": f"sha-256=:{encoded}:"}
        return await self._request("PATCH", token, {**_DRAFT, **_PARTIAL, **said}, body)

    async def _request(self, method: str, token: str, headers: dict[str, str], body: Any = None) -> Found:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._to_connect, sock_read=self._to_answer)
        asked = self._session.request(method, self.url / token, data=body, headers=headers, timeout=timeout)
        with _translated(self.url):
            async with asked as answer:
                if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and answer.content_type != _PROBLEM:
                    raise RequestTooLarge(f"{answer.status} {answer.reason}")
                await _accept(answer)
                if answer.status == HTTPStatus.NO_CONTENT:
                    return Found(int(answer.headers["Upload-Offset"]), None)
                return _found(await answer.json())

    async def cancel(self, token: str) -> None:
        """Ask the service to drop what it has of an upload; if it cannot be asked, that expires by itself."""
        with suppress(Lost, UploadError, TimeoutError), _translated(self.url):
            async with asyncio.timeout(_CANCEL_LIMIT):
                async with self._session.delete(self.url / token, timeout=self._timeout):
                    pass

    @property
    def has_sockets(self) -> bool:
        """Whether a WebSocket may get through; False once one did not, in this session."""
        return self.url.origin() not in _WITHOUT.get(self._session, ())

    async def send(self, by_socket: Callable[[], Awaitable[_T]], by_requests: Callable[[], Awaitable[_T]]) -> _T:
        """Send by a socket, or by requests where no WebSocket gets through."""
        if self.has_sockets:
            try:
                return await by_socket()
            except NoSocket:
                self._do_without()
        return await by_requests()

    def _do_without(self) -> None:
        """From now on no WebSocket is tried in this session; that is said once."""
        origins = _WITHOUT.setdefault(self._session, set())
        if self.url.origin() not in origins:
            origins.add(self.url.origin())
            logger.warning("no WebSocket gets through to %s; sending by plain HTTP requests", self.url.origin())

    @asynccontextmanager
    async def socket(self, token: str) -> AsyncIterator[Connection]:
        """Open the socket of one upload, and leave it closed. Raises Gone when the service does not know it."""
        async with self._opened(self.url / token) as found:
            yield found

    @asynccontextmanager
    async def socket_of_many(self) -> AsyncIterator[Connection]:
        """Open a socket on which uploads are created, and leave it closed."""
        try:
            async with self._opened(self.url) as found:
                yield found
        except Gone as gone:
            raise self._no_uploads(gone) from None

    @asynccontextmanager
    async def _opened(self, url: URL) -> AsyncIterator[Connection]:
        with _translated(self.url), _without_upgrade():
            async with asyncio.timeout(self._to_connect):
                opened = await self._session.ws_connect(
                    url,
                    protocols=("upload.v1",),
                    autoping=False,  # a pong must be seen: it is a sign of life
                    autoclose=False,  # aiohttp would close in the middle of a frame of ours
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSING),
                )
            found = self._connect(opened, self._to_answer)
        try:
            yield found
        finally:
            await found.close()

    def _no_uploads(self, gone: Gone) -> Rejected:
        return Rejected("not_found", f"no uploads at {self.url.with_user(None)}: {gone.detail}")


def _found(fields: dict[str, Any]) -> Found:
    offset = int(fields["offset"])
    if fields.get("state") != "stored":
        return Found(offset, None)
    return Found(offset, Receipt(str(fields["name"]), int(fields["size"]), str(fields["sha256"])))


async def _accept(answer: aiohttp.ClientResponse) -> None:
    """Raise what the answer means, unless the upload is there."""
    if answer.status in (200, 201, 204):
        return
    try:
        problem = await answer.json(content_type=None)
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):  # not our service's own words; a proxy's, perhaps
        code, detail = "", f"{answer.status} {answer.reason}"
    if code in ("superseded", "offset_mismatch"):
        raise Superseded(code, detail) if code == "superseded" else Lost(detail)
    raise from_answer(answer.status, code, detail, _retry_after(answer.headers.get("Retry-After")))


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, from either form of RFC 9110, 10.2.3."""
    if value is None:
        return None
    try:
        return float(value) if value.isdigit() else parsedate_to_datetime(value).timestamp() - time.time()
    except ValueError:
        return None


@contextmanager
def _without_upgrade() -> Iterator[None]:
    """Raise NoSocket where the answer shows that no upgrade has reached the service, or none may come back."""
    try:
        yield
    except aiohttp.WSServerHandshakeError as error:
        kind = error.headers.get("Content-Type", "") if error.headers else ""
        stripped = error.status in (101, 200, 426)
        refused = error.status in _NO_UPGRADE and not kind.startswith(_PROBLEM)
        if stripped or refused:
            raise NoSocket from error
        raise


@contextmanager
def _translated(url: URL) -> Iterator[None]:
    """Translate exceptions of aiohttp and of the system into those of `failures`."""
    where = url.origin()
    try:
        yield
    except aiohttp.ClientResponseError as error:
        detail = f"{where} answers {error.status}: {error.message}"
        after = _retry_after(error.headers.get("Retry-After") if error.headers else None)
        raise from_answer(error.status, "", detail, after) from None
    except aiohttp.ClientSSLError as error:
        raise Rejected("tls", str(error)) from error
    except aiohttp.InvalidURL as error:
        raise Rejected("tls", f"{where} leads to what is no URL") from error
    except TimeoutError as error:
        raise Lost(f"{where} does not answer") from error
    except aiohttp.ClientConnectorError as error:
        number = error.errno or 0  # negative where it is the resolver's
        raise Lost(f"{where}: {os.strerror(number) if number > 0 else error.strerror}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Lost(f"{where}: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Rejected("not_understood", f"{where} answers as no upload service does: {error!r}") from error
