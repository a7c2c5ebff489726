"""What every HTTP request passes: problem documents for failures, and the check of its origin."""

from collections.abc import Awaitable
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler as RequestHandler
from aiohttp.typedefs import Middleware
from yarl import URL

from jackfield.app import errors
from jackfield.app.errors import Close, Failure, Kind
from jackfield.app.logs import PATH, path_without_secrets

log = structlog.get_logger()

_OF_STATUS = {
    kind.status: kind
    for kind in (
        errors.BAD_REQUEST, errors.NOT_FOUND, errors.METHOD_NOT_ALLOWED, errors.TOO_LARGE,
        errors.UNSUPPORTED_MEDIA_TYPE, errors.UPGRADE_REQUIRED,
    )
}  # fmt: skip


def problem(kind: Kind, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    """An answer as RFC 9457 describes, with the code word beside the standard members."""
    title = HTTPStatus(kind.status).phrase
    body = {"type": "about:blank", "title": title, "status": kind.status, "detail": detail, "code": kind.code}
    return web.json_response(body, status=kind.status, headers=headers, content_type="application/problem+json")


@web.middleware
async def failures(request: web.Request, handler: RequestHandler) -> web.StreamResponse:
    """Turn what was raised into a problem document; what nobody foresaw is logged and answered 500."""
    try:
        return await handler(request)
    except Failure as failure:
        return problem(failure.kind, failure.detail, failure.headers)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        kind = _OF_STATUS.get(error.status, Kind(_word(error.status), error.status, 4000 + error.status))
        kept = {name: value for name, value in error.headers.items() if name in ("Allow", "Retry-After", "Upgrade")}
        return problem(kind, _detail(error), kept)
    except web.RequestPayloadError as error:
        return problem(errors.BAD_REQUEST, f"The body cannot be read: {error}.")
    except ConnectionError:
        return problem(errors.BAD_REQUEST, "The link was lost.")  # there is nobody to read it
    except Close as close:  # raised before there was a socket to close
        log.exception("request.failed", detail=f"Close({close.code}) was raised where there is no socket")
        return problem(errors.INTERNAL, "The service failed.")
    except Exception:
        log.exception("request.failed")
        return problem(errors.INTERNAL, "The service failed; its log says why.")
    finally:
        request[PATH] = path_without_secrets(request)  # not before: an open socket need not hold it


def _word(status: int) -> str:
    return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")


def _detail(error: web.HTTPException) -> str:
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"{error.method} is not allowed here."
    if error.status == 404:
        return "There is nothing at this path."
    return error.text or error.reason


def check_origin(allowed: list[str] | tuple[str, ...]) -> Middleware:
    """Refuse pages of other sites: a browser says in `Origin` whose page asks (RFC 6455, 10.2)."""
    origins = {_authority(origin) for origin in allowed}

    @web.middleware
    def origin(request: web.Request, handler: RequestHandler) -> Awaitable[web.StreamResponse]:
        value = request.headers.get("Origin")
        if value is None:
            return handler(request)
        asked = _authority(value)
        if value in allowed or (asked is not None and (asked in origins or asked[1:] == _host(request, asked[0]))):
            return handler(request)
        raise Failure(errors.FORBIDDEN_ORIGIN, "Pages of that origin may not use this service.")

    return origin


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
