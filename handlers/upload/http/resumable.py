"""Resumable Uploads for HTTP: draft-ietf-httpbis-resumable-upload-11, interop version 8."""

import warnings
from typing import Any, Final

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.multipart import content_disposition_filename, parse_content_disposition

from jackfield.app.errors import BAD_REQUEST, UNSUPPORTED_MEDIA_TYPE
from jackfield.app.handler import CALLER, Body, Failure, origin
from jackfield.handlers.upload.http import answers
from jackfield.handlers.upload.http.names import normalised
from jackfield.handlers.upload.http.proof import Proof
from jackfield.handlers.upload.http.taking import Taking, offset_mismatch
from jackfield.handlers.upload.store.contract import Kept
from jackfield.handlers.upload.uploads.registry import Uploads, draw_token, key_of
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire import fields
from jackfield.handlers.upload.wire.messages import Promise
from jackfield.handlers.upload.wire.words import COMPLETED, DIGEST_MISMATCH

INTEROP: Final = "Upload-Draft-Interop-Version"
COMPLETE: Final = "Upload-Complete"
PARTIAL: Final = "application/partial-upload"
_VERSION: Final = 8
_TYPES: Final = "https://iana.org/assignments/http-problem-types#"
_ALGORITHMS: Final = {"sha-512": "sha512", "sha-256": "sha256"}
"""Of `Content-Digest`, the best first, and what `hashlib` calls them."""


class Resumable:
    """Answers clients of this draft. `path` is the handler's own."""

    def __init__(self, path: str, uploads: Uploads, taking: Taking, max_size: int) -> None:
        self._path = path
        self._uploads = uploads
        self._taking = taking
        self._max_size = max_size

    def abilities(self) -> dict[str, str]:
        """The headers that answer `OPTIONS`."""
        return {"Accept-Patch": PARTIAL, "Upload-Limit": fields.dictionary({"max-size": self._max_size})}

    # -- creation

    async def create(self, request: web.Request, body: Body) -> web.Response:
        """`POST /upload` with `Upload-Complete`: 201; where that is `?1`, with the receipt."""
        _check_coding(request)
        complete = fields.boolean(_field(request, COMPLETE)) or False
        token = draw_token()
        name = _name(request) or key_of(token)[:16]
        promise = Promise(name, _length(request, body, 0, complete=complete), _representation(request))
        body.check()
        _, upload = await self._uploads.create(promise, request[CALLER], token=token)
        assert isinstance(upload, OpenUpload), "its token was drawn just now"
        location = {"Location": f"{origin(request)}{self._path}/{token}", **self._limits(upload)}
        await _support(request, location)
        try:
            found = await self._take(request, body, upload, token, 0, complete=complete)
        except Failure as failure:
            failure.headers.setdefault("Location", location["Location"])
            raise
        return self._answer(found, 201, location)

    async def append(self, request: web.Request, body: Body) -> web.Response:
        """`PATCH /upload/<token>`: 204, or 201 with the receipt when it completes the upload."""
        _check_coding(request)
        if request.content_type != PARTIAL:
            raise Failure(UNSUPPORTED_MEDIA_TYPE, f"Bytes come as {PARTIAL}.", {"Accept-Patch": PARTIAL})
        complete, offset = fields.boolean(_field(request, COMPLETE)), fields.integer(_field(request, "Upload-Offset"))
        if complete is None or offset is None:
            raise Failure(BAD_REQUEST, "Upload-Complete and Upload-Offset must be there.")
        token = request.match_info["token"]
        upload = await self._uploads.find(token)
        if isinstance(upload, Kept):
            raise _completed(body)
        if offset != upload.offset:
            raise offset_mismatch(upload.offset, offset)
        found = await self._take(request, body, upload, token, offset, complete=complete)
        return self._answer(found, 201 if complete else 204, self._limits(found))

    async def _take(
        self, request: web.Request, body: Body, upload: OpenUpload, token: str, offset: int, *, complete: bool
    ) -> OpenUpload | Kept:
        length = _length(request, body, offset, complete=complete)
        if length is not None and upload.promise.expected not in (None, length):
            raise _inconsistent(f"The length was {upload.promise.expected}, now it is {length}.")
        try:
            await self._taking.append(
                upload, body, offset, length=length, proof=_proof(request), complete=complete,
                sha256=_representation(request),
            )  # fmt: skip
        except Failure as failure:
            if failure.kind is DIGEST_MISMATCH and COMPLETE not in failure.headers:
                failure.headers[COMPLETE] = "?1"
                await self._uploads.discard(upload)
            raise
        return await self._uploads.find(token)

    # -- asking

    async def ask(self, request: web.Request, *, exclusive: bool) -> web.Response:
        """`HEAD` and `GET`: how far it is, and the receipt. It is `exclusive` where a request that runs is ended."""
        token = request.match_info["token"]
        found = await (self._taking.settled(token) if exclusive else self._uploads.find(token))
        return self._answer(found, 200, self._limits(found))

    def _answer(self, found: OpenUpload | Kept, status: int, more: dict[str, str]) -> web.Response:
        if isinstance(found, Kept):
            answer = answers.stored(found)
            answer.headers["Repr-Digest"] = fields.dictionary({"sha-256": bytes.fromhex(found.receipt.sha256)})
        else:
            answer = answers.opened(found, self._uploads.expires_at(found))
        answer.headers.update({**more, COMPLETE: "?1" if isinstance(found, Kept) else "?0"})
        if status == 204:
            answer = web.Response(status=204, headers=answer.headers)
        answer.set_status(status)
        return answer

    def _limits(self, found: OpenUpload | Kept) -> dict[str, str]:
        limits: dict[str, int | bytes] = {}
        if isinstance(found, OpenUpload):
            limits = {"max-size": found.max_size, "max-age": max(int(self._uploads.expires_in(found)), 0)}
        return {"Upload-Limit": fields.dictionary(limits)} if limits else {}


async def _support(request: web.Request, headers: dict[str, str]) -> None:
    """`104`, before the body is read, to a client that knows this draft, where the connection can carry it."""
    if fields.integer(_field(request, INTEROP)) != _VERSION or request.version < HttpVersion11:
        return
    lines = {**headers, INTEROP: str(_VERSION)}
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    await answers.interim(request, f"104 Upload Resumption Supported\r\n{text}")


def _field(request: web.Request, name: str) -> str | None:
    values = request.headers.getall(name, None)
    return None if values is None else ", ".join(values)


def _check_coding(request: web.Request) -> None:
    if hdrs.CONTENT_ENCODING in request.headers:
        raise Failure(UNSUPPORTED_MEDIA_TYPE, "Send the file as it is, without a Content-Encoding.")


def _name(request: web.Request) -> str | None:
    """That of `Content-Disposition` (RFC 6266); slashes in it make folders. Raises Failure."""
    said = request.headers.get(hdrs.CONTENT_DISPOSITION)
    with warnings.catch_warnings(action="ignore"):
        kind, parameters = parse_content_disposition(said)
    if said is not None and kind is None:
        raise Failure(BAD_REQUEST, "Content-Disposition cannot be read.")
    name = content_disposition_filename(parameters, "filename")
    return normalised(name) if name else None


def _length(request: web.Request, body: Body, offset: int, *, complete: bool) -> int | None:
    """What this request says of the length of the whole. Raises Failure where it says two things."""
    said = fields.integer(_field(request, "Upload-Length"))
    if not complete or body.size is None:
        return said
    if said not in (None, offset + body.size):
        raise _inconsistent(f"Upload-Length is {said}; with this content there are {offset + body.size} bytes.")
    return offset + body.size


def _representation(request: web.Request) -> str | None:
    """The digest of the whole file that is promised."""
    digest = fields.digests(_field(request, "Repr-Digest")).get("sha-256")
    return None if digest is None else digest.hex()


def _proof(request: web.Request) -> Proof | None:
    """What the content of this request must have."""
    said = fields.digests(_field(request, "Content-Digest"))
    for name, algorithm in _ALGORITHMS.items():
        if name in said:
            failure = Failure(DIGEST_MISMATCH, f"The content has another {name}.", {COMPLETE: "?0"})
            return Proof(algorithm, said[name], failure)
    return None


def _inconsistent(detail: str) -> Failure:
    return Failure(BAD_REQUEST, detail, members=_type("inconsistent-upload-length"))


def _completed(body: Body) -> Failure:
    """Nothing can be appended to what is stored."""
    if body.size == 0:
        return Failure(COMPLETED, "The upload is stored already.", {COMPLETE: "?1"}, _type("completed-upload"))
    failure = _inconsistent("The upload is stored already, without these bytes.")
    failure.headers[COMPLETE] = "?1"
    return failure


def _type(name: str) -> dict[str, Any]:
    return {"type": _TYPES + name}
