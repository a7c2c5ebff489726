"""Notifications to systemd (sd_notify(3)): ready, stopping, watchdog."""

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends to the socket that systemd names in `NOTIFY_SOCKET`; without one it says nothing. All raise OSError.

    `watchdog` is the number of seconds after which to say that the service lives, half of what systemd waits;
    None where it does not wait for that.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self.watchdog = _watchdog(environ) if self._address else None

    async def ready(self) -> None:
        """Requests are served."""
        self._send("READY=1")

    async def stopping(self) -> None:
        """No more sockets are let in."""
        self._send("STOPPING=1")

    async def alive(self) -> None:
        """The event loop turns."""
        self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sending:
            sending.sendto(state.encode(), address)


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Seconds between two signs of life (sd_watchdog_enabled(3)): half of the limit, where it is set for us."""
    limit, process = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not limit.isdecimal() or int(limit) == 0 or (process and process != str(os.getpid())):
        return None
    return int(limit) / 2_000_000
