"""Structured fields (RFC 9651) as uploads by HTTP have them. Pure.

A field that is not what it should be is as if it were not there; the drafts that name these fields want it so.
"""

from collections.abc import Mapping
from typing import Any

import http_sf


def integer(value: str | None) -> int | None:
    """An Item that is an Integer of at least 0: `Upload-Offset`, `Upload-Length`."""
    found = _item(value)
    return found if type(found) is int and found >= 0 else None


def boolean(value: str | None) -> bool | None:
    """An Item that is a Boolean: `Upload-Complete`."""
    found = _item(value)
    return found if isinstance(found, bool) else None


def digests(value: str | None) -> dict[str, bytes]:
    """A Dictionary of Byte Sequences (RFC 9530): `Repr-Digest`, `Content-Digest`; by the name of the algorithm."""
    found = _parse(value, "dictionary")
    if not isinstance(found, dict):
        return {}
    items = {name: item[0] for name, item in found.items() if isinstance(item, tuple)}
    return {name: item for name, item in items.items() if isinstance(item, bytes)}


def dictionary(members: Mapping[str, int | bytes]) -> str:
    """A Dictionary is printed: `Upload-Limit`, `Repr-Digest`."""
    return http_sf.ser(dict(members))


def _item(value: str | None) -> Any:
    found = _parse(value, "item")
    return found[0] if isinstance(found, tuple) else None


def _parse(value: str | None, kind: str) -> Any:
    try:
        return None if value is None else http_sf.parse(value.encode("ascii"), tltype=kind)
    except ValueError:  # UnicodeEncodeError is one
        return None
