"""Moments as RFC 3339 writes them, to the nanosecond: what a file's time of modification has. Pure."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

_MOMENT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


def parse_time(text: str) -> int:
    """Nanoseconds since 1970. Raises ValueError where it is no moment of RFC 3339; digits beyond them are dropped."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError("no moment in RFC 3339")
    day, clock, fraction, sign, hours, minutes = found.groups()
    ahead = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    if ahead >= timedelta(days=1) or int(minutes or 0) > 59:
        raise ValueError("no offset")
    zone = timezone(-ahead if sign == "-" else ahead)
    # A leap second is the second behind it: no clock of a file knows it.
    leap = clock.endswith(":60")
    moment = datetime.fromisoformat(f"{day}T{clock[:-2]}59" if leap else f"{day}T{clock}").replace(tzinfo=zone)
    since = moment - _START + timedelta(seconds=leap)
    return (since.days * 86400 + since.seconds) * 10**9 + int((fraction or "").ljust(9, "0"))


def print_time(moment: int) -> str:
    """Nanoseconds since 1970, with as many digits as it takes."""
    seconds, rest = divmod(moment, 10**9)
    text = (_START + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
    fraction = f"{rest:09}".rstrip("0")
    return f"{text}.{fraction}Z" if fraction else f"{text}Z"
