"""Glue: the routes of HTTP, and one socket, where connection, protocol and store meet."""

import asyncio
import email.utils
import math
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from jackfield.app.errors import BAD_REQUEST, DRAINING, UNSUPPORTED_MEDIA_TYPE
from jackfield.app.handler import Buffers, Connection, Failure, Handler
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.sockets.many import ManySocket
from jackfield.handlers.upload.sockets.one import Socket
from jackfield.handlers.upload.store.contract import Kept
from jackfield.handlers.upload.store.directory import DirectoryStore
from jackfield.handlers.upload.uploads.registry import Uploads
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire import messages
from jackfield.handlers.upload.wire.messages import Promise, parse_creation

_SWEEP: Final = 5.0  # seconds; the bytes of what expired leave the disk within 15


class Upload(Handler):
    """Files of any size, resumable, verified, and stored only when they are safe on disk."""

    Options = UploadOptions
    paths = ("", "/{token}")
    subprotocols = ("upload.v1",)
    page = Path(__file__).parent / "page"
    options: UploadOptions

    def __init__(self, name: str, path: str, options: UploadOptions, registry: CollectorRegistry) -> None:
        super().__init__(name, path, options, registry)
        self.buffers = Buffers(options.memory)
        self.results = Counter(
            f"jackfield_{name}_results", "Uploads, by what became of them", ["result"], registry=registry
        )
        open_now = Gauge(f"jackfield_{name}_open", "Uploads that are open", registry=registry)
        open_now.set_function(lambda: len(self.uploads))
        memory = Gauge(f"jackfield_{name}_buffer_bytes", "Memory out for received bytes", registry=registry)
        memory.set_function(lambda: self.buffers.used if self.buffers else 0)
        syncs = Histogram(f"jackfield_{name}_fsync_seconds", "How long syncs took", registry=registry)
        self.store = DirectoryStore(
            options.directory, options.on_conflict, options.receipts_kept, options.expires, syncs.observe
        )
        self.uploads = Uploads(self.store, options)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """The store is open as long as the service runs, and swept."""
        await self.uploads.open()
        sweeping = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.wait([sweeping])
            await self.uploads.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(_SWEEP, self.options.expires))
            try:
                await self.uploads.sweep()
            except (OSError, Failure) as error:
                self.log.warning("sweep.failed", problem=str(error))

    async def ready(self) -> bool:
        """Whether the disk answers. That it is full is said to each upload: those that were admitted go on."""
        try:
            await self.store.free()
        except OSError:
            return False
        return True

    # -- plain HTTP

    def routes(self) -> Iterable[web.RouteDef]:
        """Create and cancel; asking is `get`."""
        return (web.post("", self.create), web.delete("/{token}", self.cancel))

    async def create(self, request: web.Request) -> web.Response:
        """`POST`: a new upload, by JSON or by its name as text."""
        try:
            body = (await request.read()).decode("utf-8")
        except UnicodeDecodeError:
            raise Failure(BAD_REQUEST, "The body is not UTF-8.") from None
        if request.content_type == "application/json":
            promise = parse_creation(body).promise
        elif request.content_type == "text/plain":
            promise = Promise(body, plain=True)
        else:
            raise Failure(UNSUPPORTED_MEDIA_TYPE, "Send application/json, or the name as text/plain.")
        token, upload = await self.uploads.create(promise)
        self.results.labels("created").inc()
        url = f"{self.path}/{token}"
        until = time.time() + self.uploads.expires_in(upload)
        headers = {"Location": url, **_headers(0, promise.size, until)}
        if promise.plain:
            return web.Response(text=token, status=201, headers=headers)
        fields = {
            "token": token, "url": url, "name": promise.name, "size": promise.size, "offset": 0,
            "message_size": self.options.message_size, "window": self.options.window,
            "expires": _rfc3339(until),
        }  # fmt: skip
        return web.json_response(fields, status=201, headers=headers)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """`GET` and `HEAD` of an upload: how far it is."""
        token = request.match_info.get("token")
        if token is None:
            return await super().get(request)
        found = await self.uploads.find(token)
        fields: dict[str, Any]
        if isinstance(found, Kept):
            receipt, until = found.receipt, found.until
            fields = {
                "state": "stored", "name": receipt.name, "size": receipt.size, "offset": receipt.size,
                "expires": _rfc3339(until), "sha256": receipt.sha256,
            }  # fmt: skip
            return web.json_response(fields, headers=_headers(receipt.size, receipt.size, until))
        until, size = time.time() + self.uploads.expires_in(found), found.promise.size
        fields = {
            "state": "open", "name": found.promise.name, "size": size, "offset": found.part.offset,
            "expires": _rfc3339(until),
        }  # fmt: skip
        return web.json_response(fields, headers=_headers(found.part.offset, size, until))

    async def cancel(self, request: web.Request) -> web.Response:
        """`DELETE`: throw an open upload away."""
        await self.uploads.cancel(request.match_info["token"])
        self.results.labels("cancelled").inc()
        return web.Response(status=204)

    # -- the socket

    async def admit(self, request: web.Request) -> OpenUpload | Kept | None:
        """An unknown token is refused before the upgrade."""
        token = request.match_info.get("token")
        return None if token is None else await self.uploads.find(token)

    async def serve(self, connection: Connection) -> None:
        """One socket on one upload, or on as many as it creates."""
        token = connection.request.match_info.get("token")
        if token is None:
            await ManySocket(connection, self.uploads, self.options, self.results).run()
        else:
            await Socket(connection, token, self.uploads, self.options, self.results).run()

    def last_words(self, failure: Failure) -> str | None:
        """Every failure is told in a message of its own; the end of the service is none."""
        return None if failure.kind is DRAINING else messages.error(failure)


def _headers(offset: int, size: int | None, until: float) -> dict[str, str]:
    """What every answer about an upload says of it; `until` in seconds since 1970."""
    headers = {
        "Cache-Control": "no-store",
        "Upload-Offset": str(offset),
        "Upload-Expires": email.utils.formatdate(math.ceil(until), usegmt=True),
    }
    return headers if size is None else {**headers, "Upload-Length": str(size)}


def _rfc3339(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
