"""TCP connections: how many there may be at a time, in all and of one address, before anything is read from them."""

from typing import Any, Final

from aiohttp import web
from prometheus_client import Counter

from jackfield.app.callers import Caller
from jackfield.app.limits import Count
from jackfield.app.logger import get_logger
from jackfield.app.proxies import TrustedProxies

log = get_logger()

LEAST: Final = 1000
"""Connections without a socket that one address may have in any case: browsers behind one address, and whoever is
refused a socket, are to hear so by HTTP."""

ANYBODY: Final = ""
"""What is counted for no address: of a trusted proxy, or by a Unix socket."""


class Admission:
    """Counts TCP connections. `limit` is that of sockets for one caller, `most` what there are descriptors for.

    `patience` are the seconds that one may take to say what it wants: the handshake of TLS, and the first request.

    A connection counts for its address until it carries a socket, since sockets are counted for users. One that is too
    many is cut without an answer: to answer is what a flood wants.
    """

    def __init__(
        self, limit: int | None, most: int, proxies: TrustedProxies, refused: Counter, patience: float
    ) -> None:
        self.patience = patience
        of_one = most if limit is None else max(limit, LEAST)
        self._of_one = Count(min(of_one, max(most * 3 // 4, 1)))
        self._most = most
        self._open = 0
        self._proxies = proxies
        self._refused = refused

    def take(self, peer: Any) -> str | None:
        """Count one more; what to say when it ends, or None where it is one too many. `peer` is a `peername`."""
        who = self._who(peer)
        if self._open >= self._most or (who != ANYBODY and not self._of_one.take(who)):
            self.refused("too_many")
            log.warning("connection.refused", remote=who or None, failure="too_many_connections")
            return None
        self._open += 1
        return who

    def _who(self, peer: Any) -> str:
        if not isinstance(peer, tuple):
            return ANYBODY
        address = str(peer[0])
        return ANYBODY if self._proxies.trusts(address) else Caller(None, address).key

    def carries_socket(self, who: str) -> None:
        """It counts for its address no more; it is `ANYBODY`'s from now on."""
        if who != ANYBODY:
            self._of_one.give(who)

    def give(self, who: str) -> None:
        """It has ended."""
        self._open -= 1
        self.carries_socket(who)

    def refused(self, reason: str) -> None:
        """Count a connection that ends before its request was heard."""
        self._refused.labels(reason).inc()

    def failed(self, problem: str) -> None:
        """A handshake of TLS has come to nothing."""
        self.refused("tls")
        log.debug("connection.refused", failure="tls", problem=problem)


ADMISSION: Final = web.AppKey("admission", Admission)
"""That of an application which runs on `runner.Runner`."""
