"""`PUT`: one request, one file. What does not come whole leaves nothing."""

from email.utils import parsedate_to_datetime

from aiohttp import hdrs, web

from jackfield.app.errors import BAD_REQUEST, UNSUPPORTED_MEDIA_TYPE
from jackfield.app.handler import CALLER, Body, Failure
from jackfield.handlers.upload.http import answers
from jackfield.handlers.upload.http.append import appending
from jackfield.handlers.upload.http.digests import REPR_DIGEST, digest_field, whole_file
from jackfield.handlers.upload.http.names import name_in_path
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.store.contract import Kept
from jackfield.handlers.upload.uploads.metrics import Words
from jackfield.handlers.upload.uploads.registry import Uploads
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire.messages import Promise, Receipt


class Put:
    """Answers `PUT /upload/<name>`. `path` is the handler's own."""

    def __init__(self, path: str, uploads: Uploads, options: UploadOptions, results: Words) -> None:
        self._path = path
        self._uploads = uploads
        self._options = options
        self._results = results

    async def __call__(self, request: web.Request, body: Body) -> web.Response:
        """201 with the digest, behind everything that a receipt promises."""
        _check(request)
        promise = Promise(
            name_in_path(request), body.size, whole_file(request.headers), mtime=_last_modified(request), whole=True
        )
        body.check()
        token, upload = await self._uploads.create(promise, request[CALLER], lazily=True)
        assert isinstance(upload, OpenUpload), "its token was drawn just now"
        receipt = await self._store(upload, body)
        return await self._created(request, token, receipt)

    async def _store(self, upload: OpenUpload, body: Body) -> Receipt:
        async with appending(upload, body, self._options, self._results) as append:
            try:
                await append.receive()
                return await append.finish()
            except BaseException:
                await append.idle()
                await self._uploads.discard(upload)
                raise

    async def _created(self, request: web.Request, token: str, receipt: Receipt) -> web.Response:
        headers = {"Location": f"{self._path}/{token}", REPR_DIGEST: digest_field(receipt.sha256)}
        if "application/json" in request.headers.get(hdrs.ACCEPT, ""):
            kept = await self._uploads.find(token)
            assert isinstance(kept, Kept)
            return web.json_response(answers.stored_fields(kept), status=201, headers=headers)
        return web.Response(text=f"{receipt.sha256}  {receipt.name}\n", status=201, headers=headers)


def _last_modified(request: web.Request) -> int | None:
    """When the client's file was modified, in nanoseconds since 1970."""
    said = request.headers.get(hdrs.LAST_MODIFIED)
    if said is None:
        return None
    try:
        return round(parsedate_to_datetime(said).timestamp()) * 10**9
    except (ValueError, OverflowError):
        raise Failure(BAD_REQUEST, "Last-Modified is no date of HTTP.") from None


def _check(request: web.Request) -> None:
    """Refuse what is not a whole file as it is."""
    if hdrs.CONTENT_RANGE in request.headers or request.headers.get("Upload-Complete", "?1").strip() != "?1":
        raise Failure(BAD_REQUEST, "A PUT brings a whole file: a part of one is not taken.")
    if hdrs.CONTENT_ENCODING in request.headers:
        raise Failure(UNSUPPORTED_MEDIA_TYPE, "Send the file as it is, without a Content-Encoding.")
