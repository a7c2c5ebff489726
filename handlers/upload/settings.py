"""The upload handler's section of config.yaml."""

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Gt

from jackfield.app.handler import Directory, Duration, HandlerOptions, Percentage, Size

Positive = Gt(0)


class UploadOptions(HandlerOptions):
    """Sizes in bytes, times in seconds; what each means stands in docs/configuration.md."""

    directory: Directory = Path("var/uploads")
    max_size: Annotated[Size, Positive] = 100 * 2**30
    max_open: Annotated[int, Positive] = 1000
    max_open_per_user: Annotated[int, Positive] | None = None
    min_free: Size = 2**30
    reserve: Percentage | None = 0.5
    daily_quota: Annotated[Size, Positive] | None = None
    on_conflict: Literal["rename", "reject", "replace"] = "rename"
    expires: Annotated[Duration, Positive] = 24 * 3600.0
    unused: Annotated[Duration, Positive] = 3600.0
    receipts_kept: Annotated[Duration, Positive] = 7 * 24 * 3600.0
    idle_timeout: Annotated[Duration, Positive] = 60.0
    min_rate: Size | None = 2**10
    sync_every: Annotated[Size, Positive] = 64 * 2**20
    message_size: Annotated[Size, Positive] = 256 * 2**10
    window: Annotated[Size, Positive] = 8 * 2**20
    memory: Annotated[Size, Positive] = 256 * 2**20
