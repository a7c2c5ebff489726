"""WebSocket handlers behind one dispatcher, and durable uploads among them: the names for other people's programs."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jackfield.app.handler import (
        CALLER,
        Batch,
        Body,
        BodyRoute,
        Buffers,
        Caller,
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
        Percentage,
        Size,
        origin,
        periodically,
        supervised,
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

_SEAM = {
    "Batch", "Body", "BodyRoute", "Buffers", "CALLER", "Caller", "CannotStart", "Close", "Connection", "Directory",
    "Disconnected", "Duration", "Failure", "Handler", "HandlerOptions", "Kind", "Outbox", "Percentage", "Size",
    "origin", "periodically", "supervised",
}  # fmt: skip

__all__ = [
    "CALLER", "Batch", "Body", "BodyRoute", "Buffers", "Caller", "CannotStart", "Changed", "Close", "Connection",
    "DigestMismatch", "Directory", "Disconnected", "Duration", "Failure", "Handler", "HandlerOptions", "Kind",
    "NoSpace", "Outbox", "Percentage", "Progress", "Receipt", "Refused", "Rejected", "Size", "Superseded",
    "TokenConflict", "Unreachable", "Unrepeatable", "UploadError", "cancel", "draw_token", "origin", "periodically",
    "supervised", "upload", "upload_file", "upload_many", "upload_stream",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # The client needs aiohttp alone, so nothing of the service may be imported for it, and the reverse (PEP 562).
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "jackfield.app.handler" if name in _SEAM else "jackfield.handlers.upload.client"
    return getattr(importlib.import_module(home), name)
