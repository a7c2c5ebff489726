"""The service as a process: it listens, serves until a signal, drains, and ends."""

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import AsyncIterator
from typing import Final, NoReturn

import uvloop
from aiohttp import web, web_response

from jackfield.app import descriptors, logs
from jackfield.app.config import Settings
from jackfield.app.errors import CannotStart
from jackfield.app.listening import listen, listen_for_admin
from jackfield.app.logger import get_logger
from jackfield.app.logwriter import STANDARD_ERROR
from jackfield.app.notify import Notifier
from jackfield.app.repeats import SECOND
from jackfield.app.runner import Runner
from jackfield.app.service import RELOADED, create_admin_app, create_app, drain, reload
from jackfield.app.tasks import beside, periodically, supervised
from jackfield.app.tls import Certificate

log = get_logger()

_NEW_OBJECTS: Final = 10_000
"""After so many new objects garbage is collected. Most are dead by then: after 700, Python's default, the files that
are being stored at that moment were looked at again and again, a tenth of what a small file costs."""


async def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, drain, and return the exit status; a second signal ends the process at once.

    Raises CannotStart where a port is taken or a handler cannot open what it needs.
    """
    settings = _within_limits(settings)
    if settings.ignored:
        log.warning("environment.ignored", variables=settings.ignored)
    # The header `Server`, also of answers that no hook of ours sees: without versions.
    web_response.SERVER_SOFTWARE = "jackfield"  # type: ignore[attr-defined]
    app = create_app(settings)
    stop, notifier = asyncio.Event(), Notifier()
    _on_signals(stop, app)
    async with _listening(app, settings):
        gc.collect()
        # Modules and settings stay. Looking through them again and again took 6 % of the processor with 3,000 small
        # files a second, and each full collection, and whoever waited, 10 ms.
        gc.freeze()
        gc.set_threshold(_NEW_OBJECTS)
        await supervised("notify", notifier.ready)
        async with _signs_of_life(notifier), beside(periodically("log", SECOND, logs.say_repeats)):
            await stop.wait()
            log.info("draining")
            await supervised("notify", notifier.stopping)
            # Plain HTTP is answered until the end: the port stays open while the sockets are ended.
            await drain(app, settings.server.shutdown_timeout * 0.9)
    await logs.say_repeats(last=True)
    log.info("stopped")
    return 0


@contextlib.asynccontextmanager
async def _listening(app: web.Application, settings: Settings) -> AsyncIterator[None]:
    server = settings.server
    certificate = None if server.tls is None else Certificate(server.tls)
    if certificate is not None:
        app[RELOADED].append(certificate)
    runner, admin = _runner(app, settings), _runner(create_admin_app(app, settings), settings)
    try:
        await runner.setup()
        places = {"url": await listen(runner, server, None if certificate is None else certificate.context)}
        if server.admin is not None:
            await admin.setup()
            places["admin"] = await listen_for_admin(admin, server.admin)
        log.info("listening", **places)
        yield
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(server.shutdown_timeout * 0.1 + 0.1):
                await runner.cleanup()
                await admin.cleanup()


def _runner(app: web.Application, settings: Settings) -> Runner:
    return Runner(
        app, handle_signals=False, access_log_class=logs.AccessLogger,
        shutdown_timeout=settings.server.shutdown_timeout * 0.05, keepalive_timeout=75,
    )  # fmt: skip


def _signs_of_life(notifier: Notifier) -> contextlib.AbstractAsyncContextManager[None]:
    """Tell systemd that the event loop turns, where it waits for that."""
    if notifier.watchdog is None:
        return contextlib.nullcontext()
    return beside(periodically("notify", notifier.watchdog, notifier.alive))


def _within_limits(settings: Settings) -> Settings:
    """The same, with no more sockets than there are descriptors for."""
    room = descriptors.sockets_within(descriptors.raise_limit(), settings.server.max_connections)
    return settings.model_copy(update={"server": settings.server.model_copy(update={"max_connections": room})})


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
