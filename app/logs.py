"""One chain for every line of the log: structlog's own events, aiohttp's, and the access log."""

import logging
import sys
from typing import Any, Literal

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.ExtraAdder(),
]


def configure(level: str, form: Literal["auto", "console", "json"]) -> None:
    """Log to standard error: for people on a terminal, JSON lines (`event`, `level`, `timestamp`) elsewhere."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    if console:
        render: list[Any] = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    else:
        render = [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # It warns of subprotocols that a client offers and nobody here knows: that is no fault.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED[:-1],
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # tests configure more than once
    )


def path_without_secrets(request: web.BaseRequest) -> str:
    """The path as the log may have it: `/upload/{token}`, never the token itself.

    A path that no route knows may hold a token as well, so only its first part is shown.
    """
    resource = request.match_info.route.resource if isinstance(request, web.Request) else None
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
                "path": path_without_secrets(request),
                "status": response.status,
                "seconds": round(time, 6),
                "remote": request.remote,
            },
        )

    @property
    def enabled(self) -> bool:
        """Asked once a connection: nothing is formatted where nobody listens."""
        return self.logger.isEnabledFor(logging.INFO)
