"""A file that comes whole, by one request, or leaves nothing: what `PUT` and forms have in common."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from aiohttp import hdrs

from jackfield.app.errors import BAD_REQUEST, UNSUPPORTED_MEDIA_TYPE
from jackfield.app.handler import Caller, Failure
from jackfield.handlers.upload.http.append import Incoming, appending
from jackfield.handlers.upload.http.digests import whole_file
from jackfield.handlers.upload.http.names import normalised
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.uploads.metrics import Words
from jackfield.handlers.upload.uploads.registry import Uploads
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire.messages import Promise, Receipt


def promise_of(name: str, size: int | None, headers: Mapping[str, str]) -> Promise:
    """What these headers promise of a file. Raises Failure where they tell of a part of one, or of an encoding."""
    if hdrs.CONTENT_RANGE in headers or headers.get("Upload-Complete", "?1").strip() != "?1":
        raise Failure(BAD_REQUEST, "A whole file is wanted here, not a part of one.")
    if hdrs.CONTENT_ENCODING in headers:
        raise Failure(UNSUPPORTED_MEDIA_TYPE, "Send the file as it is, without a Content-Encoding.")
    return Promise(normalised(name), size, whole_file(headers), mtime=_last_modified(headers), whole=True)


def _last_modified(headers: Mapping[str, str]) -> int | None:
    """When the client's file was modified, in nanoseconds since 1970."""
    said = headers.get(hdrs.LAST_MODIFIED)
    if said is None:
        return None
    try:
        return round(parsedate_to_datetime(said).timestamp()) * 10**9
    except (ValueError, OverflowError):
        raise Failure(BAD_REQUEST, "Last-Modified is no date of HTTP.") from None


class Whole:
    """Stores such files."""

    def __init__(self, uploads: Uploads, options: UploadOptions, results: Words) -> None:
        self._uploads = uploads
        self._options = options
        self._results = results

    async def store(self, promise: Promise, body: Incoming, caller: Caller) -> tuple[str, Receipt]:
        """The receipt, and the token with which it can be asked for again. Raises Failure, and nothing is left."""
        body.check()
        token, upload = await self._uploads.create(promise, caller, lazily=True)
        assert isinstance(upload, OpenUpload), "its token was drawn just now"
        async with appending(upload, body, self._options, self._results) as append:
            try:
                await append.receive()
                return token, await append.finish()
            except BaseException:
                await append.idle()
                await self._uploads.discard(upload)
                raise
