"""The messages of the upload protocol: frozen, typed; parsed and printed. Pure."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from jackfield.app.errors import BAD_MESSAGE, BAD_REQUEST, Failure, Kind

_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Promise:
    """What a client says of a file before it sends it: what is stored keeps it."""

    name: str
    size: int | None = None  # bytes
    sha256: str | None = None  # lower-case hex
    plain: bool = False  # made with text/plain: its end is a Close frame


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is on stable storage: the final name, the size in bytes, the digest in lower-case hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class End:
    """The client: that was the last byte."""

    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Restart:
    """The client: forget the bytes, begin at 0."""


@dataclass(frozen=True, slots=True)
class Create:
    """The client, on a socket of many files: a new upload."""

    promise: Promise


@dataclass(frozen=True, slots=True)
class Resume:
    """The client, likewise: go on with an older one."""

    token: str


def parse(text: str) -> End | Restart:
    """A client's text message on a socket of one upload. Raises Failure `bad_message`."""
    return _parse_one(_mapping(text, BAD_MESSAGE))


def parse_many(text: str) -> Create | Resume | End | Restart:
    """A client's text message on a socket of many. Raises Failure `bad_message`; a bad name is not told here."""
    fields = _mapping(text, BAD_MESSAGE)
    match fields.get("type"):
        case "create":
            return Create(_promise(fields, BAD_MESSAGE))
        case "resume":
            token = fields.get("token")
            if not isinstance(token, str):
                raise Failure(BAD_MESSAGE, "`token` must be a string.")
            return Resume(token)
        case _:
            return _parse_one(fields)


def _parse_one(fields: dict[str, Any]) -> End | Restart:
    match fields.get("type"):
        case "end":
            return End(_digest(fields, BAD_MESSAGE))
        case "restart":
            return Restart()
        case other:
            raise Failure(BAD_MESSAGE, f"A message of type {json.dumps(other)[:40]} is not known here.")


def parse_promise(text: str) -> Promise:
    """The JSON of a creation over HTTP. Raises Failure `bad_request`; the name is checked where it is created."""
    return _promise(_mapping(text, BAD_REQUEST), BAD_REQUEST)


def _promise(fields: dict[str, Any], fault: Kind) -> Promise:
    name, size = fields.get("name"), fields.get("size")
    if not isinstance(name, str):
        raise Failure(fault, "`name` must be a string.")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise Failure(fault, "`size` must be a whole number of bytes.")
    return Promise(name, size, _digest(fields, fault))


def _mapping(text: str, fault: Kind) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise Failure(fault, "This is not JSON.") from None
    if not isinstance(fields, dict):
        raise Failure(fault, "This is not a JSON object.")
    return fields


def _digest(fields: dict[str, Any], fault: Kind) -> str | None:
    digest = fields.get("sha256")
    if digest is not None and not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise Failure(fault, "`sha256` must be 64 lower-case hexadecimal digits.")
    return digest


def ready(token: str, promise: Promise, offset: int, sha256: str | None, message_size: int, window: int) -> str:
    """The server: the next byte it wants is `offset`; `sha256` is the digest of those it has."""
    return _print(
        type="ready", token=token, name=promise.name, offset=offset, size=promise.size, sha256=sha256,
        message_size=message_size, window=window,
    )  # fmt: skip


def ack(offset: int, durable: int) -> str:
    """The server: bytes before `offset` are written, bytes before `durable` are on stable storage."""
    return f'{{"type":"ack","offset":{offset},"durable":{durable}}}'


def stored(token: str, receipt: Receipt) -> str:
    """The server: the receipt."""
    return _print(type="stored", token=token, name=receipt.name, size=receipt.size, sha256=receipt.sha256)


def error(failure: Failure, token: str | None = None) -> str:
    """The server: what went wrong; `token` says with which upload, where there are many."""
    kind = failure.kind
    of = {} if token is None else {"token": token}
    return _print(type="error", status=kind.status, code=kind.code, detail=failure.detail, **of)


def _print(**fields: Any) -> str:
    return _ENCODE(fields)
