"""The messages of the upload protocol, both ways: frozen, typed; parsed and printed. Pure.

The service and the client share them. What cannot be parsed is a Failure, and nothing else: `bad_message`
on a socket, `bad_request` over HTTP.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from jackfield.app.errors import BAD_MESSAGE, BAD_REQUEST, Failure, Kind
from jackfield.handlers.upload.wire.times import parse_time, print_time

_DETAIL: Final = 500  # characters of an error's detail at most
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{22,64}")


@dataclass(frozen=True, slots=True)
class Origin:
    """What the service notes of an upload when it lets it in.

    `name` is under which it is to be stored. `created` is in seconds since 1970.
    """

    name: str
    user: str | None
    remote: str
    created: float


@dataclass(frozen=True, slots=True)
class Promise:
    """What a client says of a file before it sends it: what is stored keeps it."""

    name: str
    size: int | None = None  # bytes
    sha256: str | None = None  # lower-case hex
    plain: bool = False  # made with text/plain: its end is a Close frame
    metadata: str | None = None  # `Upload-Metadata` of a tus client, word for word
    mtime: int | None = None  # when the client's file was modified, in nanoseconds since 1970
    origin: Origin | None = None  # set when it is let in
    length: int | None = None  # bytes, where they were told only after the creation
    whole: bool = False  # made by the one request that brings all its bytes: nobody goes on with what a crash leaves

    @property
    def expected(self) -> int | None:
        """How many bytes it will have, as far as that is known."""
        return self.length if self.size is None else self.size

    @property
    def place(self) -> str:
        """The name under which it is to be stored."""
        return self.name if self.origin is None else self.origin.name


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is on stable storage: the final name, the size in bytes, the digest in lower-case hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Creation:
    """The client: a new upload. `token` is the idempotency key that the client drew, None where it drew none."""

    promise: Promise
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """The client, on a socket of many files: go on with an older upload. `token` may be any text."""

    token: str


@dataclass(frozen=True, slots=True)
class End:
    """The client: that was the last byte."""

    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Restart:
    """The client: forget the bytes, begin at 0."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The server: the next byte it wants is `offset`; `sha256` is the digest of those it has, where it is known.

    `size` is what was promised. `message_size` and `window`, in bytes, are what suits the server best.
    """

    token: str
    name: str
    offset: int
    size: int | None
    sha256: str | None
    message_size: int
    window: int


@dataclass(frozen=True, slots=True)
class Ack:
    """The server: bytes before `offset` are written, bytes before `durable` are on stable storage."""

    offset: int
    durable: int


@dataclass(frozen=True, slots=True)
class Stored:
    """The server: the receipt."""

    token: str
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Error:
    """The server: what went wrong; `token` says with which upload, where there are many and it has one."""

    status: int
    code: str
    detail: str
    token: str | None = None


def check_token(text: str) -> bool:
    """Whether this may be the token of an upload: 22 to 64 of `A–Z a–z 0–9 _ -`."""
    return _TOKEN.fullmatch(text) is not None


# -- the client's messages are parsed


def parse(text: str) -> End | Restart:
    """A client's text message on a socket of one upload. Raises Failure `bad_message`."""
    return _parse_one(_mapping(text, BAD_MESSAGE))


def parse_many(text: str) -> Creation | Resume | End | Restart:
    """A client's text message on a socket of many. Raises Failure `bad_message`; a name is checked where it is used."""
    fields = _mapping(text, BAD_MESSAGE)
    match fields.get("type"):
        case "create":
            return _creation(fields, BAD_MESSAGE)
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
            raise _unknown(other)


def parse_creation(text: str) -> Creation:
    """The JSON of a creation over HTTP. Raises Failure `bad_request`; the name is checked where it is created."""
    return _creation(_mapping(text, BAD_REQUEST), BAD_REQUEST)


def _creation(fields: dict[str, Any], fault: Kind) -> Creation:
    name, token = fields.get("name"), fields.get("token")
    if not isinstance(name, str):
        raise Failure(fault, "`name` must be a string.")
    if token is not None and not (isinstance(token, str) and check_token(token)):
        raise Failure(fault, "`token` must be 22 to 64 characters of A-Z a-z 0-9 _ -.")
    size = None if fields.get("size") is None else _count(fields, "size", fault)
    return Creation(Promise(name, size, _digest(fields, fault), mtime=_moment(fields, "mtime", fault)), token)


# -- the server's messages are parsed


def parse_server(text: str) -> Ready | Ack | Stored | Error:
    """A server's text message. Raises Failure `bad_message`."""
    fields = _mapping(text, BAD_MESSAGE)
    match fields.get("type"):
        case "ready":
            return _ready(fields)
        case "ack":
            return Ack(_count(fields, "offset"), _count(fields, "durable"))
        case "stored":
            return Stored(_text(fields, "token"), _receipt(fields))
        case "error":
            token = None if fields.get("token") is None else _text(fields, "token")
            return Error(_count(fields, "status"), _text(fields, "code"), _text(fields, "detail"), token)
        case other:
            raise _unknown(other)


def _ready(fields: dict[str, Any]) -> Ready:
    return Ready(
        token=_text(fields, "token"),
        name=_text(fields, "name"),
        offset=_count(fields, "offset"),
        size=None if fields.get("size") is None else _count(fields, "size"),
        sha256=_digest(fields, BAD_MESSAGE),
        message_size=_count(fields, "message_size"),
        window=_count(fields, "window"),
    )


def _receipt(fields: dict[str, Any]) -> Receipt:
    digest = _digest(fields, BAD_MESSAGE)
    if digest is None:
        raise Failure(BAD_MESSAGE, "`sha256` is missing.")
    return Receipt(_text(fields, "name"), _count(fields, "size"), digest)


# -- fields


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands twice")
    return fields


def _no_number(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not JSON")


_DECODE: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_number).decode


def _mapping(text: str, fault: Kind) -> dict[str, Any]:
    try:
        fields = _DECODE(text)
    except (ValueError, RecursionError):
        raise Failure(fault, "This is not JSON, or a key stands twice in it.") from None
    if not isinstance(fields, dict):
        raise Failure(fault, "This is not a JSON object.")
    return fields


def _unknown(kind: object) -> Failure:
    said = f"A message of type {kind[:40]!a}" if isinstance(kind, str) else "A message without a type"
    return Failure(BAD_MESSAGE, f"{said} is not known here.")


def _text(fields: dict[str, Any], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not _encodable(value):
        raise Failure(BAD_MESSAGE, f"`{key}` must be a string of whole characters.")
    return value


def _encodable(text: str) -> bool:
    """Whether it has no half of a surrogate pair, which JSON can write and UTF-8 cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _count(fields: dict[str, Any], key: str, fault: Kind = BAD_MESSAGE) -> int:
    value = fields.get(key)
    if type(value) is not int or value < 0:
        raise Failure(fault, f"`{key}` must be a whole number, not below 0.")
    return value


def _digest(fields: dict[str, Any], fault: Kind) -> str | None:
    digest = fields.get("sha256")
    if digest is not None and not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise Failure(fault, "`sha256` must be 64 lower-case hexadecimal digits.")
    return digest


def _moment(fields: dict[str, Any], key: str, fault: Kind) -> int | None:
    said = fields.get(key)
    if said is None:
        return None
    try:
        return parse_time(said)
    except (ValueError, TypeError):
        raise Failure(fault, f"`{key}` must be a moment as in 2026-11-28T12:00:00.5Z (RFC 3339).") from None


# -- the client's messages are printed, in ASCII: also a name of a file that is no text can be asked for, and refused


def print_creation(creation: Creation) -> str:
    """The JSON of a creation over HTTP."""
    return _print_ascii(**_asked(creation))


def print_create(creation: Creation) -> str:
    """The client, on a socket of many files: a new upload."""
    return _print_ascii(type="create", **_asked(creation))


def _asked(creation: Creation) -> dict[str, Any]:
    promise = creation.promise
    mtime = None if promise.mtime is None else print_time(promise.mtime)
    fields = {
        "name": promise.name, "size": promise.size, "sha256": promise.sha256, "mtime": mtime, "token": creation.token,
    }  # fmt: skip
    return {key: value for key, value in fields.items() if value is not None}


def print_resume(token: str) -> str:
    """The client, likewise: go on with an older upload."""
    return _print_ascii(type="resume", token=token)


def print_end(sha256: str | None = None) -> str:
    """The client: that was the last byte; `sha256` is the digest of them all."""
    return _print_ascii(type="end") if sha256 is None else _print_ascii(type="end", sha256=sha256)


def print_restart() -> str:
    """The client: forget the bytes, begin at 0."""
    return _print_ascii(type="restart")


# -- the server's messages are printed; three of them piece by piece, which takes a third of the time of an encoder


def ready(token: str, promise: Promise, offset: int, sha256: str | None, message_size: int, window: int) -> str:
    """See `Ready`."""
    size = "null" if promise.expected is None else promise.expected
    digest = "null" if sha256 is None else f'"{sha256}"'
    return (
        f'{{"type":"ready","token":"{token}","name":{_ENCODE(promise.name)},"offset":{offset},"size":{size},'
        f'"sha256":{digest},"message_size":{message_size},"window":{window}}}'
    )


def ack(offset: int, durable: int) -> str:
    """See `Ack`."""
    return f'{{"type":"ack","offset":{offset},"durable":{durable}}}'


def stored(token: str, receipt: Receipt) -> str:
    """See `Stored`."""
    name, digest = _ENCODE(receipt.name), receipt.sha256
    return f'{{"type":"stored","token":"{token}","name":{name},"size":{receipt.size},"sha256":"{digest}"}}'


def error(failure: Failure, token: str | None = None) -> str:
    """See `Error`. The detail may echo what somebody sent or a disk said: it is cut, and made encodable."""
    kind = failure.kind
    detail = failure.detail[:_DETAIL].encode("utf-8", "backslashreplace").decode("utf-8")
    of = {} if token is None else {"token": token}
    return _print(type="error", status=kind.status, code=kind.code, detail=detail, **of)


_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_ENCODE_ASCII: Final = json.JSONEncoder(separators=(",", ":")).encode


def _print(**fields: Any) -> str:
    return _ENCODE(fields)


def _print_ascii(**fields: Any) -> str:
    return _ENCODE_ASCII(fields)
