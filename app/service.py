"""Composition: settings → a web.Application; and its life cycle: start, drain, stop."""

import asyncio
import contextlib
import gc
import os
import signal
import ssl
from collections.abc import AsyncIterator, Collection
from functools import partial
from typing import Final, NoReturn, Protocol

import structlog
import uvloop
from aiohttp import web
from aiohttp.typedefs import Middleware

from jackfield.app import descriptors, logs
from jackfield.app.auth.file import TokenFile
from jackfield.app.auth.gate import Gate
from jackfield.app.config import Settings
from jackfield.app.config.settings import ServerSettings, TlsSettings
from jackfield.app.cors import allow_origins
from jackfield.app.descriptors import Exhaustion
from jackfield.app.dispatcher import Dispatcher
from jackfield.app.errors import CannotStart
from jackfield.app.handler import Handler
from jackfield.app.hosts import check_host
from jackfield.app.logwriter import STANDARD_ERROR
from jackfield.app.metrics import Metrics
from jackfield.app.middlewares import check_origin, failures, limit_requests, small_bodies
from jackfield.app.probes import PAGES, Probes
from jackfield.app.proxies import TrustedProxies
from jackfield.app.routes import Routes
from jackfield.app.tasks import periodically, supervised

log = structlog.get_logger()

DISPATCHER: Final = web.AppKey("dispatcher", Dispatcher)
RELOAD: Final = 20.0
"""Seconds from one look at the files that may change to the next."""


class Reloaded(Protocol):
    """A file that may change while the service runs."""

    async def refresh(self, *, forced: bool = False) -> None:
        """Read it again where it has changed, or in any case. A new one that is wrong changes nothing."""


RELOADED: Final = web.AppKey("reloaded", list[Reloaded])
PROBES: Final = web.AppKey("probes", Probes)
HANDLERS: Final = web.AppKey("handlers", dict[str, Handler])


def create_app(settings: Settings) -> web.Application:
    """The whole service as an application, to be run by `run`, by a test server, or inside another program."""
    server = settings.server
    metrics = Metrics()
    dispatcher = Dispatcher(metrics, server)
    handlers = {
        name: section.factory(name, server.base_path + section.path, section.options, metrics.registry)
        for name, section in settings.handlers.items()
    }
    tokens = None if server.auth.tokens is None else TokenFile(server.auth.tokens)
    gate = Gate(TrustedProxies(server.trusted_proxies), tokens, server.auth.proxy_user)
    app = web.Application(middlewares=_middlewares(server, gate, dispatcher, handlers.values(), metrics))
    app[DISPATCHER] = dispatcher
    app[HANDLERS] = handlers
    app[RELOADED] = list[Reloaded]([tokens] if tokens is not None else [])
    probes = app[PROBES] = Probes(list(handlers.values()), dispatcher, metrics, server.base_path)
    app.on_cleanup.append(probes.close)
    app.on_response_prepare.append(_harden_assets)
    routes = Routes(app, server.base_path)
    for route in [*probes.routes(), *probes.watching()]:
        routes.add(route)
    for path in routes.all_of("/metrics"):
        gate.guard(path, "metrics")
    routes.add_files("app", PAGES)
    for name, handler in handlers.items():
        routes.add_handler(settings.handlers[name].path, handler, dispatcher.entry(handler), gate)
    app.cleanup_ctx.append(lambda _: _lifespans(app))

    async def drain(_: web.Application) -> None:
        await dispatcher.drain(server.shutdown_timeout)

    app.on_shutdown.append(drain)
    return app


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
        small_bodies(server.body_timeout),
    ]


async def _harden_assets(request: web.Request, response: web.StreamResponse) -> None:
    """Modules of one page must be of one version: browsers ask again, and are told that nothing has changed."""
    resource = request.match_info.route.resource
    if resource is not None and "/assets/" in resource.canonical:
        response.headers.setdefault("Cache-Control", "no-cache")
        response.headers["X-Content-Type-Options"] = "nosniff"


async def reload(app: web.Application, *, forced: bool = False) -> None:
    """Read the files again that may change while the service runs, where they have changed, or in any case."""
    for file in app[RELOADED]:
        await supervised("reload", partial(file.refresh, forced=forced))


async def _lifespans(app: web.Application) -> AsyncIterator[None]:
    """Handlers open in the order of the configuration and close in reverse, with the sweeping beside them."""
    async with contextlib.AsyncExitStack() as stack:
        for handler in app[HANDLERS].values():
            await stack.enter_async_context(handler.lifespan())
        background = [
            asyncio.create_task(app[DISPATCHER].sweep()),
            asyncio.create_task(periodically("descriptors", 1, Exhaustion().look)),
            asyncio.create_task(periodically("reload", RELOAD, partial(reload, app))),
        ]
        try:
            yield
        finally:
            for task in background:
                task.cancel()
            await asyncio.wait(background)


async def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, drain, and return the exit status; a second signal ends the process at once.

    Raises CannotStart where a port is taken or a handler cannot open what it needs.
    """
    settings = _within_limits(settings)
    server = settings.server
    tls = _tls(server.tls)
    stop = asyncio.Event()
    runner = web.AppRunner(
        create_app(settings), handle_signals=False, access_log_class=logs.AccessLogger,
        shutdown_timeout=server.shutdown_timeout * 0.05, keepalive_timeout=75,
    )  # fmt: skip
    _on_signals(stop, runner.app)
    await runner.setup()
    try:
        await web.TCPSite(runner, server.host, server.port, backlog=1024, ssl_context=tls).start()
    except OSError as error:
        await runner.cleanup()
        raise CannotStart(_cannot_listen(server, error)) from error
    gc.collect()
    # Modules and settings stay. Looking through them again and again took 6 % of the processor with 3,000 small files a
    # second, and each full collection, and whoever waited, 10 ms.
    gc.freeze()
    log.info("listening", url=_url(runner, secure=tls is not None))
    await stop.wait()
    log.info("draining")
    # Plain HTTP is answered until the end: the port stays open while the sockets are ended.
    await runner.app[DISPATCHER].drain(server.shutdown_timeout * 0.9)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(server.shutdown_timeout * 0.1 + 0.1):
            await runner.cleanup()
    log.info("stopped")
    return 0


def _within_limits(settings: Settings) -> Settings:
    """The same, with no more sockets than there are descriptors for."""
    room = descriptors.sockets_within(descriptors.raise_limit(), settings.server.max_connections)
    return settings.model_copy(update={"server": settings.server.model_copy(update={"max_connections": room})})


def _cannot_listen(server: ServerSettings, error: OSError) -> str:
    why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)  # getaddrinfo's are below 0
    return f"cannot listen on {server.host}:{server.port}: {why} (server.host, server.port or JACKFIELD_SERVER__PORT)"


def _on_signals(stop: asyncio.Event, app: web.Application) -> None:
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            STANDARD_ERROR.flush(0.1)
            os._exit(128 + number)  # the second signal: end at once, even if something hangs
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    reloads: set[asyncio.Task[None]] = set()

    def on_hangup() -> None:
        """Read the files of tokens and certificates again; the default would end the process."""
        log.info("reload")
        reloads.add(task := asyncio.create_task(reload(app, forced=True)))
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, on_hangup)


def _tls(settings: TlsSettings | None) -> ssl.SSLContext | None:
    """TLS 1.2 and newer, as Python's defaults have it. Raises CannotStart where the files do not fit."""
    if settings is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.certificate, settings.key, password=_refuse_password)
    except (ssl.SSLError, OSError) as error:
        raise CannotStart(f"the certificate {settings.certificate} cannot be used: {error}") from error
    return context


def _refuse_password() -> NoReturn:
    """The password callback: OpenSSL would else ask on the terminal, and wait."""
    raise CannotStart("the key of the certificate is encrypted: a service has nobody to ask for its password")


def _url(runner: web.AppRunner, *, secure: bool) -> str:
    host, port = runner.addresses[0][:2]
    scheme = "https" if secure else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in str(host) else f"{scheme}://{host}:{port}"


def serve(settings: Settings) -> NoReturn:
    """Run the service as the whole process, and leave without waiting for a disk that hangs."""
    logs.configure(settings.logging.level, settings.logging.format)
    # A tenth less of the processor for bulk than with asyncio's own loop: several buffers are filled in one turn.
    loop = uvloop.new_event_loop()
    try:
        status = loop.run_until_complete(run(settings))
    except CannotStart:
        loop.close()
        raise
    finally:
        STANDARD_ERROR.flush(logs.FLUSH)
    # A thread that hangs in an fsync would hold the interpreter's end for ever; all that had to be is done.
    os._exit(status)
