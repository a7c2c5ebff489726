"""Types for settings: strict models, sizes in bytes, durations in seconds, paths."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
)

_SIZES = {unit: Fraction(1024**power) for power, unit in enumerate(("B", "KiB", "MiB", "GiB", "TiB"))}
_TIMES = {
    unit: Fraction(seconds) for unit, seconds in (("ms", "1/1000"), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400))
}
_LARGEST = 2**63 - 1  # bytes; what a file offset can say
_LONGEST = 36500 * 86400  # seconds; a date that far ahead can still be written


def _quantity(value: Any, units: dict[str, Fraction], example: str) -> Fraction:
    """A number, or a number and a unit; negative, boolean or anything else is refused."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return Fraction(value)
    if isinstance(value, str):
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)", value)
        if found and found[2] in units:
            return Fraction(found[1]) * units[found[2]]
    raise ValueError(f"expected a number, or a number with one of {', '.join(units)}, as in {example}")


def _parse_size(value: Any) -> int:
    size = _quantity(value, _SIZES, "10GiB")
    if size.denominator != 1:
        raise ValueError("expected a whole number of bytes")
    if size > _LARGEST:
        raise ValueError("expected at most 8388607TiB")
    return int(size)


def _parse_duration(value: Any) -> float:
    seconds = _quantity(value, _TIMES, "30s")
    if seconds > _LONGEST:
        raise ValueError("expected at most 36500d")
    return float(seconds)


def _print_size(size: int) -> int | str:
    """With the largest unit that says it exactly: 67108864 is "64MiB", 1500 stays 1500."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZES[unit] == 0:
            return f"{size // _SIZES[unit]}{unit}"
    return size


def _print_duration(seconds: float) -> float | str:
    """With the largest unit that says it exactly in a whole number: 86400 is "1d", 0.5 is "500ms"."""
    for unit in reversed(_TIMES):
        count = round(seconds / _TIMES[unit])
        if count and float(count * _TIMES[unit]) == seconds:
            return f"{count}{unit}"
    return seconds


def _parse_path(value: Any, info: ValidationInfo) -> Path:
    """Relative paths are relative to the folder of the configuration file."""
    if not isinstance(value, (str, Path)) or not str(value) or "\0" in str(value):
        raise ValueError("expected a path")
    folder = (info.context or {}).get("folder", Path())
    return Path(folder) / value


def _parse_file(value: Any, info: ValidationInfo) -> Path:
    path = _parse_path(value, info)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


def _quantity_schema(units: dict[str, Fraction], number: str) -> WithJsonSchema:
    text = {"type": "string", "pattern": rf"^[0-9]+(\.[0-9]+)? ?({'|'.join(units)})$"}
    return WithJsonSchema({"anyOf": [{"type": number, "minimum": 0}, text]})


Size = Annotated[
    int,
    BeforeValidator(_parse_size),
    PlainSerializer(_print_size, when_used="json"),
    _quantity_schema(_SIZES, "integer"),
]
"""Bytes: 1024, "10GiB"."""

Duration = Annotated[
    float,
    BeforeValidator(_parse_duration),
    PlainSerializer(_print_duration, when_used="json"),
    _quantity_schema(_TIMES, "number"),
]
"""Seconds: 0.5, "30s", "24h"."""


def _parse_rate(value: Any) -> float:
    """So many a second; a number in a file has its unit with it."""
    if isinstance(value, float):
        return value
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)/([smh])", value) if isinstance(value, str) else None
    if not found or not float(found[1]):
        raise ValueError("expected how many in a second, a minute or an hour, as in 1000/s")
    return float(found[1]) / float(_TIMES[found[2]])


def _print_rate(rate: float) -> str:
    """With the unit of which it is a whole number, where there is one."""
    for unit in "smh":
        count = rate * float(_TIMES[unit])
        if count == round(count):
            return f"{round(count)}/{unit}"
    return f"{rate}/s"


Rate = Annotated[
    float,
    BeforeValidator(_parse_rate),
    PlainSerializer(_print_rate, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?/[smh]$"}),
]
"""So many a second, as in "1000/s" or "5/m"."""


def _parse_percentage(value: Any) -> float:
    if isinstance(value, float):
        return value
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?%", value) if isinstance(value, str) else None
    if not found or not 0 < float(found[1]) <= 100:
        raise ValueError("expected a percentage above 0% and up to 100%, as in 50%")
    return float(found[1]) / 100


Percentage = Annotated[
    float,
    BeforeValidator(_parse_percentage),
    PlainSerializer(lambda share: f"{share * 100:g}%", when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?%$"}),
]
"""A part of something: "50%" is 0.5."""

_PATH_SCHEMA = WithJsonSchema({"type": "string", "minLength": 1})

Directory = Annotated[Path, BeforeValidator(_parse_path), _PATH_SCHEMA]
"""A path of the file system, absolute once validated against the configuration's folder. It belongs to one handler:
that two have the same is an error."""

FilePath = Annotated[Path, BeforeValidator(_parse_path), _PATH_SCHEMA]
"""The same, of what need not exist yet, and is nobody's own."""

File = Annotated[Path, BeforeValidator(_parse_file), _PATH_SCHEMA]
"""The same, of a file that exists."""


class HandlerOptions(BaseModel):
    """The base of a handler's section in config.yaml; unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False)


def directories(options: HandlerOptions) -> list[tuple[str, Path]]:
    """The options that are a `Directory`, by their names."""
    kind = get_args(Directory)[1]
    fields = type(options).model_fields.items()
    return [(name, getattr(options, name)) for name, field in fields if kind in field.metadata]
