"""The service inside somebody's own aiohttp application, below a prefix.

It is a sub-application: their middlewares come first, and it has no part in their log, signals and descriptors. Its
life cycle hangs on theirs as a context of `cleanup_ctx`: what they opened before is still open when handlers close, and
handlers close also where their application could not start, which aiohttp does not do for sub-applications.
"""

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler as RequestHandler
from yarl import URL

from jackfield.app.auth.gate import MountedGate
from jackfield.app.config import ConfigError, Settings, build, load
from jackfield.app.dispatcher import Upgraded
from jackfield.app.handler import Handler
from jackfield.app.resource import ANCHOR, prefix_of
from jackfield.app.service import HANDLERS, PROBES, compose, drain, life, locate

__all__ = ["ConfigError", "mount"]

_PREFIX: Final = r"(/[A-Za-z0-9._~-]+)*"
_SMALL: Final = 1024 * 1024  # bytes; aiohttp's own default
_PREFIXES: Final = web.AppKey("jackfield_prefixes", set[str])


def mount(
    app: web.Application, config: Settings | Mapping[str, Any] | Path | str, prefix: str = ""
) -> dict[str, Handler]:
    """Serve the handlers of a configuration below `prefix` in `app`, and end their sockets with it.

    `config` is the path of a file, over which the environment is laid, or a mapping as in such a file (relative paths
    are then relative to the working directory), or settings. Returns the handlers by their names. Raises ConfigError
    where something is wrong with the configuration, and ValueError for a prefix that cannot be, or is taken.
    The start of `app` raises CannotStart where a handler cannot open what it needs.
    """
    settings = _settings(config)
    _take(app, prefix)
    # Where it listens, and with which certificate, is the program's own business; `base_path` stands before the prefix.
    server = settings.server.model_copy(update={"host": "", "base_path": "", "tls": None})
    ours = compose(settings.model_copy(update={"server": server}), MountedGate)
    ours[ANCHOR] = _resource(ours)
    ours.middlewares[:0] = [_outlast, _bounded]

    async def lives(_theirs: web.Application) -> AsyncIterator[None]:
        locate(ours, settings.server.base_path + prefix_of(ours), settings)
        async with life(ours):
            yield

    app.cleanup_ctx.append(lives)
    app.on_shutdown.append(lambda _: drain(ours, settings.server.shutdown_timeout))
    if prefix:
        app.add_subapp(prefix, ours)
    else:
        app.middlewares.append(_pass_on)
        app.router.register_resource(_Root(ours))
    return ours[HANDLERS]


def _settings(config: Settings | Mapping[str, Any] | Path | str) -> Settings:
    if isinstance(config, Settings):
        return config
    return build(config, Path.cwd()) if isinstance(config, Mapping) else load(Path(config))


def _take(app: web.Application, prefix: str) -> None:
    if not re.fullmatch(_PREFIX, prefix) or not {".", ".."}.isdisjoint(prefix.split("/")):
        raise ValueError(f"prefix: expected nothing, or a path as in /files without a slash at its end, got {prefix!r}")
    if _PREFIXES not in app:
        app[_PREFIXES] = set[str]()
    if prefix in app[_PREFIXES]:
        raise ValueError(f"prefix: something is mounted at {prefix or 'the root'} already")
    app[_PREFIXES].add(prefix)


def _resource(ours: web.Application) -> web.AbstractResource:
    """The resource of the prefix itself: what runs here."""
    resource = ours.router.add_get("", ours[PROBES].index).resource
    assert resource is not None
    return resource


@web.middleware
async def _outlast(request: web.Request, handler: RequestHandler) -> web.StreamResponse:
    """Their middlewares go on when a socket has ended, not when it is open: what they hold may be needed by it."""
    response = await handler(request)
    if isinstance(response, Upgraded):
        await response.ended
    return response


@web.middleware
def _bounded(request: web.Request, handler: RequestHandler) -> Awaitable[web.StreamResponse]:
    """A small body is read into memory, so it stays small whatever their application allows for its own."""
    if request.can_read_body and not 0 < request.client_max_size <= _SMALL:
        with contextlib.suppress(RuntimeError):  # they have read it
            request = request.clone(client_max_size=_SMALL)
    return handler(request)


@web.middleware
async def _pass_on(request: web.Request, handler: RequestHandler) -> web.StreamResponse:
    """aiohttp leaves out the middlewares of all applications where one without its own sub-applications has none."""
    return await handler(request)


class _Root(web.AbstractResource):
    """All of our application at the root of theirs, for which aiohttp has no sub-applications.

    aiohttp asks it last, and what is not found in it may be another resource of theirs.
    """

    def __init__(self, ours: web.Application) -> None:
        super().__init__()
        self._app = ours
        self._prefix = ""  # theirs, where it is a sub-application itself
        ours.pre_freeze()

    @property
    def canonical(self) -> str:
        """See aiohttp, as for the rest of this class."""
        return self._prefix

    async def resolve(self, request: web.Request) -> Any:
        """What our application has at this path."""
        found = await self._app.router.resolve(request)
        if isinstance(found.http_exception, web.HTTPNotFound):
            return None, set()
        found.add_app(self._app)
        return found, set()

    def add_prefix(self, prefix: str) -> None:
        """Their application is put into another one."""
        self._prefix = prefix + self._prefix
        router = self._app.router
        for resource in router.resources():
            router.unindex_resource(resource)
            resource.add_prefix(prefix)
            router.index_resource(resource)

    def url_for(self, **_: str) -> URL:
        """There is no one URL of it."""
        raise RuntimeError("an application has no URL of its own")

    def get_info(self) -> Any:
        """For introspection."""
        return {"app": self._app, "prefix": self._prefix}

    def raw_match(self, path: str) -> bool:
        """No route is added to it."""
        return False

    def __len__(self) -> int:
        return len(self._app.router.routes())

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        return iter(self._app.router.routes())
