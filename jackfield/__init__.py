"""WebSocket handlers behind one dispatcher, and durable uploads among them: the names for other people's programs."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jackfield.app.handler import (
        Batch,
        Buffers,
        CannotStart,
        Close,
        Connection,
        Directory,
        Disconnected,
        Duration,
        Failure,
        Handler,
        HandlerOptions,
        Kind,
        Outbox,
        Size,
    )
    from jackfield.handlers.upload.client import (
        Changed,
        DigestMismatch,
        NoSpace,
        Progress,
        Receipt,
        Refused,
        Rejected,
        Superseded,
        TokenConflict,
        Unreachable,
        Unrepeatable,
        UploadError,
        cancel,
        draw_token,
        upload,
        upload_file,
        upload_many,
        upload_stream,
    )

_CLIENT = "jackfield.handlers.upload.client"
_HANDLER = "jackfield.app.handler"
_HOMES = {
    **dict.fromkeys(
        (
            "Changed", "DigestMismatch", "NoSpace", "Progress", "Receipt", "Refused", "Rejected", "Superseded",
            "TokenConflict", "Unreachable", "Unrepeatable", "UploadError", "cancel", "draw_token", "upload",
            "upload_file", "upload_many", "upload_stream",
        ),
        _CLIENT,
    ),
    **dict.fromkeys(
        (
            "Batch", "Buffers", "CannotStart", "Close", "Connection", "Directory", "Disconnected", "Duration",
            "Failure", "Handler", "HandlerOptions", "Kind", "Outbox", "Size",
        ),
        _HANDLER,
    ),
}  # fmt: skip

__all__ = [
    "Batch", "Buffers", "CannotStart", "Changed", "Close", "Connection", "DigestMismatch", "Directory", "Disconnected",
    "Duration", "Failure", "Handler", "HandlerOptions", "Kind", "NoSpace", "Outbox", "Progress", "Receipt", "Refused",
    "Rejected", "Size", "Superseded", "TokenConflict", "Unreachable", "Unrepeatable", "UploadError", "cancel",
    "draw_token", "upload", "upload_file", "upload_many", "upload_stream",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # The client needs aiohttp alone, so nothing of the service may be imported for it, and the reverse (PEP 562).
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
