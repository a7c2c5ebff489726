"""Log configuration: structlog's events, aiohttp's own, and the access log go through the same processors."""

import atexit
import json
import logging
import sys
import time
from collections.abc import MutableMapping
from typing import Any, Final, Literal

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

from jackfield.app.callers import CALLER
from jackfield.app.logwriter import STANDARD_ERROR
from jackfield.app.repeats import Repeats
from jackfield.app.resource import resource_path

FLUSH: Final = 1.0  # seconds that the end of the process waits for the last lines to be written

_REPEATS: Final = Repeats(time.monotonic)


def _sum_up(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The processor that leaves out what `say_repeats` will say."""
    if _REPEATS.wanted(event):
        return event
    raise structlog.DropEvent


async def say_repeats(*, last: bool = False) -> None:
    """Write one line for all refusals of a kind that were left out; to be called once a second, and `last` of all."""
    log = structlog.get_logger()
    for event in _REPEATS.due(all_of_them=last):
        fields = {name: value for name, value in event.items() if not name.startswith("_")}
        getattr(log, fields.pop("level"))(fields.pop("event"), **fields)


_SHARED: Final[list[Any]] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    _sum_up,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


# Without the frames' variables: there are tokens among them.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


_ENCODE: Final = json.JSONEncoder(default=repr).encode


def _to_json(event: dict[str, Any], **_: Any) -> str:
    """`json.dumps` would make an encoder for every line."""
    return _ENCODE(event)


class _Handler(logging.Handler):
    """Lines that come through the standard library's logging."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`. A line that cannot be formatted is dropped and counted: logging never raises."""
        try:
            STANDARD_ERROR.write(self.format(record))
        except structlog.DropEvent:
            pass
        except Exception:
            STANDARD_ERROR.lose()


class _Output:
    """Where structlog's lines go; it calls the method that is named after the level."""

    def __init__(self) -> None:
        self.debug = self.info = self.warning = self.error = self.exception = self.critical = STANDARD_ERROR.write


def _logger_class(level: str) -> type[Any]:
    """The filtering logger, whose lines that cannot be rendered are lost, and counted."""

    class Logger(structlog.make_filtering_bound_logger(level)):  # type: ignore[misc]
        def _proxy_to_logger(self, method_name: str, event: str | None = None, **event_kw: Any) -> Any:
            try:
                return super()._proxy_to_logger(method_name, event, **event_kw)
            except Exception:
                STANDARD_ERROR.lose()

    return Logger


def configure(level: str, form: Literal["auto", "console", "json"]) -> None:
    """Log to standard error: for people on a terminal, JSON lines (`event`, `level`, `timestamp`) elsewhere."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if form == "console" or (form == "auto" and terminal):
        colors = terminal
        plain = structlog.dev.plain_traceback
        render: list[Any] = [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    else:
        render = [_TRACEBACKS, structlog.processors.JSONRenderer(_to_json)]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_SHARED],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
    )
    handler = _Handler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # It warns of subprotocols that a client offers and nobody here knows: that is no fault.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
    logging.getLogger("aiohttp.server").addFilter(_clients_fault)
    logging.captureWarnings(True)  # they would be written to standard error, and might wait for it
    # Straight to the writer: on the way through `logging` a line costs 17 µs more.
    output = _Output()
    atexit.register(STANDARD_ERROR.flush, FLUSH)
    structlog.configure(
        processors=[*_SHARED, structlog.processors.StackInfoRenderer(), *render],
        wrapper_class=_logger_class(level),
        # One for all. structlog's own would look for the caller's module, and the frame objects that this makes
        # stay as long as the caller's coroutine: 270 bytes for each open socket.
        logger_factory=lambda *_: output,
        cache_logger_on_first_use=True,
    )


def _clients_fault(record: logging.LogRecord) -> bool:
    """Malformed HTTP, and a client that leaves while it is answered: one info line, without the bytes."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError | web.RequestPayloadError | ConnectionResetError):
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg = "request.lost" if isinstance(error, ConnectionResetError) else "request.malformed"
        record.args, record.exc_info = (), None
        record.problem = type(error).__name__
    return True


PATH: Final = web.RequestKey("path", str)
"""The path as the log may have it, set by the middlewares."""


FAILURE: Final = web.RequestKey("failure", str)
"""The code word of the failure that a request was answered with."""

QUIET: Final = web.RequestKey("quiet", bool)
"""Set where whoever watches the service asks again and again: a success is logged at debug."""


def path_without_secrets(request: web.Request) -> str:
    """`/upload/{token}`, never the token itself.

    A path that no route knows may hold a token as well, so only its first part is shown.
    """
    known = resource_path(request)
    if known is not None:
        return known
    first, _, rest = request.path.lstrip("/").partition("/")
    return f"/{first[:20]}" + ("/…" if rest or len(first) > 20 else "")


def _caller(request: web.BaseRequest) -> dict[str, str | None]:
    """What could not be read as a request has passed no middleware."""
    caller = request.get(CALLER)
    if caller is None:
        return {"remote": request.remote}
    return {"remote": caller.remote, **({"user": caller.user} if caller.user is not None else {})}


class AccessLogger(AbstractAccessLogger):
    """One `request` event for each HTTP answer."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Called by aiohttp when a request has been answered; a socket's when it ended."""
        path, failure = request.get(PATH, "?"), request.get(FAILURE)
        self.logger.log(
            logging.DEBUG if QUIET in request and response.status < 400 else logging.INFO,
            "request",
            extra={
                "method": request.method,
                "path": path,
                "status": response.status,
                "seconds": round(time, 6),
                **_caller(request),
                **({"failure": failure} if failure else {}),
            },
        )

    @property
    def enabled(self) -> bool:
        """Asked once a connection: nothing is formatted where nobody listens."""
        return self.logger.isEnabledFor(logging.INFO)
