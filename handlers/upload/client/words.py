"""What the service says, read strictly: anything else is no upload service's."""

import json
from typing import Any, NoReturn

from jackfield.handlers.upload.client.failures import Rejected, from_close


def parsed(words: str) -> dict[str, Any]:
    """A message of the service."""
    try:
        message = json.loads(words)
    except ValueError:
        message = None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise Rejected("not_understood", f"the service says what is no message of upload.v1: {words[:80]!r}")
    return message


def whole(message: dict[str, Any], key: str) -> int:
    """A whole number in it, from 0."""
    value = message.get(key)
    if type(value) is not int or value < 0:
        raise Rejected("not_understood", f"{key} of the service's {message['type']} is {value!r}")
    return value


def text(message: dict[str, Any], key: str) -> str:
    """A text in it."""
    value = message.get(key)
    if not isinstance(value, str):
        raise Rejected("not_understood", f"{key} of the service's {message['type']} is {value!r}")
    return value


def fault(error: dict[str, Any]) -> Exception:
    """What an error message means to an upload."""
    return from_close(4000 + whole(error, "status"), text(error, "code"), text(error, "detail"))


def fail(error: dict[str, Any]) -> NoReturn:
    """Raise it."""
    raise fault(error)
