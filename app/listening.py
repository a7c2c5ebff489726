"""Where the service listens: a host and a port, a Unix socket, or what systemd has opened for it."""

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from jackfield.app.config.settings import AdminSettings, ServerSettings
from jackfield.app.errors import CannotStart
from jackfield.app.runner import Runner
from jackfield.app.tlssite import TlsSite

_FIRST: Final = 3  # the descriptor of the first socket that is handed over: sd_listen_fds(3)
_BACKLOG: Final = 1024


async def listen(runner: Runner, server: ServerSettings, tls: ssl.SSLContext | None) -> str:
    """Listen, and say where, as a URL; `unix:` and the path where there is none. Raises CannotStart."""
    handed_over = inherited(os.environ)
    for each in handed_over:
        context = None if each.family == socket.AF_UNIX else tls
        await _serve_on(runner, each, context)
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


async def listen_for_admin(runner: Runner, admin: AdminSettings) -> str:
    """The same for `server.admin`."""
    await _listen_on(runner, admin.host, admin.port, None, "server.admin")
    return _url(runner.addresses[0], secure=False)


async def _listen_on(runner: Runner, host: str, port: int, tls: ssl.SSLContext | None, where: str) -> None:
    try:
        for each in await _bound(host, port):
            await _serve_on(runner, each, tls)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)  # getaddrinfo's are below 0
        variable = f"JACKFIELD_{where.upper().replace('.', '__')}__PORT"
        raise CannotStart(
            f"cannot listen on {host}:{port}: {why} ({where}.host, {where}.port or {variable})"
        ) from error


async def _bound(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of the host. Raises OSError."""
    loop = asyncio.get_running_loop()
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(
            await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        ):
            bound.append(each := socket.socket(family, kind, protocol))
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            each.bind(address)
    except OSError:
        for each in bound:
            each.close()
        raise
    return bound


async def _serve_on(runner: Runner, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
    if tls is None:
        await web.SockSite(runner, listening, backlog=_BACKLOG).start()
    else:
        await TlsSite(runner, listening, tls, _BACKLOG).start()


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
