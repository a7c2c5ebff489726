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
        Delivery,
        Directory,
        Disconnected,
        Duration,
        Failure,
        File,
        FilePath,
        Handler,
        HandlerOptions,
        Kind,
        Member,
        Outbox,
        Percentage,
        Size,
        Topic,
        accepts,
        get_logger,
        origin,
        periodically,
        supervised,
    )
    from jackfield.app.mount import ConfigError, mount
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
    "Batch", "Body", "BodyRoute", "Buffers", "CALLER", "Caller", "CannotStart", "Close", "Connection", "Delivery",
    "Directory", "Disconnected", "Duration", "Failure", "File", "FilePath", "Handler", "HandlerOptions", "Kind",
    "Member", "Outbox", "Percentage", "Size", "Topic", "accepts", "get_logger", "origin", "periodically", "supervised",
}  # fmt: skip

_MOUNT = {"ConfigError", "mount"}

__all__ = [
    "CALLER",
    "Batch",
    "Body",
    "BodyRoute",
    "Buffers",
    "Caller",
    "CannotStart",
    "Changed",
    "Close",
    "ConfigError",
    "Connection",
    "Delivery",
    "DigestMismatch",
    "Directory",
    "Disconnected",
    "Duration",
    "Failure",
    "File",
    "FilePath",
    "Handler",
    "HandlerOptions",
    "Kind",
    "Member",
    "NoSpace",
    "Outbox",
    "Percentage",
    "Progress",
    "Receipt",
    "Refused",
    "Rejected",
    "Size",
    "Superseded",
    "TokenConflict",
    "Topic",
    "Unreachable",
    "Unrepeatable",
    "UploadError",
    "accepts",
    "cancel",
    "draw_token",
    "get_logger",
    "mount",
    "origin",
    "periodically",
    "supervised",
    "upload",
    "upload_file",
    "upload_many",
    "upload_stream",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # The client needs aiohttp alone, so nothing of the service may be imported for it, and the reverse (PEP 562).
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "app.handler" if name in _SEAM else "app.mount" if name in _MOUNT else "handlers.upload.client"
    return getattr(importlib.import_module(f"jackfield.{home}"), name)
