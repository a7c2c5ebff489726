"""Middlewares: problem documents for failures, the check of `Origin`, limits for requests and their bodies."""

import asyncio
import math
import time
from collections.abc import Awaitable, Container, Iterable
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler as RequestHandler
from aiohttp.typedefs import Middleware
from yarl import URL

from jackfield.app import errors
from jackfield.app.callers import CALLER
from jackfield.app.errors import Failure, Kind
from jackfield.app.handshake import wants_upgrade
from jackfield.app.limits import Rate
from jackfield.app.logger import get_logger
from jackfield.app.logs import FAILURE, PATH, path_without_secrets
from jackfield.app.metrics import Metrics
from jackfield.app.resource import resource_path

log = get_logger()

_SHOWN = 100  # characters of a header that are repeated in an answer and in the log
_WARNINGS = 100  # pairs of origin and host that are logged, at the most: anybody can make up more

_OF_STATUS = {
    kind.status: kind
    for kind in (
        errors.BAD_REQUEST, errors.NOT_FOUND, errors.METHOD_NOT_ALLOWED, errors.TOO_LARGE,
        errors.UNSUPPORTED_MEDIA_TYPE, errors.UPGRADE_REQUIRED,
    )
}  # fmt: skip


def problem(failure: Failure) -> web.Response:
    """An answer as RFC 9457 describes, with the code word beside the standard members."""
    kind = failure.kind
    body = {
        "type": "about:blank", "title": _phrase(kind), "status": kind.status, "detail": failure.detail,
        "code": kind.code, **failure.members,
    }  # fmt: skip
    return web.json_response(
        body, status=kind.status, reason=_phrase(kind), headers=failure.headers, content_type="application/problem+json"
    )


def _phrase(kind: Kind) -> str:
    """The status in words; RFC 9110 has none for some that other protocols have made."""
    try:
        return HTTPStatus(kind.status).phrase
    except ValueError:
        return kind.code.replace("_", " ").title()


def failures(metrics: Metrics) -> Middleware:
    """Turn an exception into a problem document, and count it; an unexpected one is logged and answered 500.

    Where an answer has begun already (a 101 above all) there can be no other one: the link is cut.
    """

    @web.middleware
    async def answer(request: web.Request, handler: RequestHandler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except Exception as error:
            response = failed(request, error)
        finally:
            request[PATH] = path_without_secrets(request)  # not before: an open socket need not hold it
        metrics.answers.labels(handler_of(request), str(response.status)).inc()
        return response

    def failed(request: web.Request, error: Exception) -> web.Response:
        if request.writer.output_size:
            kind = _cut(request, error)
            response = web.Response()  # for aiohttp's own books: nothing of it is sent
        else:
            failure = _failure(error)
            kind, response = failure.kind, problem(failure)
            if wants_upgrade(request) or kind == errors.TIMED_OUT:
                response.force_close()  # what comes behind it is no request
        metrics.refusals.labels(handler_of(request), kind.code).inc()
        request[FAILURE] = kind.code
        return response

    def handler_of(request: web.Request) -> str:
        return metrics.handlers.get(resource_path(request) or "", "")

    return answer


def _cut(request: web.Request, error: Exception) -> Kind:
    """Cut a link whose answer had begun and cannot be finished."""
    transport = request.transport
    lost = transport is None or transport.is_closing()
    if not (lost and isinstance(error, ConnectionError)):
        log.error("request.failed", exc_info=error, detail="An answer had begun already; the link is cut.")
    if transport is not None:
        transport.abort()
    return errors.INTERNAL


def _failure(error: Exception) -> Failure:
    """What is answered."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, web.HTTPException):
        if error.status < 400:
            raise error
        kind = _OF_STATUS.get(error.status, Kind(_word(error.status), error.status, 4000 + error.status))
        kept = {name: value for name, value in error.headers.items() if name in ("Allow", "Retry-After", "Upgrade")}
        return Failure(kind, _detail(error), kept)
    if isinstance(error, web.RequestPayloadError):
        return Failure(errors.BAD_REQUEST, f"The body cannot be read: {error}.")
    if isinstance(error, ConnectionError):
        return Failure(errors.BAD_REQUEST, "The link was lost.")  # there is nobody to read it
    log.error("request.failed", exc_info=error)
    return Failure(errors.INTERNAL, "The service failed; its log says why.")


def _word(status: int) -> str:
    return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")


def _detail(error: web.HTTPException) -> str:
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"{error.method} is not allowed here."
    if error.status == 404:
        return "There is nothing at this path."
    return error.text or error.reason


def limit_requests(per_second: float | None, exempt: Iterable[str]) -> Middleware:
    """So many for one caller, a socket's handshake among them (429). `exempt` are paths that may always be asked."""
    rate = None if per_second is None else Rate(per_second, time.monotonic)
    free = {*exempt}

    @web.middleware
    def limited(request: web.Request, handler: RequestHandler) -> Awaitable[web.StreamResponse]:
        if rate is not None and resource_path(request) not in free:
            wait = rate.take(request[CALLER].key)
            if wait:
                again = {"Retry-After": str(math.ceil(wait))}
                raise Failure(errors.SLOW_DOWN, f"{per_second:g} requests a second are yours.", again)
        return handler(request)

    return limited


def small_bodies(seconds: float, others: Container[RequestHandler]) -> Middleware:
    """Read a request's body before its handler runs, so that one that stalls or trickles holds nothing up: 408.

    The `others` take theirs by themselves.
    """

    @web.middleware
    def body(request: web.Request, handler: RequestHandler) -> Awaitable[web.StreamResponse]:
        match = request.match_info
        small = match.http_exception is None and match.handler not in others
        read_first = request.can_read_body and small and not wants_upgrade(request)
        return read(request, handler) if read_first else handler(request)

    async def read(request: web.Request, handler: RequestHandler) -> web.StreamResponse:
        try:
            async with asyncio.timeout(seconds):
                await request.read()
        except TimeoutError:
            raise Failure(errors.TIMED_OUT, f"The body was not whole after {seconds:g} s.") from None
        return await handler(request)

    return body


def check_origin(allowed: list[str] | tuple[str, ...]) -> Middleware:
    """Refuse pages of other sites: a browser says in `Origin` whose page asks (RFC 6455, 10.2)."""
    origins = {_authority(origin) for origin in allowed}
    told: set[tuple[str, str]] = set()

    @web.middleware
    def origin(request: web.Request, handler: RequestHandler) -> Awaitable[web.StreamResponse]:
        values = request.headers.getall("Origin", ())
        for value in values:
            asked = _authority(value)
            known = value in allowed or (
                asked is not None and (asked in origins or asked[1:] == _host(request, asked[0]))
            )
            if not known or len(values) > 1:
                raise _foreign(value, request.headers.get("Host", ""), told)
        return handler(request)

    return origin


def _foreign(origin: str, host: str, told: set[tuple[str, str]]) -> Failure:
    """Behind a proxy that does not pass `Host` on our own page comes from elsewhere: say how to mend it, once."""
    origin, host = origin[:_SHOWN], host[:_SHOWN]
    if (origin, host) not in told and len(told) < _WARNINGS:
        told.add((origin, host))
        log.warning("origin.refused", origin=origin, host=host)
    return Failure(
        errors.FORBIDDEN_ORIGIN,
        f"A page of {origin} may not use this service, which was asked for as {host}. If it is the service's own page, "
        "let the proxy pass the header Host on unchanged; if not, add the origin to server.allowed_origins.",
    )


def _authority(origin: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port of an origin; None for `null` and for what is none."""
    try:
        url = URL(origin)
        return (url.scheme, url.host.lower(), url.port) if url.scheme and url.host else None
    except ValueError:
        return None


def _host(request: web.Request, scheme: str) -> tuple[str, int | None] | None:
    """Host and port that the request names; a port that is left out is the origin's scheme's own."""
    own = _authority(f"{scheme}://{request.headers.get('Host', '')}")
    return own[1:] if own is not None else None
