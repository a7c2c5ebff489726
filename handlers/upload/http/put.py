"""`PUT`: one request, one file. What does not come whole leaves nothing."""

from aiohttp import web

from jackfield.app.handler import CALLER, Body, accepts
from jackfield.handlers.upload.http import answers
from jackfield.handlers.upload.http.digests import REPR_DIGEST, digest_field
from jackfield.handlers.upload.http.names import name_in_path
from jackfield.handlers.upload.http.whole import Whole, promise_of
from jackfield.handlers.upload.uploads.registry import Uploads
from jackfield.handlers.upload.wire.messages import Receipt


class Put:
    """Answers `PUT /upload/<name>`. `path` is the handler's own."""

    def __init__(self, path: str, uploads: Uploads, whole: Whole) -> None:
        self._path = path
        self._uploads = uploads
        self._whole = whole

    async def __call__(self, request: web.Request, body: Body) -> web.Response:
        """201 with the digest, behind everything that a receipt promises."""
        promise = promise_of(name_in_path(request), body.size, request.headers)
        token, receipt = await self._whole.store(promise, body, request[CALLER])
        headers = {"Location": f"{self._path}/{token}", REPR_DIGEST: digest_field(receipt.sha256)}
        if accepts(request, "application/json"):
            fields = await answers.receipt(self._uploads, token)
            return web.json_response(fields, status=201, headers=headers)
        return web.Response(text=_line(receipt), status=201, headers=headers)


def _line(receipt: Receipt) -> str:
    """As `sha256sum` prints it."""
    return f"{receipt.sha256}  {receipt.name}\n"
