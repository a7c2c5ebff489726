"""CORS: preflights and response headers for the pages of other sites that the configuration allows."""

from collections.abc import Awaitable, Iterable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler as RequestHandler
from aiohttp.typedefs import Middleware

from jackfield.app.handler import Handler

_EXPOSED = ("Location", "Retry-After")
_ALLOWED = ("Authorization", "Content-Type")


def allow_origins(allowed: tuple[str, ...], handlers: Iterable[Handler]) -> Middleware:
    """Answer preflights of the allowed origins, and let their pages read the answers (Fetch standard, 3.2).

    Methods are those of all routes; headers are the service's own, and those that a handler names.
    """
    handlers = list(handlers)
    exposed = ", ".join(sorted({*_EXPOSED, *(name for each in handlers for name in each.exposed_headers)}))
    asked = ", ".join(sorted({*_ALLOWED, *(name for each in handlers for name in each.request_headers)}))

    @web.middleware
    def cors(request: web.Request, handler: RequestHandler) -> Awaitable[web.StreamResponse]:
        origin = request.headers.get(hdrs.ORIGIN)
        return allow(origin, request, handler) if origin in allowed else handler(request)

    async def allow(origin: str, request: web.Request, handler: RequestHandler) -> web.StreamResponse:
        if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
            methods = sorted({route.method for route in request.app.router.routes()})
            response: web.StreamResponse = web.Response(status=204)
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = ", ".join(methods)
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = asked
            response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = "600"
        else:
            response = await handler(request)
        if not response.prepared:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = exposed
            response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        return response

    return cors
