"""The service's vocabulary of failures: a code word, the HTTP status and the close code that say it.

A handler raises; the dispatcher turns what was raised into a status (before the upgrade) or into a
close code (after it). Nothing else in the service chooses either. The words are stable: clients match
on them (`docs/protocol.md`, "Words"). Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
UNSUPPORTED_DATA = 1003
NO_CODE = 1005  # RFC 6455, 7.4.1: never on the wire; a Close frame without a code
ABNORMAL = 1006  # likewise; the link was lost without a Close frame
INVALID_TEXT = 1007
POLICY = 1008
MESSAGE_TOO_BIG = 1009
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013


@dataclass(frozen=True, slots=True)
class Kind:
    """One word of the vocabulary. `close` is what a socket is closed with, `status` what HTTP answers."""

    code: str
    status: int
    close: int
    retry_after: int | None = None  # seconds; sent as `Retry-After` where HTTP answers

    @classmethod
    def of_status(cls, code: str, status: int, retry_after: int | None = None) -> "Kind":
        """A kind whose close code is our own: 4000 + the status that says the same."""
        return cls(code, status, 4000 + status, retry_after)


BAD_REQUEST = Kind.of_status("bad_request", 400)
BAD_MESSAGE = Kind.of_status("bad_message", 400)
UNAUTHORIZED = Kind.of_status("unauthorized", 401)
FORBIDDEN = Kind.of_status("forbidden", 403)
FORBIDDEN_ORIGIN = Kind.of_status("forbidden_origin", 403)
NOT_FOUND = Kind.of_status("not_found", 404)
METHOD_NOT_ALLOWED = Kind.of_status("method_not_allowed", 405)
TIMED_OUT = Kind.of_status("timed_out", 408)
TOO_LARGE = Kind.of_status("too_large", 413)
UNSUPPORTED_MEDIA_TYPE = Kind.of_status("unsupported_media_type", 415)
UPGRADE_REQUIRED = Kind.of_status("upgrade_required", 426)
HEADERS_TOO_LARGE = Kind.of_status("headers_too_large", 431)
MISDIRECTED = Kind.of_status("misdirected", 421)
SLOW_DOWN = Kind.of_status("slow_down", 429)
TOO_MANY_OF_CALLER = Kind.of_status("too_many_connections", 429, retry_after=5)
TOO_MANY_CONNECTIONS = Kind("too_many_connections", 503, TRY_AGAIN_LATER, retry_after=5)
OVERLOADED = Kind("overloaded", 503, TRY_AGAIN_LATER, retry_after=5)
SLOW_READER = Kind("slow_reader", 503, TRY_AGAIN_LATER)
DRAINING = Kind("draining", 503, SERVICE_RESTART, retry_after=5)
INTERNAL = Kind("internal_error", 500, INTERNAL_ERROR)


class Close(Exception):
    """Ends a socket with this code and reason (cut to 123 bytes of UTF-8 where it is sent)."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Failure(Close):
    """Something that went wrong and has a word for it.

    `detail` is for people; it goes into the problem document, the error message and the closing reason.
    `headers` go with the HTTP answer only; so do `members`, which are added to the problem document, or replace those
    that it has (RFC 9457, 3.2).
    """

    def __init__(
        self,
        kind: Kind,
        detail: str,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(kind.close, detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = dict(members or {})
        if kind.retry_after is not None:
            self.headers.setdefault("Retry-After", str(kind.retry_after))


class Disconnected(Exception):
    """The peer ended the socket: `code` is that of its Close frame, 1005 without one, 1006 for a lost link.

    `clean` is False where the link was lost, or the Close frame stood inside an unfinished message.
    """

    def __init__(self, code: int, reason: str = "", *, clean: bool = True) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.clean = clean


class CannotStart(Exception):
    """A handler cannot open what it needs, or a port is taken; the text says why in one line."""
