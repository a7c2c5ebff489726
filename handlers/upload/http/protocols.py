"""Which protocol a request on an upload speaks: tus, resumable uploads, or HTTP as it is."""

from typing import Final

from aiohttp import hdrs, web

from jackfield.app.errors import METHOD_NOT_ALLOWED
from jackfield.app.handler import Body, Failure
from jackfield.handlers.upload.http import resumable, tus
from jackfield.handlers.upload.http.resumable import Resumable
from jackfield.handlers.upload.http.taking import Taking
from jackfield.handlers.upload.http.tus import Tus
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.uploads.metrics import Words
from jackfield.handlers.upload.uploads.registry import Uploads
from jackfield.handlers.upload.wire import fields

REQUEST_HEADERS: Final = (
    "Content-Digest", "Content-Disposition", "Repr-Digest", "Tus-Resumable", "Upload-Checksum", "Upload-Complete",
    "Upload-Defer-Length", "Upload-Draft-Interop-Version", "Upload-Length", "Upload-Metadata", "Upload-Offset",
    "X-HTTP-Method-Override", "X-Requested-With",
)  # fmt: skip
"""What pages may send; tus-js-client sends the last one."""

EXPOSED_HEADERS: Final = (
    "Accept-Patch", "Repr-Digest", "Tus-Checksum-Algorithm", "Tus-Extension", "Tus-Max-Size", "Tus-Resumable",
    "Tus-Version", "Upload-Complete", "Upload-Defer-Length", "Upload-Draft-Interop-Version", "Upload-Expires",
    "Upload-Length", "Upload-Limit", "Upload-Metadata", "Upload-Offset",
)  # fmt: skip
"""What they may read."""

_OVERRIDE: Final = "X-HTTP-Method-Override"


class Protocols:
    """Answers what has more than one form. `path` is the handler's own."""

    def __init__(self, path: str, uploads: Uploads, options: UploadOptions, results: Words) -> None:
        self._uploads = uploads
        taking = Taking(uploads, options, results)
        self._tus = Tus(path, uploads, taking, options.max_size)
        self._resumable = Resumable(path, uploads, taking, options.max_size)

    def abilities(self) -> web.Response:
        """`OPTIONS`, asked by a program; a browser that asks for a page of another site gets its answer before."""
        return web.Response(status=204, headers={**self._tus.abilities(), **self._resumable.abilities()})

    async def create(self, request: web.Request, body: Body) -> web.Response | None:
        """`POST` on the handler's path; None where it is neither of the two."""
        if tus.RESUMABLE in request.headers:
            return await self._tus.create(request, body)
        if fields.boolean(request.headers.get(resumable.COMPLETE)) is not None:
            return await self._resumable.create(request, body)
        return None

    async def on_upload(self, request: web.Request, body: Body) -> web.Response:
        """`PATCH`, and what a client whose environment has no such methods sends as `POST`."""
        method = request.headers.get(_OVERRIDE, request.method).upper()
        match method:
            case hdrs.METH_PATCH:
                return await self._append(request, body)
            case hdrs.METH_DELETE:
                return await self.cancel(request)
            case hdrs.METH_HEAD | hdrs.METH_GET:
                return await self.ask(request, method)
            case hdrs.METH_OPTIONS:
                return self.abilities()
        raise Failure(METHOD_NOT_ALLOWED, f"{method[:20]} is not allowed here.", {"Allow": "DELETE,GET,HEAD,PATCH"})

    async def _append(self, request: web.Request, body: Body) -> web.Response:
        if tus.RESUMABLE in request.headers or request.content_type == tus.BYTES:
            return await self._tus.append(request, body)
        return await self._resumable.append(request, body)

    async def ask(self, request: web.Request, method: str) -> web.Response:
        """`HEAD` and `GET`. A plain `GET` only looks; whoever else asks goes on with the upload."""
        if tus.RESUMABLE in request.headers:
            return await self._tus.ask(request)
        exclusive = method == hdrs.METH_HEAD or resumable.INTEROP in request.headers
        return await self._resumable.ask(request, exclusive=exclusive)

    async def cancel(self, request: web.Request) -> web.Response:
        """`DELETE`: throw an open upload away."""
        if tus.RESUMABLE in request.headers:
            return await self._tus.terminate(request)
        await self._uploads.cancel(request.match_info["token"])
        return web.Response(status=204)
