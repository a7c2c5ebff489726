"""Authentication and authorization of requests: two middlewares, the first and one of the last."""

import warnings
from collections.abc import Awaitable
from typing import Final

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler as RequestHandler

from jackfield.app.accept import accepts
from jackfield.app.auth.credentials import secret_of
from jackfield.app.auth.file import TokenFile
from jackfield.app.auth.tokens import Token
from jackfield.app.callers import CALLER, Caller
from jackfield.app.errors import FORBIDDEN, UNAUTHORIZED, Failure
from jackfield.app.handshake import wants_upgrade
from jackfield.app.proxies import UNIX, TrustedProxies
from jackfield.app.resource import resource_path

_TOKEN: Final = web.RequestKey("token", Token)
_NAMED: Final[set[str]] = set()
_LONGEST: Final = 200  # characters of a user's name that a proxy may send


class Gate:
    """`tokens` and the header `proxy_user` say who may come; without both everybody may."""

    def __init__(self, proxies: TrustedProxies, tokens: TokenFile | None, proxy_user: str | None) -> None:
        self._proxies = proxies
        self._tokens = tokens
        self._proxy_user = proxy_user
        self._guarded: dict[str, tuple[str, bool]] = {}  # by a resource's path: its handler's name, and has it a page

    def guard(self, path: str, name: str, *, page: bool = False) -> None:
        """Let in only those who may use `name`; whoever wants the page may have it, since it asks for the secret."""
        self._guarded[path] = name, page

    @web.middleware
    def identify(self, request: web.Request, handler: RequestHandler) -> Awaitable[web.StreamResponse]:
        """Say who it is, to handlers and to each line of the log. Refuses nobody."""
        caller = request[CALLER] = self._caller(request)
        _name(request, caller.user)
        structlog.contextvars.clear_contextvars()  # those of the request before, on the same connection
        structlog.contextvars.bind_contextvars(**_logged(caller))
        return handler(request)

    def _caller(self, request: web.Request) -> Caller:
        peer = request.remote or (UNIX if request.transport is not None else "lost")
        forwarded = request.headers.getall(hdrs.X_FORWARDED_FOR, ())
        remote = self._proxies.remote(peer, forwarded)
        scheme = self._proxies.scheme(peer, forwarded, request.headers.getall(hdrs.X_FORWARDED_PROTO, ()))
        token = self._token(request)
        if token is not None:
            request[_TOKEN] = token
            return Caller(token.name, remote, token.max_size, token.daily_quota, token.max_open, scheme)
        return Caller(self._named_by_proxy(request, peer), remote, scheme=scheme)

    def _token(self, request: web.Request) -> Token | None:
        secret = _secret(request) if self._tokens is not None else None
        return None if secret is None or self._tokens is None else self._tokens.find(secret)

    def _named_by_proxy(self, request: web.Request, peer: str) -> str | None:
        if self._proxy_user is None or not self._proxies.trusts(peer):
            return None
        names = request.headers.getall(self._proxy_user, ())
        name = names[0].strip() if len(names) == 1 else ""
        return name if 0 < len(name) <= _LONGEST and name.isprintable() else None

    @web.middleware
    def authorise(self, request: web.Request, handler: RequestHandler) -> Awaitable[web.StreamResponse]:
        """Refuse whoever is not named where somebody must be, and whose token is not for this handler."""
        guarded = self._guarded.get(resource_path(request) or "")
        if guarded is not None and (self._tokens is not None or self._proxy_user is not None):
            name, page = guarded
            if not (page and _wants_page(request)):
                self._check(request, name)
        return handler(request)

    def _check(self, request: web.Request, name: str) -> None:
        if request[CALLER].user is None:
            given = _secret(request) is not None
            challenge = 'Bearer realm="jackfield"' + (', error="invalid_token"' if given else "")  # RFC 6750, 3
            detail = "The token is not known, or has expired." if given else "This needs a token."
            raise Failure(UNAUTHORIZED, detail, {hdrs.WWW_AUTHENTICATE: challenge})
        token = request.get(_TOKEN)
        if token is not None and not token.opens(name):
            raise Failure(FORBIDDEN, f"The token {token.name} is not for {name}.")


class MountedGate(Gate):
    """The same in somebody's application, whose middlewares may have named the caller before.

    What they have put into the request and into the variables of the log is theirs, and stays as it is.
    """

    @web.middleware
    async def identify(self, request: web.Request, handler: RequestHandler) -> web.StreamResponse:
        """See `Gate`."""
        caller = request[CALLER] = request.get(CALLER) or self._caller(request)
        if "user" not in request:
            _name(request, caller.user)
        with structlog.contextvars.bound_contextvars(**_logged(caller)):
            return await handler(request)

    def _caller(self, request: web.Request) -> Caller:
        found = super()._caller(request)
        user = request.get("user")
        return Caller(user, found.remote, scheme=found.scheme) if isinstance(user, str) and user else found


def _logged(caller: Caller) -> dict[str, str]:
    """What each line of the log says of the caller."""
    return {"remote": caller.remote, **({} if caller.user is None else {"user": caller.user})}


def _name(request: web.Request, user: str | None) -> None:
    """A plain text as key is what handlers are promised; aiohttp warns of the first one in the process."""
    if not _NAMED:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", web.NotAppKeyWarning)
            request["user"] = user
        _NAMED.add("user")
    request["user"] = user


def _secret(request: web.Request) -> str | None:
    return secret_of(request.headers.get(hdrs.AUTHORIZATION), request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, ""))


def _wants_page(request: web.Request) -> bool:
    return request.method in ("GET", "HEAD") and accepts(request, "text/html") and not wants_upgrade(request)
