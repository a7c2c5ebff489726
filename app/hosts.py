"""The check of the header `Host`, against DNS rebinding by pages of other sites."""

from collections.abc import Awaitable, Iterable
from ipaddress import ip_address
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler as RequestHandler
from aiohttp.typedefs import Middleware

from jackfield.app.errors import MISDIRECTED, Failure
from jackfield.app.resource import resource_path

_LOOPBACK: Final = "localhost"
_SHOWN: Final = 100  # characters of the header that are repeated in an answer


def check_host(listening: str, allowed: Iterable[str], exempt: Iterable[str]) -> Middleware:
    """Refuse a request that was meant for somebody else, or for a name that a stranger lets point here (421).

    `listening` is the host we listen on. Where that is a loopback one its names are allowed, and without a list of
    `allowed` ones no others. `exempt` are paths that whoever watches the service asks for by any name.
    """
    names, loopback, open_to_all = {*allowed}, _is_loopback(listening), {*exempt}

    def ours(host: str) -> bool:
        name = _without_port(host)
        return name in names or (loopback and _is_loopback(name)) or not (names or loopback)

    @web.middleware
    def check(request: web.Request, handler: RequestHandler) -> Awaitable[web.StreamResponse]:
        host = request.headers.get(hdrs.HOST)  # HTTP/1.0 need not have it, and is no browser's
        if host is not None and not ours(host) and resource_path(request) not in open_to_all:
            raise Failure(
                MISDIRECTED, f"This service is not {host[:_SHOWN]}. If it is, add the name to server.allowed_hosts."
            )
        return handler(request)

    return check


def _without_port(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return (name if colon and (port.isdecimal() or not port) else host.lower()).removesuffix(".")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == _LOOPBACK or host.endswith(f".{_LOOPBACK}")
