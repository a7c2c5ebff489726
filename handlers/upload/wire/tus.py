"""The headers of tus 1.0.0, parsed. Pure. What cannot be parsed is a Failure `bad_request`."""

import binascii
import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from jackfield.app.errors import BAD_REQUEST, Failure
from jackfield.handlers.upload.wire.times import parse_time
from jackfield.handlers.upload.wire.words import INVALID_NAME

VERSION: Final = "1.0.0"
EXTENSIONS: Final = (
    "creation", "creation-with-upload", "creation-defer-length", "expiration", "termination", "checksum",
)  # fmt: skip
ALGORITHMS: Final = ("sha256", "sha1", "md5")
"""Of `Upload-Checksum`, the best first; `hashlib` knows them by the same names."""

_NUMBER: Final = re.compile(r"[0-9]+")
_LARGEST: Final = 18  # digits; what is longer is more than any disk has
_KEY: Final = re.compile(r"[\x21-\x2b\x2d-\x7e]+")  # ASCII without space and comma
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_ABSENT: Final = ("", "null", "undefined")  # what JavaScript makes of a name that it has not


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the body of one request must have: `Upload-Checksum`."""

    algorithm: str
    digest: bytes


def number(name: str, value: str) -> int:
    """`Upload-Offset`, `Upload-Length`: a whole number, not below 0."""
    if not _NUMBER.fullmatch(value):
        raise Failure(BAD_REQUEST, f"{name} must be a whole number, not below 0.")
    return int(value) if len(value) <= _LARGEST else int("1" + "0" * _LARGEST)


def checksum(value: str) -> Checksum:
    """`Upload-Checksum`: the name of an algorithm, a space, and base64."""
    algorithm, _, encoded = value.partition(" ")
    if algorithm not in ALGORITHMS:
        raise Failure(BAD_REQUEST, f"The checksum must be one of {', '.join(ALGORITHMS)}.")
    digest = _decode(encoded)
    if digest is None or len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise Failure(BAD_REQUEST, f"The checksum is no base64 of what {algorithm} gives.")
    return Checksum(algorithm, digest)


def metadata(value: str) -> dict[str, bytes]:
    """`Upload-Metadata`: pairs of a key and base64; where that is left out the value is empty."""
    found: dict[str, bytes] = {}
    for pair in value.split(",") if value.strip() else ():
        key, _, encoded = pair.strip().partition(" ")
        decoded = _decode(encoded)
        if not _KEY.fullmatch(key) or key in found or decoded is None:
            raise Failure(BAD_REQUEST, "Upload-Metadata must be pairs of a key, each once, and base64.")
        found[key] = decoded
    return found


def _decode(encoded: str) -> bytes | None:
    try:
        return binascii.a2b_base64(encoded.encode("ascii"), strict_mode=True) if encoded else b""
    except ValueError:  # UnicodeEncodeError and binascii.Error are
        return None


def mtime_of(found: dict[str, bytes]) -> int | None:
    """When the file was modified, in nanoseconds since 1970, where `mtime` says it as RFC 3339 does."""
    try:
        return parse_time(found.get("mtime", b"").decode("ascii"))
    except ValueError:
        return None


def name_of(found: dict[str, bytes]) -> str | None:
    """The name of the file: `relativePath`, else `filename`, else `name`, in Unicode's normal form C."""
    for key in ("relativePath", "filename", "name"):
        try:
            said = found.get(key, b"").decode("utf-8")
        except UnicodeDecodeError:
            raise Failure(INVALID_NAME, f"{key} is not UTF-8.") from None
        if said not in _ABSENT:
            return unicodedata.normalize("NFC", said.removeprefix("/") if key == "relativePath" else said)
    return None


def sha256_of(found: dict[str, bytes]) -> str | None:
    """The digest of the whole file that is promised, as 64 hexadecimal digits."""
    said = found.get("sha256", b"").decode("latin-1").lower()
    if said in _ABSENT:
        return None
    if not _SHA256.fullmatch(said):
        raise Failure(BAD_REQUEST, "sha256 must be 64 hexadecimal digits.")
    return said
