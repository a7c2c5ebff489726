"""One chain for every line of the log: structlog's own events, aiohttp's, and the access log."""

import json
import logging
import sys
from typing import Any, Final, Literal

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

_SHARED: Final[list[Any]] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
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


def configure(level: str, form: Literal["auto", "console", "json"]) -> None:
    """Log to standard error: for people on a terminal, JSON lines (`event`, `level`, `timestamp`) elsewhere."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    if console:
        colors = sys.stderr.isatty()
        plain = structlog.dev.plain_traceback
        render: list[Any] = [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    else:
        render = [_TRACEBACKS, structlog.processors.JSONRenderer(_to_json)]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_SHARED, structlog.stdlib.ExtraAdder()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # It warns of subprotocols that a client offers and nobody here knows: that is no fault.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
    logging.getLogger("aiohttp.server").addFilter(_clients_fault)
    # Straight to standard error: on the way through `logging` a line cost 27 µs, and now it costs 10.
    writer = structlog.WriteLogger(sys.stderr)
    structlog.configure(
        processors=[*_SHARED, structlog.processors.StackInfoRenderer(), *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # One for all. structlog's own would look for the caller's module, and the frame objects that this makes
        # stay as long as the caller's coroutine: 270 bytes for each open socket.
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=True,
    )


def _clients_fault(record: logging.LogRecord) -> bool:
    """What is no HTTP, and a client that leaves while it is answered: one line, which tells nothing of the bytes."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError | web.RequestPayloadError | ConnectionResetError):
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg = "request.lost" if isinstance(error, ConnectionResetError) else "request.malformed"
        record.args, record.exc_info = (), None
        record.problem = type(error).__name__
    return True


PATH: Final = web.RequestKey("path", str)
"""The path as the log may have it, set by the middlewares."""


def path_without_secrets(request: web.Request) -> str:
    """`/upload/{token}`, never the token itself.

    A path that no route knows may hold a token as well, so only its first part is shown.
    """
    resource = request.match_info.route.resource
    if resource is not None:
        return resource.canonical
    first, _, rest = request.path.lstrip("/").partition("/")
    return f"/{first[:20]}" + ("/…" if rest or len(first) > 20 else "")


class AccessLogger(AbstractAccessLogger):
    """One `request` event for each HTTP answer."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Called by aiohttp when a request has been answered; a socket's when it ended."""
        self.logger.info(
            "request",
            extra={
                "method": request.method,
                "path": request.get(PATH, "?"),
                "status": response.status,
                "seconds": round(time, 6),
                "remote": request.remote,
            },
        )

    @property
    def enabled(self) -> bool:
        """Asked once a connection: nothing is formatted where nobody listens."""
        return self.logger.isEnabledFor(logging.INFO)
