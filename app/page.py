"""A handler's page, and the headers that every page comes with."""

import asyncio
from string import Template

from aiohttp import web

from jackfield.app.callers import CALLER
from jackfield.app.handler import Handler
from jackfield.app.origin import host_of


def page_headers(request: web.Request) -> dict[str, str]:
    """Scripts and connections of this host alone; its sockets are named, since not every browser has them in 'self'."""
    host = host_of(request)
    sockets = f" ws://{host} wss://{host}" if host else ""
    return {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": f"default-src 'self'; connect-src 'self'{sockets}; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        "Referrer-Policy": "strict-origin",  # the path may hold a token; without a referrer forms have no Origin
        "X-Content-Type-Options": "nosniff",
        "Vary": "Accept",
    }


async def page(request: web.Request, handler: Handler, base: str, *, token: bool) -> web.Response:
    """The handler's page; `$path`, `$base`, `$assets` and `$shared` in it say where things are.

    `$token` is `needed` where the handler wants to know who asks, and nobody has said it for the page.
    """
    assert handler.page is not None
    text = await asyncio.to_thread((handler.page / "index.html").read_text, encoding="utf-8")
    places = {"assets": f"{base}/assets/{handler.name}", "shared": f"{base}/assets/app"}
    needed = "needed" if token and not handler.public and request[CALLER].user is None else ""
    body = Template(text).safe_substitute(path=handler.path, base=base, token=needed, **places)
    return web.Response(text=body, content_type="text/html", headers=page_headers(request))
