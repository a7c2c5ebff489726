"""What tus and resumable uploads have in common: a request on an open upload, from its offset to the receipt."""

import asyncio
from typing import Final

from jackfield.app.handler import Body, Failure
from jackfield.handlers.upload.http.append import appending
from jackfield.handlers.upload.http.proof import Proof
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.store.contract import Kept
from jackfield.handlers.upload.uploads.alone import store_alone
from jackfield.handlers.upload.uploads.metrics import Words
from jackfield.handlers.upload.uploads.registry import Uploads
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire.words import LOCKED, OFFSET_MISMATCH, STORAGE_FAILED

_LEAVING: Final = 3.0  # seconds for a socket that may have left already


class Taking:
    """Takes the bodies of requests into open uploads."""

    def __init__(self, uploads: Uploads, options: UploadOptions, results: Words) -> None:
        self._uploads = uploads
        self._options = options
        self._results = results

    async def append(
        self,
        upload: OpenUpload,
        body: Body,
        offset: int,
        *,
        length: int | None = None,
        proof: Proof | None = None,
        complete: bool | None = None,
        sha256: str | None = None,
    ) -> None:
        """Take the body, which begins at `offset`. What has come is durable when this returns. Raises Failure.

        It is stored as well if it is `complete`; where that is not said (None), if the last byte has come.
        At another offset nothing that runs is ended.
        """
        if offset != upload.offset:
            raise offset_mismatch(upload.offset, offset)
        async with appending(upload, body, self._options, self._results) as append:
            if append.offset != offset or upload.receipt is not None:  # it has moved while it was taken over
                raise offset_mismatch(append.offset, offset)
            if length is not None:
                await append.amend(length)
            await append.receive(proof)
            end = append.offset
            if complete or (complete is None and end == upload.promise.expected):
                await append.finish(sha256)
        if upload.receipt is None and append.durable < end:
            raise Failure(STORAGE_FAILED, "The bytes could not be made durable.")

    async def settled(self, token: str) -> OpenUpload | Kept:
        """What the token opens, when no request sends it and it is not being stored. Raises Failure."""
        found = await self._uploads.find(token)
        if isinstance(found, Kept):
            return found
        await found.end_request()
        if found.finishing is not None and not found.finishing.done():
            await asyncio.wait([found.finishing])
            return await self._uploads.find(token)
        return found

    async def complete(self, upload: OpenUpload, token: str) -> OpenUpload | Kept:
        """All bytes are there: store it. Raises Failure, also where a socket stays that has not said it was the end."""
        if upload.session is not None:
            try:
                async with asyncio.timeout(_LEAVING):
                    await upload.session.drained()
            except TimeoutError:
                raise Failure(LOCKED, "A socket has brought all bytes, and not said that it was the end.") from None
        await store_alone(upload)
        return await self._uploads.find(token)


def offset_mismatch(expected: int, provided: int) -> Failure:
    """The request does not begin where the upload ends; the members are those of resumable uploads' problem type."""
    return Failure(
        OFFSET_MISMATCH,
        f"The upload is at {expected}, the request begins at {provided}.",
        {"Upload-Offset": str(expected)},
        {
            "type": "https://iana.org/assignments/http-problem-types#mismatching-upload-offset",
            "expected-offset": expected, "provided-offset": provided,
        },
    )  # fmt: skip
