"""What a hook is told: an arrival for Python, a CloudEvent 1.0 in JSON for everybody else. Pure."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from jackfield.handlers.upload.store.records import Stored
from jackfield.handlers.upload.wire import tus
from jackfield.handlers.upload.wire.messages import Promise
from jackfield.handlers.upload.wire.times import print_time

STORED: Final = "io.jackfield.upload.stored"
REQUESTED: Final = "io.jackfield.upload.requested"
_DIGITS_OF_ID: Final = 32


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that is stored. Of one arrival an `id` is told at least once, and never another.

    `path` is where it lies, `name` that path below the directory, `size` is in bytes, `sha256` in lower-case hex.
    Times are texts in RFC 3339, in UTC; `mtime` is what the client said of its own file.
    """

    id: str
    name: str
    path: str
    size: int
    sha256: str
    user: str | None
    created: str
    stored: str
    remote: str | None
    mtime: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def id_of(key: str) -> str:
    """The upload's id, from the hash of its token."""
    return key[:_DIGITS_OF_ID]


def arrival(key: str, stored: Stored, directory: str) -> Arrival:
    """What `stored` tells; `directory` is absolute."""
    receipt, promise = stored.receipt, stored.asked
    origin = promise.origin
    return Arrival(
        id_of(key), receipt.name, f"{directory}/{receipt.name}", receipt.size, receipt.sha256,
        user=None if origin is None else origin.user,
        created=print_seconds(stored.when if origin is None else origin.created),
        stored=print_seconds(stored.when),
        remote=None if origin is None else origin.remote or None,
        mtime=None if promise.mtime is None else print_time(promise.mtime),
        metadata=_metadata(promise.metadata),
    )  # fmt: skip


def _metadata(said: str | None) -> dict[str, str]:
    return {key: value.decode("utf-8", "replace") for key, value in tus.metadata(said or "").items()}


def stored_event(told: Arrival, source: str) -> bytes:
    """The CloudEvent of an arrival; `source` is the handler's path."""
    data = {key: value for key, value in asdict(told).items() if key != "id"}
    for key in ("mtime", "metadata"):
        if not data[key]:
            del data[key]
    return _event(STORED, source, told.id, told.name, told.stored, data)


def requested_event(key: str, promise: Promise, source: str) -> bytes:
    """The CloudEvent that asks whether an upload may exist."""
    origin = promise.origin
    assert origin is not None, "an upload that is not let in yet has its origin"
    data = {
        "name": promise.name, "size": promise.size, "sha256": promise.sha256, "user": origin.user,
        "remote": origin.remote or None,
    }  # fmt: skip
    return _event(REQUESTED, source, id_of(key), origin.name, print_seconds(origin.created), data)


def _event(kind: str, source: str, identifier: str, subject: str, when: str, data: Mapping[str, Any]) -> bytes:
    event = {
        "specversion": "1.0", "type": kind, "source": source, "id": identifier, "subject": subject, "time": when,
        "datacontenttype": "application/json", "data": data,
    }  # fmt: skip
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def print_seconds(when: float) -> str:
    """Seconds since 1970, to the millisecond."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=round(when * 1000))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
