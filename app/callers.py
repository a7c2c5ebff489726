"""The caller of a request: a user, where a token or a proxy names one, and the remote address."""

from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from aiohttp import web

from jackfield.app.proxies import parse_address


@dataclass(frozen=True, slots=True)
class Caller:
    """`user` is None where nobody is named; `remote` is the address behind the proxies that are trusted.

    What is None below is not limited for this caller in particular.
    """

    user: str | None
    remote: str
    max_size: int | None = None  # bytes of one upload
    daily_quota: int | None = None  # bytes stored in 24 hours
    max_open: int | None = None  # uploads at a time

    @property
    def key(self) -> str:
        """What limits count by: the user, or the address; of IPv6 a whole /64, which one subscriber has."""
        if self.user is not None:
            return f"user {self.user}"
        address = parse_address(self.remote)
        if isinstance(address, IPv6Address):
            return str(IPv6Network((address, 64), strict=False))
        return self.remote


CALLER: Final = web.RequestKey("caller", Caller)
"""Set by the first middleware of every request."""
