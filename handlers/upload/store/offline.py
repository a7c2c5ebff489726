"""What a store's files tell, for whoever runs the service: read without the lock, beside a service or without one.

Of a service that runs it is what is durable: small files that are still in its memory are not here.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from jackfield.app.errors import CannotStart
from jackfield.handlers.upload.store.disk import Disk
from jackfield.handlers.upload.store.publish import Policy, Publisher
from jackfield.handlers.upload.store.receipts import Receipts
from jackfield.handlers.upload.store.staging import Staging
from jackfield.handlers.upload.wire.messages import Promise

_SHOWN = 12  # characters of a key, as in the log


def open_uploads(directory: Path, now: float) -> Iterator[dict[str, Any]]:
    """One after the other, the oldest first; times in seconds before `now` (seconds since 1970). Raises OSError."""
    staging = Staging(directory, Disk())
    found = []
    for key in _keys(staging, "upload"):
        with suppress(FileNotFoundError, ValueError):  # it has just ended; or a service will say what is wrong
            manifest = staging.load(key)
            found.append((manifest.touched, key, manifest))
    for touched, key, manifest in sorted(found, key=lambda each: each[0]):
        yield {
            "id": key[:_SHOWN], "name": manifest.promise.place, "size": manifest.promise.expected,
            "offset": manifest.durable, **_owner(manifest.promise, now), "sending": None,
            "idle": round(max(now - touched, 0), 3),
        }  # fmt: skip


def receipts(directory: Path, now: float) -> Iterator[dict[str, Any]]:
    """Those that lie there, in no order. Raises OSError."""
    staging = Staging(directory, Disk())
    kept = Receipts(staging)
    for kind in ("receipt", "receipts"):
        for file in _keys(staging, kind):
            with suppress(FileNotFoundError):
                for each in kept.read(file, kind):
                    receipt, key = each.receipt, getattr(each, "key", file)
                    yield {
                        "id": key[:_SHOWN], "name": receipt.name, "size": receipt.size, "sha256": receipt.sha256,
                        **_owner(each.asked, now), "stored": round(max(now - each.when, 0), 3),
                    }  # fmt: skip


def cancel(directory: Path, policy: Policy, name: str) -> bool:
    """Throw an upload away, by the beginning of its key; False where none is open that is called so.

    Raises CannotStart where a service runs, which alone may do that, and OSError.
    """
    staging = Staging(directory, Disk())
    if not staging.folder.is_dir():
        raise CannotStart(f"{directory} has no uploads in it")
    staging.open()
    try:
        keys = [key for key in _keys(staging, "upload") if len(name) >= _SHOWN and key.startswith(name)]
        for key in keys:
            Publisher(staging, policy).discard(key, staging.load(key).promise.place)
        return bool(keys)
    finally:
        staging.close()


def _keys(staging: Staging, kind: str) -> list[str]:
    found = (entry.name.partition(".") for entry in staging.entries())
    return sorted(key for key, _, what in found if what == kind)


def _owner(promise: Promise, now: float) -> dict[str, Any]:
    origin = promise.origin
    if origin is None:
        return {"user": None, "remote": None, "age": None}
    return {"user": origin.user, "remote": origin.remote or None, "age": round(max(now - origin.created, 0), 3)}
