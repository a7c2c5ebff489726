"""The upload handler: its HTTP routes and its sockets."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry

from jackfield.app.errors import BAD_REQUEST, DRAINING, NOT_FOUND, UNSUPPORTED_MEDIA_TYPE
from jackfield.app.handler import CALLER, Body, BodyRoute, Buffers, Connection, Failure, Handler, periodically
from jackfield.handlers.upload.hooks.arrival import Arrival
from jackfield.handlers.upload.hooks.hooks import UploadHooks
from jackfield.handlers.upload.hooks.metrics import EventMetrics
from jackfield.handlers.upload.http import answers
from jackfield.handlers.upload.http.form import FORM, Form
from jackfield.handlers.upload.http.names import PLACE
from jackfield.handlers.upload.http.protocols import EXPOSED_HEADERS, REQUEST_HEADERS, Protocols
from jackfield.handlers.upload.http.put import Put
from jackfield.handlers.upload.http.whole import Whole
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.sockets.many import ManySocket
from jackfield.handlers.upload.sockets.one import Socket, say_stored
from jackfield.handlers.upload.store.contract import Kept
from jackfield.handlers.upload.store.directory import DirectoryStore
from jackfield.handlers.upload.uploads.metrics import UploadMetrics
from jackfield.handlers.upload.uploads.probe import DiskProbe
from jackfield.handlers.upload.uploads.registry import Uploads
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire import messages
from jackfield.handlers.upload.wire.messages import Creation, Promise, parse_creation

_SWEEP: Final = 5.0  # seconds; the bytes of what expired leave the disk within 15


class Upload(Handler[UploadOptions]):
    """Files of any size, resumable, verified, and stored only when they are safe on disk."""

    paths = ("", "/{token}")
    keyed = ("/{token}",)
    subprotocols = ("upload.v1",)
    page = Path(__file__).parent / "page"
    request_headers = REQUEST_HEADERS
    exposed_headers = EXPOSED_HEADERS
    extensible = True
    outlives = True  # bytes that have arrived are written even if the socket is lost

    def __init__(self, name: str, path: str, options: UploadOptions, registry: CollectorRegistry) -> None:
        super().__init__(name, path, options, registry)
        self.buffers = Buffers(options.memory)
        self.metrics = UploadMetrics(name, registry)
        self.metrics.open.set_function(lambda: len(self.uploads))
        self.metrics.memory.set_function(lambda: self.buffers.used if self.buffers else 0)
        cls = type(self)
        self._hooks = UploadHooks(
            options,
            None if cls.allow is Upload.allow else self.allow, None if cls.stored is Upload.stored else self.stored,
            EventMetrics(name, registry),
        )  # fmt: skip
        self.store = DirectoryStore(
            options.directory, options.on_conflict, options.receipts_kept, options.expires, self.metrics.syncs.observe,
            announces=self._hooks.announces, mode=options.file_mode,
        )  # fmt: skip
        self.uploads = Uploads(self.store, options, self.metrics, self._hooks)
        whole = Whole(self.uploads, options, self.metrics.results)
        self._put, self._form = Put(path, self.uploads, whole), Form(path, self.uploads, whole, options)
        self._protocols = Protocols(path, self.uploads, options, self.metrics.results)
        self._probe = DiskProbe(options.directory)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """The store is open as long as the service runs, and swept."""
        await self.uploads.open()
        period = min(_SWEEP, self.options.expires)
        sweeping = asyncio.create_task(periodically(f"{self.name}.sweep", period, self.uploads.sweep))
        try:
            async with self._hooks.lifespan(self.store, self.name, self.path):
                yield
        finally:
            sweeping.cancel()
            await asyncio.wait([sweeping])
            await self.uploads.close()

    async def drain(self, limit: float) -> None:
        """Nobody more is told of uploads; who is being told has so many seconds."""
        await self._hooks.drain(limit)

    async def allow(self, promise: Promise, user: str | None) -> None:
        """For subclasses: asked before an upload exists; raise Failure to refuse it. It is in nobody's way but its own.

        `promise` is what the client has said of the file, `user` who it is, None where nobody is named.
        """

    async def stored(self, arrival: Arrival) -> None:
        """For subclasses: told of each file that is stored, at least once, over crashes too.

        Whatever it raises, and where it takes longer than `on_stored.timeout`, it is told again, later and later.
        """

    async def ready(self) -> bool:
        """Whether the disk answers. That it is full is said to each upload: those that were admitted go on."""
        return await self._probe.answers()

    # -- plain HTTP

    def routes(self) -> Iterable[web.RouteDef]:
        """Cancel, what can be done here, and what has only one method; asking is `get`."""
        return (
            web.delete("/{token}", self._protocols.cancel), web.options("", self._options),
            web.options("/{token}", self._options), web.get(PLACE, self._nothing),
        )  # fmt: skip

    async def _options(self, _: web.Request) -> web.Response:
        return self._protocols.abilities()

    async def _nothing(self, _: web.Request) -> web.Response:
        raise Failure(NOT_FOUND, "There is nothing at this path.")

    def body_routes(self) -> Iterable[BodyRoute]:
        """Create, send a file, and append to an upload."""
        on_upload = self._protocols.on_upload
        return (
            BodyRoute("POST", "", self.create), BodyRoute("PUT", PLACE, self._put),
            BodyRoute("PATCH", "/{token}", on_upload), BodyRoute("POST", "/{token}", on_upload),
        )  # fmt: skip

    def admin_routes(self) -> Iterable[web.RouteDef]:
        """What is open, and cancelling it by its `id` in the log."""
        return (web.get("/uploads", self._list), web.delete("/uploads/{id}", self._cancel_by_id))

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response(self.uploads.overview(), headers={"Cache-Control": "no-store"})

    async def _cancel_by_id(self, request: web.Request) -> web.Response:
        await self.uploads.cancel_by_id(request.match_info["id"])
        return web.Response(status=204)

    async def create(self, request: web.Request, body: Body) -> web.Response:
        """`POST`: a new upload, by JSON, by its name as text, or as another protocol says; or files in a form."""
        if (created := await self._protocols.create(request, body)) is not None:
            return created
        if request.content_type == FORM:
            return await self._form(request, body)
        try:
            text = (await body.read()).decode("utf-8")
        except UnicodeDecodeError:
            raise Failure(BAD_REQUEST, "The body is not UTF-8.") from None
        if request.content_type == "application/json":
            creation = parse_creation(text)
        elif request.content_type == "text/plain":
            creation = Creation(Promise(text, plain=True))
        else:
            raise Failure(UNSUPPORTED_MEDIA_TYPE, f"Send application/json, the name as text/plain, or files as {FORM}.")
        token, found = await self.uploads.create(creation.promise, request[CALLER], token=creation.token)
        if isinstance(found, Kept):
            return answers.stored(found)
        new = found.creations == 1
        return self._created(token, found, status=201 if new else 200)

    def _created(self, token: str, upload: OpenUpload, status: int) -> web.Response:
        url, until = f"{self.path}/{token}", self.uploads.expires_at(upload)
        headers = {"Location": url, **answers.headers(upload.offset, upload.promise.expected, until)}
        if upload.promise.plain:
            return web.Response(text=token, status=status, headers=headers)
        fields = {
            "token": token, "url": url, **answers.open_fields(upload, until),
            "message_size": self.options.message_size, "window": self.options.window,
        }  # fmt: skip
        return web.json_response(fields, status=status, headers=headers)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """`GET` and `HEAD` of an upload: how far it is."""
        token = request.match_info.get("token")
        if token is None:
            return await super().get(request)
        return await self._protocols.ask(request, request.method)

    # -- the socket

    async def admit(self, request: web.Request) -> OpenUpload | Kept | None:
        """An unknown token is refused before the upgrade."""
        token = request.match_info.get("token")
        return None if token is None else await self.uploads.find(token)

    async def serve(self, connection: Connection) -> None:
        """One socket on one upload, or on as many as it creates."""
        token, found = connection.request.match_info.get("token"), connection.admitted
        results = self.metrics.results
        if token is None:
            await ManySocket(connection, self.uploads, self.options, results).run()
        elif isinstance(found, Kept):
            await say_stored(connection, token, found.receipt, plain=True)
        else:
            await Socket(connection, token, found, self.options, results).run()

    def last_words(self, failure: Failure) -> str | None:
        """Every failure is told in a message of its own; the end of the service is none."""
        return None if failure.kind is DRAINING else messages.error(failure)
