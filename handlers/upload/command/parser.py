"""The command `jackfield upload`: files in, digests out, and an exit status a script can act on."""

import argparse
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from io import TextIOWrapper
from typing import TYPE_CHECKING

from jackfield.app import credentials

if TYPE_CHECKING:
    import ssl

_DESCRIPTION = """Send files to the upload handler of a service. A file that an earlier run has stored, and that is
unchanged since, is not sent again: its receipt is printed anew."""

_EPILOG = """exit status: 0 done; 1 failed, or another client goes on with the same upload; 2 usage; 3 refused
(401, 403); 5 digest mismatch, or the local file changed; 6 too large, or no space; 7 some files failed; 75 interrupted
or unreachable: what arrived is kept, run it again to go on."""


def command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `upload` to the commands of `jackfield`. What it needs is imported when it runs."""
    text = "send files to the upload handler of a service"
    parser = subparsers.add_parser("upload", help=text, description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("files", nargs="+", metavar="FILE", help="what to send; - is standard input")
    parser.add_argument("url", metavar="URL", help="the service, or its upload path")
    parser.add_argument("--name", help="store it under this name; needed for standard input")
    parser.add_argument("-r", "--recursive", action="store_true", help="send folders with all in them")
    parser.add_argument("-j", "--jobs", type=_count, default=4, metavar="N", help="send so many files at once (4)")
    parser.add_argument("--no-resume", action="store_true", help="send unfinished files from their first byte")
    parser.add_argument("--again", action="store_true", help="send also what is stored already, as new uploads")
    parser.add_argument("--json", action="store_true", help="print one JSON object a file")
    parser.add_argument("--quiet", action="store_true", help="no progress, only errors")
    parser.add_argument("--cacert", metavar="FILE", help="trust the certificates in this PEM file, for https and wss")
    credentials.add_option(parser)
    parser.add_argument("--timeout", type=_seconds, default=5.0, metavar="S", help="seconds to connect (5)")
    parser.add_argument("--give-up", type=_seconds, default=30.0, metavar="S", help="seconds without progress (30)")
    parser.set_defaults(run=partial(_run, parser))


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _seconds(text: str) -> float:
    if not 0 < (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def _run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    import asyncio  # here, as what follows: `jackfield --help` must not wait for it
    import ssl

    from jackfield.handlers.upload.client.service import upload_path

    try:
        upload_path(arguments.url)
    except ValueError as error:
        parser.error(str(error))
    if arguments.name is not None and len(arguments.files) > 1:
        parser.error("--name is for one FILE")
    if "-" in arguments.files and arguments.name is None:
        parser.error("standard input needs a --name")
    if "-" in arguments.files and sys.stdin is None:
        parser.error("standard input is closed")
    try:
        tls = ssl.create_default_context(cafile=arguments.cacert) if arguments.cacert else True
    except OSError as error:  # ssl.SSLError is one
        parser.error(f"--cacert {arguments.cacert}: {error.strerror or error}")
    try:
        headers = credentials.headers(arguments.token_file, arguments.url)
    except ValueError as error:
        parser.error(str(error))
    _prepare_streams()
    return asyncio.run(_main(arguments, tls, headers))


def _prepare_streams() -> None:
    """Print nowhere where a standard stream is closed, and escape what the encoding of results does not have."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


async def _main(arguments: argparse.Namespace, tls: "ssl.SSLContext | bool", headers: dict[str, str]) -> int:
    """Send everything; a signal ends it in an orderly way."""
    import asyncio

    from jackfield.handlers.upload.command.run import Command, Options
    from jackfield.handlers.upload.command.state import State

    task = asyncio.current_task()
    assert task is not None
    with suppress(NotImplementedError):  # Windows: Ctrl-C cancels the task as well, in asyncio's own way
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    options = Options(
        files=arguments.files, url=arguments.url, name=arguments.name, recursive=arguments.recursive,
        jobs=arguments.jobs, resume=not arguments.no_resume, again=arguments.again, as_json=arguments.json,
        quiet=arguments.quiet, tls=tls, headers=headers, timeout=arguments.timeout, give_up=arguments.give_up,
    )  # fmt: skip
    return await Command(options, State.of_user()).run()
