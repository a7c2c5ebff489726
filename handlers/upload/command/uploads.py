"""The command `jackfield uploads`: for whoever runs the service, what is open there, and cancelling it."""

import argparse
import asyncio
import json
import sys
from typing import Any

import aiohttp
from yarl import URL

_LIMIT = 10.0  # seconds for an answer


def command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `uploads` to the commands of `jackfield`."""
    text = "list the open uploads of a service, by its server.admin, or cancel some"
    parser = subparsers.add_parser("uploads", help=text, description=text)
    parser.add_argument("--admin", type=URL, default=URL("http://127.0.0.1:9090"), metavar="URL", help="server.admin")
    parser.add_argument("--handler", default="upload", metavar="NAME", help="its name in the configuration (upload)")
    parser.add_argument("--cancel", action="append", default=[], metavar="ID", help="throw it away; may be repeated")
    parser.add_argument("--json", action="store_true", help="print one JSON object an upload")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Exit 0; 1 where something could not be done, which is said in a line."""
    try:
        return asyncio.run(_main(arguments))
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        print(f"jackfield uploads: {arguments.admin}: {error or type(error).__name__}", file=sys.stderr)
        return 1


async def _main(arguments: argparse.Namespace) -> int:
    base, status = arguments.admin / arguments.handler / "uploads", 0
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
            for upload in await answer.json():
                print(json.dumps(upload) if arguments.json else _line(upload))
    return status


async def _detail(answer: aiohttp.ClientResponse) -> str:
    try:
        return str((await answer.json(content_type=None))["detail"])
    except (ValueError, KeyError, TypeError):
        return f"answered {answer.status}"


def _line(upload: dict[str, Any]) -> str:
    """Columns for people and for `cut -f`; a name may have anything in it, so that it is escaped."""
    size = "?" if upload["size"] is None else upload["size"]
    name = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in upload["name"])
    who = upload["user"] or upload["remote"] or "-"
    state = "sending" if upload["sending"] else "waiting"
    return "\t".join((upload["id"], state, f"{upload['offset']}/{size}", f"{upload['idle']:.0f}s", who, name))
