"""`POST` of a form, `multipart/form-data` (RFC 7578): every part with a filename is a file."""

import html
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import hdrs, web

from jackfield.app.errors import BAD_REQUEST, UNSUPPORTED_MEDIA_TYPE
from jackfield.app.handler import CALLER, Body, Failure, accepts
from jackfield.handlers.upload.http import answers
from jackfield.handlers.upload.http.parts import File, Parts
from jackfield.handlers.upload.http.whole import Whole, promise_of
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.uploads.registry import Uploads
from jackfield.handlers.upload.wire.messages import Promise

FORM: Final = "multipart/form-data"
_PLAIN: Final = {"", "binary", "8bit", "7bit"}  # encodings that encode nothing

_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Stored · Jackfield</title>
<h1>Stored</h1>
<p>Each file is whole, verified, and on stable storage.</p>
<ul>{rows}</ul>
<p><a href="{path}">Upload other files</a></p>
</html>
"""
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


class Form:
    """Answers such a form. `path` is the handler's own."""

    def __init__(self, path: str, uploads: Uploads, whole: Whole, options: UploadOptions) -> None:
        self._path = path
        self._uploads = uploads
        self._whole = whole
        self._options = options

    async def __call__(self, request: web.Request, body: Body) -> web.Response:
        """201 with the receipts; if a file fails, its problem document with those before it as `stored`."""
        receipts: list[dict[str, Any]] = []
        try:
            await self._store_all(request, body, receipts)
        except Failure as failure:
            failure.members["stored"] = receipts
            raise
        headers = {hdrs.VARY: hdrs.ACCEPT, hdrs.CACHE_CONTROL: "no-store"}
        if accepts(request, "text/html"):
            page = _page(self._path, receipts)
            return web.Response(text=page, content_type="text/html", status=201, headers=headers | _HEADERS)
        return web.json_response(receipts, status=201, headers=headers)

    async def _store_all(self, request: web.Request, body: Body, receipts: list[dict[str, Any]]) -> None:
        parts = Parts(body, request.headers[hdrs.CONTENT_TYPE], self._options)
        await body.begin(0)
        try:
            while (file := await parts.next_file()) is not None:
                token, _ = await self._whole.store(_promise(file), file, request[CALLER])
                receipts.append(await answers.receipt(self._uploads, token))
        finally:
            parts.close()
        if not receipts:
            raise Failure(BAD_REQUEST, "The form has no file.")


def _promise(file: File) -> Promise:
    if file.headers.get("Content-Transfer-Encoding", "").lower() not in _PLAIN:
        raise Failure(UNSUPPORTED_MEDIA_TYPE, "Send the file as it is, without a Content-Transfer-Encoding.")
    return promise_of(file.name, None, file.headers)


def _page(path: str, receipts: Sequence[Mapping[str, Any]]) -> str:
    rows = (f"<li><bdi>{html.escape(each['name'])}</bdi><br><code>{each['sha256']}</code></li>" for each in receipts)
    return _PAGE.format(rows="".join(rows), path=html.escape(path))
