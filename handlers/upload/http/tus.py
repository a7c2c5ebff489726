"""tus 1.0.0: its core, creation (also with bytes, also without a length), expiration, termination and checksums.

The protocol says what it has to say in headers; what fails is a problem document as everywhere.
"""

from collections.abc import Awaitable, Callable
from typing import Concatenate, Final, ParamSpec

from aiohttp import web

from jackfield.app.errors import BAD_REQUEST, TOO_LARGE, UNSUPPORTED_MEDIA_TYPE
from jackfield.app.handler import CALLER, Body, Failure, origin
from jackfield.handlers.upload.http import answers
from jackfield.handlers.upload.http.proof import Proof
from jackfield.handlers.upload.http.taking import Taking, offset_mismatch
from jackfield.handlers.upload.store.contract import Kept
from jackfield.handlers.upload.uploads.registry import Uploads, draw_token, key_of
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire import tus
from jackfield.handlers.upload.wire.messages import Promise
from jackfield.handlers.upload.wire.words import CHECKSUM_MISMATCH, DIGEST_MISMATCH, UNSUPPORTED_VERSION

RESUMABLE: Final = "Tus-Resumable"
BYTES: Final = "application/offset+octet-stream"
_VERSION: Final = {RESUMABLE: tus.VERSION}

_P = ParamSpec("_P")


_Answer = Callable[Concatenate["Tus", web.Request, _P], Awaitable[web.Response]]


def _speaking(answer: _Answer[_P]) -> _Answer[_P]:
    """Every answer names the version; a request of another one is not looked at."""

    async def named(self: "Tus", request: web.Request, /, *rest: _P.args, **options: _P.kwargs) -> web.Response:
        try:
            _check_version(request)
            response = await answer(self, request, *rest, **options)
        except Failure as failure:
            failure.headers.update(_VERSION)
            raise
        response.headers.update(_VERSION)
        return response

    return named


class Tus:
    """Answers tus clients. `path` is the handler's own."""

    def __init__(self, path: str, uploads: Uploads, taking: Taking, max_size: int) -> None:
        self._path = path
        self._uploads = uploads
        self._taking = taking
        self._max_size = max_size

    def abilities(self) -> dict[str, str]:
        """The headers that answer `OPTIONS`."""
        return {
            **_VERSION, "Tus-Version": tus.VERSION, "Tus-Extension": ",".join(tus.EXTENSIONS),
            "Tus-Max-Size": str(self._max_size), "Tus-Checksum-Algorithm": ",".join(tus.ALGORITHMS),
        }  # fmt: skip

    # -- creation

    @_speaking
    async def create(self, request: web.Request, body: Body) -> web.Response:
        """`POST /upload`: 201 with `Location`; what comes with it is durable."""
        if body.size != 0:
            _check_type(request)
        token = draw_token()
        promise, proof = _promise(request, token), _proof(request)
        body.check()
        _, upload = await self._uploads.create(promise, request[CALLER], token=token)
        assert isinstance(upload, OpenUpload), "its token was drawn just now"
        location = {"Location": f"{origin(request)}{self._path}/{token}"}
        if body.size != 0 or promise.size == 0:
            try:
                await self._taking.append(upload, body, 0, proof=proof)
            except Failure as failure:
                failure.headers.update(location)
                if failure.kind in (CHECKSUM_MISMATCH, DIGEST_MISMATCH):
                    await self._uploads.discard(upload)
                raise
        return web.Response(status=201, headers={**location, **self._state(await self._uploads.find(token))})

    # -- core

    @_speaking
    async def append(self, request: web.Request, body: Body) -> web.Response:
        """`PATCH`: 204 when the bytes are durable, and, if the last one is among them, the file is stored."""
        _check_type(request)
        offset, length, proof = _number(request, "Upload-Offset"), _length(request), _proof(request)
        if offset is None:
            raise Failure(BAD_REQUEST, "A PATCH says where its bytes begin: Upload-Offset is missing.")
        token = request.match_info["token"]
        found = await self._uploads.find(token)
        if isinstance(found, Kept):
            _check_stored(found, offset, body)
        else:
            await self._taking.append(found, body, offset, length=length, proof=proof)
        return web.Response(status=204, headers=self._state(await self._uploads.find(token)))

    @_speaking
    async def ask(self, request: web.Request) -> web.Response:
        """`HEAD`: how far it is. Whoever asks sends no more by an older request; one that still runs is ended.

        A file is complete for a tus client when the offset is the length: then it is stored before this says so.
        """
        found = await self._taking.settled(request.match_info["token"])
        if isinstance(found, OpenUpload) and found.offset == found.promise.expected:
            found = await self._taking.complete(found, request.match_info["token"])
        return web.Response(status=200, headers={**self._state(found), **_metadata(found.promise)})

    def _state(self, found: OpenUpload | Kept) -> dict[str, str]:
        if isinstance(found, Kept):
            return answers.headers(found.receipt.size, found.receipt.size, found.until)
        length = found.promise.expected
        headers = answers.headers(found.offset, length, self._uploads.expires_at(found))
        return headers if length is not None else {**headers, "Upload-Defer-Length": "1"}

    @_speaking
    async def terminate(self, request: web.Request) -> web.Response:
        """`DELETE`: an open upload is thrown away; of a stored one the receipt is, and the file stays."""
        await self._uploads.forget(request.match_info["token"])
        return web.Response(status=204)


def _check_version(request: web.Request) -> None:
    if request.headers.get(RESUMABLE) != tus.VERSION:
        told = f"{RESUMABLE} must be {tus.VERSION}."
        raise Failure(UNSUPPORTED_VERSION, told, {"Tus-Version": tus.VERSION})


def _check_type(request: web.Request) -> None:
    if request.content_type != BYTES or "Content-Encoding" in request.headers:
        raise Failure(UNSUPPORTED_MEDIA_TYPE, f"Bytes come as {BYTES}, without a Content-Encoding.")


def _check_stored(kept: Kept, offset: int, body: Body) -> None:
    """Nothing can be appended to what is stored; nothing may."""
    size = kept.receipt.size
    if offset != size:
        raise offset_mismatch(size, offset)
    if body.size != 0:
        raise Failure(TOO_LARGE, f"The upload is stored, with all of its {size} bytes.")


def _promise(request: web.Request, token: str) -> Promise:
    headers = request.headers
    if "Upload-Concat" in headers:
        raise Failure(BAD_REQUEST, "Uploads are not concatenated here; send the file as one.")
    length, deferred = _length(request), headers.get("Upload-Defer-Length")
    if deferred not in (None, "1"):
        raise Failure(BAD_REQUEST, "Upload-Defer-Length can only be 1.")
    if (length is None) == (deferred is None):
        raise Failure(BAD_REQUEST, "One of Upload-Length and Upload-Defer-Length must be there.")
    said = ",".join(headers.getall("Upload-Metadata", ()))
    found = tus.metadata(said)
    name = tus.name_of(found) or key_of(token)[:16]
    return Promise(name, length, tus.sha256_of(found), metadata=said or None, mtime=tus.mtime_of(found))


def _metadata(promise: Promise) -> dict[str, str]:
    return {} if promise.metadata is None else {"Upload-Metadata": promise.metadata}


def _length(request: web.Request) -> int | None:
    return _number(request, "Upload-Length")


def _number(request: web.Request, name: str) -> int | None:
    value = request.headers.get(name)
    return None if value is None else tus.number(name, value)


def _proof(request: web.Request) -> Proof | None:
    value = request.headers.get("Upload-Checksum")
    if value is None:
        return None
    said = tus.checksum(value)
    return Proof(said.algorithm, said.digest, Failure(CHECKSUM_MISMATCH, f"The body has another {said.algorithm}."))
