"""Moments as RFC 3339 writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jackfield.handlers.upload.wire.times import parse_time, print_time


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2001-09-09t01:46:40.1234567z", 1_000_000_000_123_456_700),
        ("2001-09-09 03:46:40+02:00", 1_000_000_000 * 10**9),
        ("2001-09-08T20:16:40.5-05:30", 1_000_000_000 * 10**9 + 500_000_000),
        ("1969-12-31T23:59:59.999999999999Z", -1),
        ("1990-12-31T23:59:60Z", 662_688_000 * 10**9),
    ],
)
def test_a_moment_is_parsed(text: str, moment: int) -> None:
    """With any offset, to the nanosecond; a leap second is the next one."""
    assert parse_time(text) == moment


@pytest.mark.parametrize(
    "text", ["", "2001-09-09", "2001-09-09T01:46:40", "2001-13-09T01:46:40Z", "2001-09-09T01:46:40+24:00",
             "2001-09-09T01:46:40+01:60", "2001-09-09T25:00:00Z", "2001-09-09T01:46:40.Z", "0000-01-01T00:00:00Z",
             "２００１-09-09T01:46:40Z", "2001-09-09T01:46:61Z"],
)  # fmt: skip
def test_what_is_no_moment_is_refused(text: str) -> None:
    """As ValueError."""
    with pytest.raises(ValueError, match=r"."):
        parse_time(text)


@given(st.integers(-62_135_596_800 * 10**9, 253_402_300_799 * 10**9))
def test_a_moment_is_parsed_as_it_was_printed(moment: int) -> None:
    """Every nanosecond from year 1 to 9999."""
    assert parse_time(print_time(moment)) == moment
