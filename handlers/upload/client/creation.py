"""A request to create an upload: its name, normalised, and its token, the idempotency key."""

import os
import secrets
import unicodedata
from collections.abc import Callable

from jackfield.handlers.upload.client.failures import Rejected
from jackfield.handlers.upload.wire.messages import Creation, Promise, check_token

Token = str | Callable[[os.stat_result], str | None]
"""An upload's token, or what returns it of the file as it is once it is open: called in a worker thread."""


def draw_token() -> str:
    """Return a new token: 43 characters from 256 random bits. An upload's token is the only key to it."""
    return secrets.token_urlsafe(32)


def creation(
    name: str, token: str | None, *, size: int | None = None, sha256: str | None = None, mtime: int | None = None
) -> Creation:
    """Return what to ask for. The name is put into Unicode's normal form C; a token is drawn where there is none.

    Raises Rejected for a name that is no text (a file's whose name is not UTF-8), ValueError for a token
    that is none.
    """
    if token is not None and not check_token(token):
        raise ValueError("a token has 22 to 64 characters of A-Z a-z 0-9 _ -")
    name = unicodedata.normalize("NFC", name)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Rejected("invalid_name", "the name is not UTF-8") from None
    return Creation(Promise(name, size, sha256, mtime=mtime), token or draw_token())
