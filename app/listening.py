"""Where the service listens: a host and a port, a Unix socket, or what systemd has opened for it."""

import os
import socket
import ssl
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from jackfield.app.config.settings import AdminSettings, ServerSettings
from jackfield.app.errors import CannotStart

_FIRST: Final = 3  # the descriptor of the first socket that is handed over: sd_listen_fds(3)
_BACKLOG: Final = 1024


async def listen(runner: web.AppRunner, server: ServerSettings, tls: ssl.SSLContext | None) -> str:
    """Listen, and say where, as a URL; `unix:` and the path where there is none. Raises CannotStart."""
    handed_over = inherited(os.environ)
    for each in handed_over:
        context = None if each.family == socket.AF_UNIX else tls
        await web.SockSite(runner, each, backlog=_BACKLOG, ssl_context=context).start()
    if not handed_over and server.port is not None:
        await _listen_on(runner, server.host, server.port, tls, "server")
    if not handed_over and server.unix_socket is not None:
        try:
            await web.UnixSite(runner, server.unix_socket, backlog=_BACKLOG).start()
        except OSError as error:
            raise CannotStart(f"cannot listen on {server.unix_socket}: {error.strerror or error}") from error
    if not runner.sites:
        raise CannotStart("there is nothing to listen on: set server.port or server.unix_socket")
    return _url(runner.addresses[0], secure=tls is not None)


async def listen_for_admin(runner: web.AppRunner, admin: AdminSettings) -> str:
    """The same for `server.admin`."""
    await _listen_on(runner, admin.host, admin.port, None, "server.admin")
    return _url(runner.addresses[0], secure=False)


async def _listen_on(runner: web.AppRunner, host: str, port: int, tls: ssl.SSLContext | None, where: str) -> None:
    try:
        await web.TCPSite(runner, host, port, backlog=_BACKLOG, ssl_context=tls).start()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)  # getaddrinfo's are below 0
        variable = f"JACKFIELD_{where.upper().replace('.', '__')}__PORT"
        raise CannotStart(
            f"cannot listen on {host}:{port}: {why} ({where}.host, {where}.port or {variable})"
        ) from error


def inherited(environ: Mapping[str, str]) -> list[socket.socket]:
    """The sockets that systemd has opened for this process (`LISTEN_FDS`, `LISTEN_PID`). Raises CannotStart."""
    count, process = environ.get("LISTEN_FDS", ""), environ.get("LISTEN_PID", "")
    if not count.isdecimal() or process != str(os.getpid()):
        return []
    try:
        found = [socket.socket(fileno=number) for number in range(_FIRST, _FIRST + int(count))]
    except OSError as error:
        raise CannotStart(f"what LISTEN_FDS names are no sockets: {error.strerror}") from error
    for each in found:
        each.set_inheritable(False)
    return found


def _url(address: "tuple[str, int] | str | bytes", *, secure: bool) -> str:
    if not isinstance(address, tuple):
        return f"unix:{os.fsdecode(address)}"
    host, port = address[:2]
    scheme = "https" if secure else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
