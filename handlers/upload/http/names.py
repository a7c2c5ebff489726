"""Names that come by HTTP: percent-decoded, and put into Unicode's normal form C. What is allowed is checked later."""

import unicodedata
from typing import Final
from urllib.parse import unquote_to_bytes

from aiohttp import web

from jackfield.app.handler import Failure
from jackfield.handlers.upload.wire.words import INVALID_NAME

PLACE: Final = "/{name:.*}"
"""The route of a name behind the handler's path."""


def name_in_path(request: web.Request) -> str:
    """What stands behind the handler's path. Raises Failure `invalid_name` where it is not UTF-8."""
    resource = request.match_info.route.resource
    assert resource is not None
    raw = request.rel_url.raw_path.split("/", resource.canonical.count("/"))[-1]
    try:
        return normalised(unquote_to_bytes(raw).decode("utf-8"))
    except UnicodeDecodeError:
        raise Failure(INVALID_NAME, "The name is not UTF-8.") from None


def normalised(name: str) -> str:
    """In the form that names must have."""
    return unicodedata.normalize("NFC", name)
