"""The command `jackfield upload`: files in, digests out, and an exit status a script can act on."""

import argparse
import asyncio
import os
import signal
import ssl
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: not now, run it again

_EPILOG = """exit status: 0 done; 1 failed; 2 usage; 3 refused (401, 403); 5 digest mismatch, or the
local file changed; 6 too large, or no space; 7 some files failed; 75 interrupted or unreachable: what
arrived is kept, run it again to go on."""


def command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `upload` to the commands of `jackfield`. What it needs is imported when it runs."""
    text = "send files to the upload handler of a service"
    parser = subparsers.add_parser("upload", help=text, description=text.capitalize() + ".", epilog=_EPILOG)
    parser.__class__ = _Permuting  # add_parser lets nobody choose the class of one command
    parser.add_argument("files", nargs="+", metavar="FILE", help="what to send; - is standard input")
    parser.add_argument("url", metavar="URL", help="the service, or its upload path")
    parser.add_argument("--name", help="store it under this name; needed for standard input")
    parser.add_argument("-r", "--recursive", action="store_true", help="send folders with all in them")
    parser.add_argument("-j", "--jobs", type=_count, default=4, metavar="N", help="send so many files at once (4)")
    parser.add_argument("--no-resume", action="store_true", help="begin anew, whatever was sent before")
    parser.add_argument("--json", action="store_true", help="print one JSON object a file")
    parser.add_argument("--quiet", action="store_true", help="no progress, only errors")
    parser.add_argument("--cacert", metavar="FILE", help="trust the certificates in this PEM file, for https and wss")
    parser.add_argument("--timeout", type=_seconds, default=5.0, metavar="S", help="seconds to connect (5)")
    parser.add_argument("--give-up", type=_seconds, default=30.0, metavar="S", help="seconds without progress (30)")
    parser.set_defaults(run=partial(_run, parser))


class _Permuting(argparse.ArgumentParser):
    """Takes options anywhere, as rsync does: `a b --quiet URL` too, where argparse alone is lost."""

    _inside = False

    def parse_known_args(  # type: ignore[override] # the stub wants overloads
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, options first; in the plain way where `--` says that all after it are files."""
        if self._inside or "--" in (args or ()):
            return super().parse_known_args(args, namespace)
        self._inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._inside = False


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _seconds(text: str) -> float:
    if not 0 < (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def _run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
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
    return asyncio.run(_main(arguments, tls))


async def _main(arguments: argparse.Namespace, tls: ssl.SSLContext | bool) -> int:
    """Send everything; a signal ends it in an orderly way."""
    from jackfield.handlers.upload.command.run import Batch

    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await Batch(arguments, _memory(), tls).run()
    except asyncio.CancelledError:
        print("jackfield upload: interrupted; run it again to go on", file=sys.stderr)
        return INTERRUPTED


def _memory() -> Path:
    """The folder in which unfinished uploads are remembered."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "jackfield" / "uploads"
