"""Uploads over a WebSocket: resumable, verified, durable."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jackfield.handlers.upload.handler import Upload

__all__ = ["Upload"]


def __getattr__(name: str) -> Any:
    # The clients in this package must not pay for importing the service (PEP 562).
    if name == "Upload":
        from jackfield.handlers.upload.handler import Upload

        return Upload
    raise AttributeError(name)
