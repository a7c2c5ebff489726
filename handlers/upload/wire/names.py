"""Names of uploads: which are allowed, and which comes next when one is taken. Pure."""

import re
import unicodedata
from typing import Final

from jackfield.app.errors import Failure
from jackfield.handlers.upload.wire.words import INVALID_NAME

MAX_NAME: Final = 1024  # bytes of UTF-8, the whole path
MAX_PART: Final = 255  # bytes of UTF-8, between two slashes: what file systems allow
MAX_FOLDERS: Final = 32  # a name may be this deep: each folder costs a descriptor and a sync
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # all of the category Cc, for good
_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # as nearly all names are: nothing can be wrong with them
_PLACE: Final = re.compile(r"\{(user|date|name|id)\}")
# What makes a terminal or a page show another name than the one that is stored: marks that change the direction of
# the text (embeddings, overrides, isolates), and separators of lines and paragraphs.
_MISLEADING: Final = re.compile("[\u202a-\u202e\u2066-\u2069\u2028\u2029]")


def check_name(name: str) -> None:
    """Raise Failure `invalid_name`, saying what is wrong; nothing is cleaned silently ("Create")."""
    fault = None if len(name) <= MAX_PART and _PLAIN.fullmatch(name) else _fault(name)
    if fault is not None:
        raise Failure(INVALID_NAME, fault)


def _fault(name: str) -> str | None:
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "The name has half a surrogate pair."
    if not 1 <= size <= MAX_NAME:
        return f"The name has {size} bytes; 1 to {MAX_NAME} are allowed."
    if not unicodedata.is_normalized("NFC", name):
        return "The name is not in Unicode's normal form C."
    if name.count("/") > MAX_FOLDERS:
        return f"The name has {name.count('/')} folders; {MAX_FOLDERS} are allowed."
    return next((fault for part in name.split("/") if (fault := _part_fault(part))), None)


def _part_fault(part: str) -> str | None:
    if not part:
        return "The name has an empty part: it must be relative, without doubled or trailing slashes."
    if len(part.encode("utf-8")) > MAX_PART:
        return f"A part of the name has more than {MAX_PART} bytes."
    if part.startswith("."):
        return "A part of the name begins with a full stop."
    if part.startswith(" ") or part.endswith(" "):
        return "A part of the name begins or ends with a space."
    if "\\" in part:
        return "The name has a backslash."
    if _CONTROL.search(part):
        return "The name has a control character."
    if _MISLEADING.search(part):
        return "The name has a mark of direction or a line separator."
    return None


def prefixed(prefix: str, name: str, user: str | None, date: str, identifier: str) -> str:
    """The name under which an upload of this name is stored. Raises Failure `invalid_name`.

    In the prefix `{user}`, `{date}`, `{name}` and `{id}` are replaced; what they bring is not looked at again.
    """
    if not prefix:
        return name
    places = {"user": user or "anonymous", "date": date, "name": name, "id": identifier}
    if "{user}" in prefix and "/" in places["user"]:
        raise Failure(INVALID_NAME, "Your user name has a slash: no folder can be called so.")
    whole = f"{_PLACE.sub(lambda found: places[found[1]], prefix)}/{name}"
    check_name(whole)
    return whole


def check_prefix(prefix: str) -> str:
    """The prefix itself, without a slash at its end. Raises ValueError where no name could be had with it."""
    prefix = prefix.removesuffix("/")
    unknown = re.search(r"\{[^{}]*\}", _PLACE.sub("", prefix))
    if unknown:
        raise ValueError(f"{unknown[0]} is none of {{user}}, {{date}}, {{name}} and {{id}}")
    try:
        prefixed(prefix, "name", None, "2026-11-28", "0" * 32)
    except Failure as failure:
        raise ValueError(failure.detail) from None
    return prefix


def alternative(part: str, number: int) -> str:
    """What a taken last part may be called instead: `data.1.xml`, `data.2.xml` …

    The number goes before the last suffix; a stem is shortened, between characters, to fit 255 bytes.
    """
    stem, dot, suffix = part.rpartition(".")
    if not stem or len(suffix.encode("utf-8")) > MAX_PART // 2:
        stem, dot, suffix = part, "", ""
    tail = f".{number}{dot}{suffix}"
    size = MAX_PART - len(tail.encode("utf-8"))
    return stem.encode("utf-8")[:size].decode("utf-8", "ignore") + tail
