"""What `jackfield uploads` does: lists what is open or stored, and cancels, in the files or by the service."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from yarl import URL

from jackfield.app.errors import CannotStart

if TYPE_CHECKING:
    from jackfield.handlers.upload.settings import UploadOptions

_LIMIT: Final = 10.0  # seconds for an answer
_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60))


def run(arguments: argparse.Namespace) -> int:
    """Exit 0; 1 where something could not be done, which is said in a line; 2 for a wrong configuration."""
    admin = None if arguments.admin is None else URL(arguments.admin)
    if admin is not None:
        return _complained(lambda: asyncio.run(_ask(admin, arguments)), str(admin))
    from jackfield.app.config.load import ConfigError

    try:
        return _complained(lambda: _look(arguments), str(arguments.directory or arguments.config))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2


def _complained(work: Any, where: str) -> int:
    try:
        status: int = work()
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, CannotStart) as error:
        print(f"jackfield uploads: {where}: {error or type(error).__name__}", file=sys.stderr)
        return 1
    return status


# -- the files


def _look(arguments: argparse.Namespace) -> int:
    from jackfield.handlers.upload.store import offline

    options = _options(arguments)
    status = 0
    for each in arguments.cancel:
        if not offline.cancel(options.directory, options.on_conflict, each):
            print(f"jackfield uploads: {each}: No such upload is open.", file=sys.stderr)
            status = 1
    if arguments.cancel:
        return status
    list_them = offline.receipts if arguments.receipts else offline.open_uploads
    _print(list_them(options.directory, time.time()), arguments)
    return 0


def _options(arguments: argparse.Namespace) -> "UploadOptions":
    from jackfield.app.config.load import load
    from jackfield.handlers.upload.settings import UploadOptions

    if arguments.directory is not None:
        return UploadOptions(directory=arguments.directory.absolute())
    section = load(arguments.config).handlers.get(arguments.handler)
    if section is None or not isinstance(section.options, UploadOptions):
        raise ValueError(f"has no upload handler {arguments.handler}")
    return section.options


# -- the service


async def _ask(admin: URL, arguments: argparse.Namespace) -> int:
    if arguments.receipts:
        raise ValueError("receipts are read from the directory: leave out --admin")
    base, status = admin / arguments.handler / "uploads", 0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_LIMIT)) as session:
        for each in arguments.cancel:
            async with session.delete(base / each) as answer:
                if answer.status != 204:
                    print(f"jackfield uploads: {each}: {await _detail(answer)}", file=sys.stderr)
                    status = 1
        if arguments.cancel:
            return status
        async with session.get(base) as answer:
            if answer.status != 200:
                print(f"jackfield uploads: {base}: {await _detail(answer)}", file=sys.stderr)
                return 1
            _print(await answer.json(), arguments)
    return status


async def _detail(answer: aiohttp.ClientResponse) -> str:
    try:
        return str((await answer.json(content_type=None))["detail"])
    except (ValueError, KeyError, TypeError):
        return f"answered {answer.status}"


# -- output


def _print(found: Iterable[dict[str, Any]], arguments: argparse.Namespace) -> None:
    for each in found:
        print(json.dumps(each) if arguments.json else _line(each))


def _line(found: dict[str, Any]) -> str:
    """Columns for people and for `cut -f`; a name may have anything in it, so that it is escaped."""
    name = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in found["name"])
    who, age = found["user"] or found["remote"] or "-", _age(found["age"])
    if "sha256" in found:
        return "\t".join((found["id"], found["sha256"], str(found["size"]), _age(found["stored"]), who, name))
    size = "?" if found["size"] is None else found["size"]
    state = {True: "sending", False: "waiting", None: "open"}[found["sending"]]
    return "\t".join((found["id"], state, f"{found['offset']}/{size}", age, who, name))


def _age(seconds: float | None) -> str:
    """The largest unit that it has one of, as in `3h`."""
    if seconds is None:
        return "-"
    return next((f"{seconds // length:.0f}{unit}" for unit, length in _UNITS if seconds >= length), f"{seconds:.0f}s")
