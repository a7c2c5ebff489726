"""The command `jackfield events`: what waits to be told, what was given up, and telling that again.

It works on the files of the store, beside a service that runs or without one. What is heavy is imported only when the
command runs.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from jackfield.handlers.upload.store.records import Stored
    from jackfield.handlers.upload.store.staging import Staging

_ALL: Final = "all"


def command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `events` to the commands of `jackfield`."""
    text = "list the events of which on_stored is still to be told, or that were given up, and have those told again"
    parser = subparsers.add_parser("events", help=text, description=text)
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), metavar="FILE")
    parser.add_argument("--failed", action="store_true", help="those that were given up, and why")
    parser.add_argument("--retry", metavar="ID", help=f"tell one of those again, or {_ALL} of them")
    parser.add_argument("--json", action="store_true", help="print one JSON object an event")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Exit 0; 1 where the id is unknown or the disk refuses; 2 where the configuration is wrong."""
    from jackfield.app.config.load import ConfigError

    try:
        stores = _stores(arguments.config)
        if arguments.retry is not None:
            return _retry(stores, arguments.retry)
        for handler, staging in stores:
            _list(handler, staging, failed=arguments.failed, as_json=arguments.json)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"jackfield events: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _stores(config: Path) -> "list[tuple[str, Staging]]":
    """The staging folders of all upload handlers, by their names."""
    from jackfield.app.config.load import load
    from jackfield.handlers.upload.settings import UploadOptions
    from jackfield.handlers.upload.store.disk import Disk
    from jackfield.handlers.upload.store.staging import Staging

    sections = load(config).handlers.items()
    found = [(name, each.options) for name, each in sections if isinstance(each.options, UploadOptions)]
    stagings = [(name, Staging(options.directory, Disk())) for name, options in found]
    return [(name, staging) for name, staging in stagings if staging.folder.exists()]


def _retry(stores: "Iterable[tuple[str, Staging]]", wanted: str) -> int:
    from jackfield.handlers.upload.store import events

    count = 0
    for _, staging in stores:
        keys = [key for key, _ in events.dead_letters(staging) if wanted in (_ALL, _id(key))]
        if keys:
            events.retry(staging, keys)
        count += len(keys)
    if not count and wanted != _ALL:
        print(f"jackfield events: no event {wanted} was given up", file=sys.stderr)
        return 1
    print(f"{count} to be told again")
    return 0


def _list(handler: str, staging: "Staging", *, failed: bool, as_json: bool) -> None:
    from jackfield.handlers.upload.store import events

    found: Iterable[tuple[str, Stored]] = events.dead_letters(staging) if failed else events.waiting(staging)
    for key, stored in found:
        fields = _fields(handler, key, stored)
        print(json.dumps(fields) if as_json else "\t".join(map(_printable, fields.values())))


def _fields(handler: str, key: str, stored: "Stored") -> dict[str, str]:
    from jackfield.handlers.upload.hooks.arrival import print_seconds

    fields = {"id": _id(key), "handler": handler, "stored": print_seconds(stored.when), "name": stored.receipt.name}
    problem = getattr(stored, "problem", None)
    return fields if problem is None else {**fields, "problem": problem}


def _id(key: str) -> str:
    from jackfield.handlers.upload.hooks.arrival import id_of

    return id_of(key)


def _printable(text: str) -> str:
    """A name may have anything in it."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
