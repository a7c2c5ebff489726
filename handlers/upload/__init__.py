"""Uploads over a WebSocket: resumable, verified, durable."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jackfield.handlers.upload.handler import Upload
    from jackfield.handlers.upload.hooks.arrival import Arrival
    from jackfield.handlers.upload.wire.messages import Promise

__all__ = ["Arrival", "Promise", "Upload"]

_MODULES = {"Arrival": "hooks.arrival", "Promise": "wire.messages", "Upload": "handler"}


def __getattr__(name: str) -> Any:
    # The clients in this package must not pay for importing the service (PEP 562).
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(name)
