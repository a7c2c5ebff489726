"""Pages of other sites that the configuration allows: what their browsers ask for beside the right `Origin`."""

from collections.abc import Awaitable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler as RequestHandler
from aiohttp.typedefs import Middleware

_EXPOSED = "Location, Retry-After, Upload-Expires, Upload-Length, Upload-Offset"


def allow_origins(allowed: tuple[str, ...]) -> Middleware:
    """Answer preflights of the allowed origins, and let their pages read the answers (Fetch standard, 3.2)."""

    @web.middleware
    def cors(request: web.Request, handler: RequestHandler) -> Awaitable[web.StreamResponse]:
        origin = request.headers.get(hdrs.ORIGIN)
        return allow(origin, request, handler) if origin in allowed else handler(request)

    async def allow(origin: str, request: web.Request, handler: RequestHandler) -> web.StreamResponse:
        if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
            response: web.StreamResponse = web.Response(status=204)
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "GET, HEAD, POST, DELETE"
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = "Authorization, Content-Type"
            response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = "600"
        else:
            response = await handler(request)
        if not response.prepared:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED
            response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        return response

    return cors
