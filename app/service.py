"""Composition: settings → a web.Application; and its life cycle: start, drain, stop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from functools import partial
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from jackfield.app import descriptors
from jackfield.app.admission import ADMISSION, Admission
from jackfield.app.auth.file import TokenFile
from jackfield.app.auth.gate import Gate
from jackfield.app.config import Settings
from jackfield.app.config.settings import ServerSettings
from jackfield.app.cors import allow_origins
from jackfield.app.descriptors import Exhaustion
from jackfield.app.dispatcher import Dispatcher
from jackfield.app.errors import CannotStart
from jackfield.app.handler import Handler
from jackfield.app.hosts import check_host
from jackfield.app.logger import get_logger
from jackfield.app.metrics import Metrics
from jackfield.app.middlewares import check_origin, failures, limit_requests, small_bodies
from jackfield.app.probes import PAGES, Probes
from jackfield.app.proxies import TrustedProxies
from jackfield.app.reloading import Reloaded
from jackfield.app.resource import resource_path
from jackfield.app.routes import Routes
from jackfield.app.tasks import beside, periodically, supervised

log = get_logger()

DISPATCHER: Final = web.AppKey("dispatcher", Dispatcher)
RELOAD: Final = 20.0
"""Seconds from one look at the files that may change to the next."""
RELOADED: Final = web.AppKey("reloaded", list[Reloaded])
METRICS: Final = web.AppKey("metrics", Metrics)
PROBES: Final = web.AppKey("probes", Probes)
HANDLERS: Final = web.AppKey("handlers", dict[str, Handler])


def create_app(settings: Settings) -> web.Application:
    """The whole service as an application, to be run by `run` or by a test server. Inside another program: `mount`."""
    app = compose(settings, Gate)
    app.cleanup_ctx.append(lambda _: life(app))
    app.on_shutdown.append(lambda _: drain(app, settings.server.shutdown_timeout))
    return app


async def drain(app: web.Application, limit: float) -> None:
    """End every socket, and what the handlers do beside them, within `limit` seconds."""
    handlers = [supervised(f"{name}.drain", partial(each.drain, limit)) for name, each in app[HANDLERS].items()]
    await asyncio.gather(app[DISPATCHER].drain(limit), *handlers)


def compose(settings: Settings, gate_class: type[Gate]) -> web.Application:
    """The application without its life cycle."""
    server = settings.server
    metrics = Metrics()
    dispatcher = Dispatcher(metrics, server)
    handlers = {
        name: section.factory(name, server.base_path + section.path, section.options, metrics.registry)
        for name, section in settings.handlers.items()
    }
    tokens = None if server.auth.tokens is None else TokenFile(server.auth.tokens)
    proxies = TrustedProxies(server.trusted_proxies)
    gate = gate_class(proxies, tokens, server.auth.proxy_user)
    app = web.Application(middlewares=_middlewares(server, gate, dispatcher, handlers.values(), metrics))
    app[ADMISSION] = _admission(server.limits.connections, proxies, metrics, server.body_timeout)
    app[DISPATCHER] = dispatcher
    app[HANDLERS] = handlers
    app[METRICS] = metrics
    app[RELOADED] = list[Reloaded]([tokens] if tokens is not None else [])
    probes = app[PROBES] = Probes(list(handlers.values()), dispatcher, metrics, server.base_path)
    app.on_response_prepare.append(_harden_assets)
    if server.tls is not None:
        app.on_response_prepare.append(_insist_on_tls)
    routes = Routes(app, server.base_path, metrics.handlers, dispatcher.bodies)
    for route in [*probes.routes(), *(() if server.admin else probes.watching())]:
        routes.add(route)
    for path in routes.all_of("/metrics"):
        gate.guard(path, "metrics")
    routes.add_files("app", PAGES)
    for name, handler in handlers.items():
        routes.add_handler(settings.handlers[name].path, handler, dispatcher.entry(handler), gate)
    return app


def locate(app: web.Application, base: str, settings: Settings) -> None:
    """From now on every URL that is given begins with `base`."""
    app[DISPATCHER].base = app[PROBES].base = base
    for name, handler in app[HANDLERS].items():
        handler.path = base + settings.handlers[name].path


def _middlewares(
    server: ServerSettings, gate: Gate, dispatcher: Dispatcher, handlers: Collection[Handler], metrics: Metrics
) -> list[Middleware]:
    """What each request passes, in this order."""
    watched = [base + path for base in {"", server.base_path} for path in ("/healthz", "/readyz")]
    return [
        gate.identify,
        allow_origins(server.allowed_origins, handlers),
        failures(metrics),
        check_host(server.host, server.allowed_hosts, watched),
        check_origin(server.allowed_origins),
        limit_requests(server.limits.requests, watched),
        dispatcher.reject_unknown_upgrades,
        gate.authorise,
        small_bodies(server.body_timeout, dispatcher.bodies),
    ]


def _admission(limit: int | None, proxies: TrustedProxies, metrics: Metrics, patience: float) -> Admission:
    most = descriptors.connections_within(descriptors.limit())
    return Admission(limit, most, proxies, metrics.refused_connections, patience)


def create_admin_app(app: web.Application, settings: Settings) -> web.Application:
    """What watches the service, on a port of its own: `server.admin`."""
    server = settings.server
    host = server.admin.host if server.admin is not None else server.host
    exempt = ("/healthz", "/readyz")
    checks = [failures(app[METRICS]), check_host(host, server.allowed_hosts, exempt), check_origin([])]
    admin = web.Application(middlewares=checks)
    admin[ADMISSION] = _admission(None, TrustedProxies([]), app[METRICS], server.body_timeout)
    admin.add_routes(app[PROBES].watching())
    for name, handler in app[HANDLERS].items():
        for route in handler.admin_routes():
            admin.router.add_route(route.method, f"/{name}{route.path}", route.handler)
    return admin


async def _insist_on_tls(_: web.Request, response: web.StreamResponse) -> None:
    """Browsers that were here once come by TLS alone (RFC 6797)."""
    response.headers["Strict-Transport-Security"] = "max-age=31536000"


async def _harden_assets(request: web.Request, response: web.StreamResponse) -> None:
    """Modules of one page must be of one version: browsers ask again, and are told that nothing has changed."""
    if "/assets/" in (resource_path(request) or ""):
        response.headers.setdefault("Cache-Control", "no-cache")
        response.headers["X-Content-Type-Options"] = "nosniff"


async def reload(app: web.Application, *, forced: bool = False) -> None:
    """Read the files again that may change while the service runs, where they have changed, or in any case."""
    for file in app[RELOADED]:
        await supervised("reload", partial(file.refresh, forced=forced))


@contextlib.asynccontextmanager
async def life(app: web.Application) -> AsyncIterator[None]:
    """Handlers open in the order of the configuration and close in reverse, with the sweeping beside them."""
    if app[DISPATCHER].draining:
        raise CannotStart("an application that has ended cannot be started again: make a new one")
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(app[PROBES].close)
        for handler in app[HANDLERS].values():
            await stack.enter_async_context(handler.lifespan())
        background = beside(
            app[DISPATCHER].sweep(),
            periodically("descriptors", 1, Exhaustion().look),
            periodically("reload", RELOAD, partial(reload, app)),
        )
        async with background:
            yield
