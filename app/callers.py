"""The caller of a request: a user, where a token or a proxy names one, and the remote address."""

from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from aiohttp import web

from jackfield.app.proxies import parse_address


@dataclass(frozen=True, slots=True)
class Caller:
    """`user` is None where nobody is named; `remote` is the address behind the proxies that are trusted.

    `key` is what limits count by: the user, or the address; of IPv6 a whole /64, which one subscriber has.
    What is None is not limited for this caller in particular.
    """

    user: str | None
    remote: str
    max_size: int | None = None  # bytes of one upload
    daily_quota: int | None = None  # bytes stored in 24 hours
    max_open: int | None = None  # uploads at a time
    scheme: str | None = None  # what the client speaks to a trusted proxy, where that says it: "http" or "https"
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _key(self.user, self.remote))


def _key(user: str | None, remote: str) -> str:
    if user is not None:
        return f"user {user}"
    address = parse_address(remote) if ":" in remote else None
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return remote


CALLER: Final = web.RequestKey("caller", Caller)
"""Set by the first middleware of every request."""
