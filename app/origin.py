"""The service's own origin as a client sees it, for absolute URLs."""

import re
from typing import Final

from aiohttp import hdrs, web

from jackfield.app.callers import CALLER

_HOST: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


def origin(request: web.Request) -> str:
    """`https://files.example`: what stands before a path that we give, as in `origin(request) + handler.path`.

    The scheme is that of `X-Forwarded-Proto` where a trusted proxy says it. Empty where the client has named no host:
    then the path alone is the URL (RFC 9110, 10.2.2).
    """
    host = host_of(request)
    return f"{request[CALLER].scheme or request.scheme}://{host}" if host else ""


def host_of(request: web.Request) -> str:
    """Host and port as the client names them; empty where it names none, or what is no host."""
    host = request.headers.get(hdrs.HOST, "")
    return host if _HOST.fullmatch(host) else ""
