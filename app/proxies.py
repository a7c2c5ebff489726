"""The caller's address, and what it speaks, behind trusted proxies. Pure.

Each proxy appends the address that it saw to `X-Forwarded-For`, so the list is believed from its right end, as far
as the addresses there are trusted proxies themselves; what a client wrote stands to the left of that.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

UNIX: Final = "unix"
"""In the setting: whoever comes by the Unix socket. As an address: somebody there whom no proxy named."""

_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

Address = IPv4Address | IPv6Address


class TrustedProxies:
    """The addresses and networks whose headers are believed; `unix` is whoever comes by the Unix socket."""

    def __init__(self, trusted: Iterable[str]) -> None:
        names = list(trusted)
        self._unix = UNIX in names
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(name) for name in names if name != UNIX]

    def trusts(self, peer: str) -> bool:
        """Whether the peer of a TCP connection, or `unix`, is one of them."""
        if peer == UNIX:
            return self._unix
        address = parse_address(peer)
        return address is not None and any(address in network for network in self._networks)

    def remote(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The caller's address: the last one that no trusted proxy has.

        `forwarded_for` are the values of all headers `X-Forwarded-For`, in their order. What is no address ends the
        search: the proxy that wrote it is then the last that is known.
        """
        return self._way(peer, forwarded_for)[-1] if forwarded_for else peer

    def scheme(self, peer: str, forwarded_for: Sequence[str], forwarded_proto: Sequence[str]) -> str | None:
        """What the caller speaks, `http` or `https`; None where no trusted proxy says it.

        Of a list (`X-Forwarded-Proto`, one entry for each proxy) it is the entry of the proxy that was the last to
        be believed about the address; of a shorter one the first.
        """
        if not forwarded_proto or not self.trusts(peer):
            return None
        said = [entry.strip().lower() for entry in ",".join(forwarded_proto).split(",")]
        believed = max(len(self._way(peer, forwarded_for)) - 1, 1)
        return _SCHEMES.get(said[-min(believed, len(said))])

    def _way(self, peer: str, forwarded_for: Sequence[str]) -> list[str]:
        """The peer, then the addresses that are believed, to the caller's."""
        way = [peer]
        for entry in reversed(",".join(forwarded_for).split(",")):
            address = parse_address(entry.strip()) if self.trusts(way[-1]) else None
            if address is None:
                break
            way.append(str(address))
        return way


def parse_address(text: str) -> Address | None:
    """An address as proxies write it: with a port or in brackets too, IPv4 in IPv6 as IPv4; None for anything else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
