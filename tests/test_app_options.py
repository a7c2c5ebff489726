"""Sizes, durations and paths: what is written in config.yaml and what the service gets."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from jackfield.app.options import Directory, Duration, File, HandlerOptions, Size


class Everything(HandlerOptions):
    size: Size = 0
    duration: Duration = 0.0
    directory: Directory = Path("var")
    some: Size | None = None
    positive: Size = Field(1, gt=0)


class WithFile(HandlerOptions):
    file: File


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (0, 0), (1024, 1024), (2.0, 2), ("1B", 1), ("64KiB", 65536), ("1 MiB", 2**20), ("10GiB", 10 * 2**30),
        ("1.5KiB", 1536), ("100GiB", 107374182400), ("1TiB", 2**40), ("9007199254740993B", 2**53 + 1),
    ],
)  # fmt: skip
def test_a_size_is_bytes_or_a_number_with_a_binary_unit(written: Any, size: int) -> None:
    """Sizes are exact, also beyond what a float can say."""
    assert Everything(size=written).size == size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(0, 0.0), (30, 30.0), (0.5, 0.5), ("30s", 30.0), ("10m", 600.0), ("24h", 86400.0), ("7d", 604800.0),
     ("250ms", 0.25), ("1.5h", 5400.0), ("1001ms", 1.001)],
)  # fmt: skip
def test_a_duration_is_seconds_or_a_number_with_a_unit(written: Any, seconds: float) -> None:
    """Durations are the float nearest to what was written."""
    assert Everything(duration=written).duration == seconds


@pytest.mark.parametrize(
    "written",
    [-1, True, False, None, "", "10", "10GB", "10gib", "10 KiBs", "-1KiB", " 1KiB", "1KiB\n", "1e3KiB",
     "٣KiB", ".5KiB", "0.3B", 1.5, math.inf, math.nan, [], {}, b"1KiB", 2**63, "8388608TiB",
     "9" * 5000 + "B"],
)  # fmt: skip
def test_what_is_no_size_is_refused(written: Any) -> None:
    """Nothing is guessed: no bare number in text, no decimal unit, no part of a byte, nothing past 2**63."""
    with pytest.raises(ValidationError):
        Everything(size=written)


@pytest.mark.parametrize(
    "written",
    [-0.1, True, None, "", "30", "30 sec", "1S", "1h30m", "-1s", math.inf, math.nan, [30], "36501d", 1e300],
)
def test_what_is_no_duration_is_refused(written: Any) -> None:
    """Nothing is guessed: no bare number in text, no sum of units, nothing past a hundred years."""
    with pytest.raises(ValidationError):
        Everything(duration=written)


def test_a_bound_is_said_beside_the_type() -> None:
    """`Field(gt=0)` bounds a Size after its unit was read."""
    with pytest.raises(ValidationError, match="greater than 0"):
        Everything(positive="0KiB")


@pytest.mark.parametrize("written", ["", 5, None, "a\0b", []])
def test_what_is_no_path_is_refused(written: Any) -> None:
    """A path is text that the file system can take."""
    with pytest.raises(ValidationError, match="expected a path"):
        Everything(directory=written)


def test_a_relative_path_is_relative_to_the_folder_of_the_configuration(tmp_path: Path) -> None:
    """That holds for a default as for a value; an absolute path stays."""
    context = {"folder": tmp_path}
    assert Everything.model_validate({}, context=context).directory == tmp_path / "var"
    assert Everything.model_validate({"directory": "a/b"}, context=context).directory == tmp_path / "a/b"
    assert Everything.model_validate({"directory": "/srv"}, context=context).directory == Path("/srv")


def test_a_file_must_exist(tmp_path: Path) -> None:
    """A file that is not there is found when the configuration is read; a folder is no file."""
    (tmp_path / "key.pem").touch()
    context = {"folder": tmp_path}
    assert WithFile.model_validate({"file": "key.pem"}, context=context).file == tmp_path / "key.pem"
    for missing in ("none.pem", "."):
        with pytest.raises(ValidationError, match="there is no file"):
            WithFile.model_validate({"file": missing}, context=context)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, 0),
        (1, 1),
        (1500, 1500),
        (1024, "1KiB"),
        (1536 * 1024, "1536KiB"),
        (64 * 2**20, "64MiB"),
        (2**40, "1TiB"),
    ],
)
def test_a_size_is_printed_with_the_largest_unit_that_says_it_exactly(size: int, text: Any) -> None:
    """What has no exact unit is printed in bytes."""
    assert Everything(size=size).model_dump(mode="json")["size"] == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, 0.0),
        (0.5, "500ms"),
        (1.0, "1s"),
        (90.0, "90s"),
        (600.0, "10m"),
        (86400.0, "1d"),
        (0.0001, 0.0001),
    ],
)
def test_a_duration_is_printed_with_the_largest_unit_that_says_it_exactly(seconds: float, text: Any) -> None:
    """What has no exact unit is printed in seconds."""
    assert Everything(duration=seconds).model_dump(mode="json")["duration"] == text


@given(size=st.integers(0, 2**63 - 1), seconds=st.floats(0, 36500 * 86400))
def test_what_is_printed_is_read_back_unchanged(size: int, seconds: float) -> None:
    """Printing loses nothing, whatever the value."""
    options = Everything(size=size, duration=seconds, some=size)
    assert Everything.model_validate(options.model_dump(mode="json")) == options


def test_options_are_strict_and_frozen() -> None:
    """A handler's options know no other keys, convert no types, and do not change."""
    with pytest.raises(ValidationError, match="Extra inputs"):
        Everything.model_validate({"other": 1})

    class Numbers(HandlerOptions):
        count: int = 1
        share: float = 0.5

    for wrong in ({"count": "1"}, {"count": True}, {"count": 1.0}, {"share": "0.5"}, {"share": math.inf}):
        with pytest.raises(ValidationError):
            Numbers.model_validate(wrong)
    with pytest.raises(ValidationError, match="frozen"):
        Numbers().count = 2  # type: ignore[misc]
