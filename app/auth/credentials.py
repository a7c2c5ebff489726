"""The credentials of a request: `Authorization`, or a browser's subprotocols. Pure."""

import base64
import binascii
from typing import Final

BEARER: Final = "bearer"
"""The subprotocol that a browser's socket offers beside `bearer.<base64url of the secret>`; it alone is echoed."""


def secret_of(authorization: str | None, subprotocols: str) -> str | None:
    """The secret that a request brings, or None where it brings none that can be read.

    `authorization` is the header of that name: Bearer (RFC 6750, 2.1) or Basic with the secret as password
    (RFC 7617). `subprotocols` is `Sec-WebSocket-Protocol`, for browsers, whose sockets can have no other header.
    """
    if authorization is not None:
        scheme, _, rest = authorization.strip().partition(" ")
        if scheme.lower() == "bearer":
            return rest.strip() or None
        if scheme.lower() == "basic":
            return _password(rest.strip())
        return None
    offered = [word.strip() for word in subprotocols.split(",")]
    if BEARER not in offered:
        return None
    return next((_decode(word.removeprefix("bearer.")) for word in offered if word.startswith("bearer.")), None)


def _password(encoded: str) -> str | None:
    text = _decode(encoded)
    if text is None or ":" not in text:
        return None
    return text.partition(":")[2] or None


def _decode(encoded: str) -> str | None:
    """base64 in either alphabet, padded or not; None for anything else."""
    try:
        standard = encoded.replace("-", "+").replace("_", "/").rstrip("=")
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True).decode("utf-8") or None
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
