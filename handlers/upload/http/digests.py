"""The SHA-256 of a file in HTTP: `Repr-Digest` and `Content-Digest` (RFC 9530)."""

from collections.abc import Mapping
from typing import Final

from jackfield.app.errors import BAD_REQUEST, Failure
from jackfield.handlers.upload.wire import fields

REPR_DIGEST: Final = "Repr-Digest"
CONTENT_DIGEST: Final = "Content-Digest"

_SHA256: Final = "sha-256"
_SIZE: Final = 32  # bytes of it


def sha256_in(headers: Mapping[str, str], name: str) -> str | None:
    """What the header of this name promises, in lower-case hex; other algorithms are not looked at.

    Raises Failure `bad_request` where it speaks of SHA-256 and does not say it: a promise is not passed over.
    """
    value = headers.get(name)
    digest = fields.digests(value).get(_SHA256)
    if digest is None and _SHA256 not in (value or "").lower():
        return None
    if digest is None or len(digest) != _SIZE:
        raise Failure(BAD_REQUEST, f"{name} cannot be read: {_SHA256}=:<base64>: is expected.")
    return digest.hex()


def whole_file(headers: Mapping[str, str]) -> str | None:
    """The same where the request brings the whole file: then either header says it. Raises Failure `bad_request`."""
    said = {sha256_in(headers, name) for name in (REPR_DIGEST, CONTENT_DIGEST)} - {None}
    if len(said) > 1:
        raise Failure(BAD_REQUEST, f"{REPR_DIGEST} and {CONTENT_DIGEST} are not the same.")
    return said.pop() if said else None


def digest_field(sha256: str) -> str:
    """The value of such a header."""
    return fields.dictionary({_SHA256: bytes.fromhex(sha256)})
