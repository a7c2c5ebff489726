"""The service as an upload sees it: its HTTP requests and its socket, with every fault sorted."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import aiohttp
from yarl import URL

from jackfield.handlers.upload.client.connection import CLOSING, Connection, connection
from jackfield.handlers.upload.client.failures import Gone, Lost, Rejected, UploadError, from_answer


class Found(NamedTuple):
    """What the service has of an upload."""

    offset: int  # bytes
    sha256: str | None  # of all of it; None: it is not stored yet


def upload_path(url: str | URL) -> URL:
    """Return the http(s) URL of the upload path, for the URL of the service or of the path itself.

    Raises ValueError when it is neither http(s) nor ws(s), or has no host.
    """
    found = URL(url)
    scheme = {"http": "http", "ws": "http", "https": "https", "wss": "https"}.get(found.scheme)
    if scheme is None or not found.host:
        raise ValueError(f"{url} is not an http, https, ws or wss URL")
    path = found.path.rstrip("/") or "/upload"
    return found.with_scheme(scheme).with_path(path).with_fragment(None)


class Service:
    """Speaks to one upload path. `connect` and `answer` are time limits in seconds."""

    def __init__(self, session: aiohttp.ClientSession, url: URL, *, connect: float, answer: float) -> None:
        self.url = url
        self._session = session
        self._connect = connect
        self._answer = answer
        self._timeout = aiohttp.ClientTimeout(total=connect + answer, sock_connect=connect)

    async def create(self, name: str, size: int | None, sha256: str | None) -> URL:
        """Create an upload, and return its own URL: whoever has it can write to it."""
        promises = {"name": name, "size": size, "sha256": sha256}
        wanted = {key: value for key, value in promises.items() if value is not None}
        with _sorted(self.url):
            async with self._session.post(self.url, json=wanted, timeout=self._timeout) as answer:
                try:
                    await _accept(answer, 201)
                except Gone as gone:
                    raise Rejected("not_found", f"no uploads at {self.url}: {gone.detail}") from None
                return answer.url.join(URL(answer.headers["Location"]))

    async def ask(self, upload: URL) -> Found:
        """Return what the service has of it. Raises Gone when it does not know it."""
        with _sorted(self.url):
            headers = {"Accept": "application/json"}
            async with self._session.get(upload, headers=headers, timeout=self._timeout) as answer:
                await _accept(answer, 200)
                fields = await answer.json()
                return Found(int(fields["offset"]), fields.get("sha256"))

    async def cancel(self, upload: URL) -> None:
        """Ask the service to drop what it has; if it cannot be asked, that expires by itself."""
        with suppress(Lost, UploadError), _sorted(self.url):
            async with self._session.delete(upload, timeout=self._timeout):
                pass

    @asynccontextmanager
    async def socket(self, upload: URL) -> AsyncIterator[Connection]:
        """Open the socket of an upload, and leave it closed."""
        with _sorted(self.url):
            async with asyncio.timeout(self._connect):
                opened = await self._session.ws_connect(
                    upload,
                    protocols=("upload.v1",),
                    autoping=False,  # a pong must be seen: it is a sign of life
                    autoclose=False,  # aiohttp would close in the middle of a frame of ours
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSING),
                )
            found = connection(opened, self._answer)
        try:
            yield found
        finally:
            await found.leave()


async def _accept(answer: aiohttp.ClientResponse, status: int) -> None:
    """Raise what the answer means unless it has the status that was asked for."""
    if answer.status == status:
        return
    try:
        problem = await answer.json(content_type=None)
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):  # not our service's own words; a proxy's, perhaps
        code, detail = "", f"{answer.status} {answer.reason}"
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
def _sorted(url: URL) -> Iterator[None]:
    """Turn what aiohttp and the system raise into what it means to an upload."""
    where = url.origin()
    try:
        yield
    except aiohttp.ClientResponseError as error:
        detail = f"{where} answers {error.status}: {error.message}"
        after = _retry_after(error.headers.get("Retry-After") if error.headers else None)
        raise from_answer(error.status, "", detail, after) from None
    except (aiohttp.ClientSSLError, aiohttp.InvalidURL) as error:
        raise Rejected("tls", str(error)) from error
    except TimeoutError as error:
        raise Lost(f"{where} does not answer") from error
    except aiohttp.ClientConnectorError as error:
        number = error.errno or 0  # negative where it is the resolver's
        raise Lost(f"{where}: {os.strerror(number) if number > 0 else error.strerror}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Lost(f"{where}: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Rejected("not_understood", f"{where} answers as no upload service does: {error!r}") from error
