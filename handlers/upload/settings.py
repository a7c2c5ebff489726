"""The upload handler's section of config.yaml."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from annotated_types import Gt, MinLen
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from yarl import URL

from jackfield.app.handler import Directory, Duration, File, HandlerOptions, Percentage, Size
from jackfield.handlers.upload.wire.names import check_prefix

Positive = Gt(0)


def _program(words: list[str], info: ValidationInfo) -> list[str]:
    """A program with a `/` in its path, and no `/` before it, lies beside the configuration."""
    if "/" not in words[0]:
        return words
    return [str((info.context or {}).get("folder", Path()) / words[0]), *words[1:]]


def _web(url: str) -> str:
    try:
        parsed = URL(url)
    except ValueError:
        parsed = URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("expected a URL, as in https://example.org/hook")
    return url


Command = Annotated[list[str], MinLen(1), AfterValidator(_program)]
WebUrl = Annotated[str, AfterValidator(_web)]


def _mode(text: object) -> int:
    if not isinstance(text, str) or not re.fullmatch(r"0?[0-7]{3}", text, re.ASCII):
        raise ValueError('expected permissions in octal digits and quotes, as in "0640"')
    return int(text, 8)


FileMode = Annotated[
    int,
    BeforeValidator(_mode),
    PlainSerializer(lambda mode: f"{mode:04o}", when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^0?[0-7]{3}$"}),
]
"""Permissions of a file: "0640"."""


class HookOptions(HandlerOptions):
    """A command, or a URL, and not both."""

    command: Command | None = None
    url: WebUrl | None = None
    secret_file: File | None = None

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        if self.command is not None and self.url is not None:
            raise ValueError("expected a command or a url, not both")
        if self.url is None and self.secret_file is not None:
            raise ValueError("a secret_file is for a url")
        return self


class OnCreate(HookOptions):
    """Who is asked before an upload exists."""

    timeout: Annotated[Duration, Positive] = 5.0

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.command is None and self.url is None:
            raise ValueError("expected a command or a url")
        return self


class OnStored(HookOptions):
    """Who is told of each stored upload. With neither a command nor a URL it limits `Upload.stored` of a subclass."""

    timeout: Annotated[Duration, Positive] = 30.0
    give_up: Annotated[Duration, Positive] = 3 * 24 * 3600.0
    parallel: Annotated[int, Positive] = 4


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
    prefix: Annotated[str, AfterValidator(check_prefix)] = ""
    file_mode: FileMode | None = None
    keep_mtime: bool = True
    accept: list[str] = Field(default=[])
    on_create: OnCreate | None = None
    on_stored: OnStored | None = None
