"""The errors of an upload, by what a caller can do about them.

Only an `UploadError` is raised to the caller. `Lost` and `Gone` stay inside: another attempt may heal them.
"""

from jackfield.handlers.upload.wire.messages import Error

# Close codes that blame what we sent: sending it again would change nothing (RFC 6455, 7.4.1).
_CLIENT_FAULTS = frozenset({1002, 1003, 1007, 1008, 1009, 1010})
_PROTOCOL = 4000  # the protocol's own close codes are 4000 + the HTTP status that says the same
_NO_SPACE = frozenset({"no_space", "too_large", "quota_exceeded"})


class UploadError(Exception):
    """The upload failed for good. `code` is the protocol's word for it where there is one, `detail` is for people."""

    resumable = False  # whether a later call with the same token can go on with what the service has

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Refused(UploadError):
    """The service refuses the caller (401, 403)."""

    resumable = True


class Rejected(UploadError):
    """The service will not have this file as it is: a bad name, a name that is taken, a folder it may not write to."""


class TokenConflict(Rejected):
    """The token belongs to another upload: of another name or size, or stored with other bytes."""


class NoSpace(UploadError):
    """Too large for the service, or its disk or a quota is full (413, 507)."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.resumable = code != "too_large"  # what was written is kept, and space can be freed


class Superseded(UploadError):
    """Somebody else goes on with the same upload (4409)."""

    resumable = True


class DigestMismatch(UploadError):
    """The bytes that arrived are not those that were promised, or not those that were sent."""


class Changed(UploadError):
    """The local file changed while it was sent, so no single version of it could be stored."""


class Unrepeatable(UploadError):
    """The service wants bytes again that came out of a stream and are not held any more."""


class Unreachable(UploadError):
    """No progress for as long as the caller allowed. The upload can go on later, with the same token."""

    resumable = True


class Lost(Exception):
    """The service or the way to it failed; come back, `retry_after` seconds from now at the earliest."""

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after


class NoSocket(Exception):
    """No WebSocket gets through to the service: something on the way refuses the upgrade, or takes it out."""


class RequestTooLarge(Exception):
    """Something on the way to the service takes no request of this size; a smaller one may get through."""


class Gone(Lost):
    """The service does not know the upload (any more)."""


def write_timed_out(seconds: float) -> Lost:
    """The service took no bytes for so long."""
    return Lost(f"no bytes were taken for {seconds:g} s")


def from_answer(status: int, code: str, detail: str, retry_after: float | None = None) -> Exception:
    """What an HTTP status other than 2xx means to an upload. `code` may be empty: not our service's words.

    What cannot get better by itself is never a `Lost`: every 4xx but 408, 425 and 429, and what the disk will not have.
    """
    if code == "token_conflict":
        return TokenConflict(code, detail)
    if code == "not_permitted":  # the disk's: no other credentials would help
        return Rejected(code, detail)
    if code in _NO_SPACE:
        return NoSpace(code, detail)
    return _by_status(status, code, detail, retry_after)


def _by_status(status: int, code: str, detail: str, retry_after: float | None) -> Exception:
    match status:
        case 401:
            return Refused(code or "unauthorized", detail)
        case 403:
            return Refused(code or "forbidden", detail)
        case 404:
            return Gone(detail)
        case 413:
            return NoSpace(code or "too_large", detail)
        case 422:
            return DigestMismatch(code or "digest_mismatch", detail)
        case 507:
            return NoSpace(code or "no_space", detail)
        case 408 | 425 | 429 | 500 | 502 | 503 | 504:
            return Lost(detail, retry_after)
    return Rejected(code or "rejected", detail)


def from_close(number: int, code: str, detail: str) -> Exception:
    """What the end of a socket means: its close code, and the word of the error before it, if any."""
    if number < _PROTOCOL:
        return Rejected("not_understood", detail) if number in _CLIENT_FAULTS else Lost(detail)
    status = number - _PROTOCOL
    if status == 404:  # not merely unknown: somebody cancelled it while it was sent
        return Rejected(code or "cancelled", detail)
    if status == 409 and code in ("", "superseded"):
        return Superseded("superseded", detail)
    return from_answer(status, code, detail)


def from_error(error: Error) -> Exception:
    """What an error message of the service means to an upload."""
    return from_close(_PROTOCOL + error.status, error.code, error.detail)
