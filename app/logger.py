"""Where log lines go: through structlog where the program has configured it, else to `logging`, logger `jackfield`.

structlog that nobody has configured prints to standard output: no library should do that in somebody's program.
"""

import logging
from typing import Any, Final

import structlog

_STANDARD: Final = structlog.wrap_logger(
    logging.getLogger("jackfield"),
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.contextvars.merge_contextvars,
        lambda *call: _line(call[2]),
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)


def _line(event: dict[str, Any]) -> tuple[tuple[str], dict[str, Any]]:
    """The arguments for `logging`: one text, `connection.closed code=1000 …`, and the exception."""
    trouble = {"exc_info": event.pop("exc_info")} if "exc_info" in event else {}
    name = event.pop("event")
    return (" ".join([str(name), *(f"{key}={value!r}" for key, value in event.items())]),), trouble


class _Logger:
    """Looks with each line for where it goes, since the program may configure its log later."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._structured = structlog.get_logger(**values)
        self._standard = _STANDARD.bind(**values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._structured if structlog.is_configured() else self._standard, name)


def get_logger(**values: Any) -> Any:
    """A logger with structlog's methods; each of its lines has these values."""
    return _Logger(values)
