"""The resource that a request has found, and the prefix below which the service stands in somebody's application."""

from typing import Final

from aiohttp import web

ANCHOR: Final = web.AppKey("anchor", web.AbstractResource)
"""The resource at the very prefix. aiohttp may put more prefixes before it, also later."""


def resource_path(request: web.Request) -> str | None:
    """Its path as the service knows it, `/upload/{token}`; None where there is nothing."""
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical.removeprefix(prefix_of(request.app))


def prefix_of(app: web.Application) -> str:
    """What is put before all paths of our application; nothing where it is not mounted."""
    anchor = app.get(ANCHOR)
    return "" if anchor is None else anchor.canonical.rstrip("/")
