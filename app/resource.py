"""The resource that a request has found."""

from aiohttp import web


def resource_path(request: web.Request) -> str | None:
    """Its path as the service knows it, `/upload/{token}`; None where there is nothing."""
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical
