"""The command `jackfield token`: new, list, revoke. It needs no service that runs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yarl import URL


def add_to(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `token` and its three verbs to the command `jackfield`."""
    text = "make, list and revoke the tokens of a file"
    verbs = commands.add_parser("token", help=text, description=text).add_subparsers(metavar="VERB", required=True)
    new = _verb(verbs, "new", "add a token, and print its secret once")
    new.add_argument("name", metavar="NAME", help="who it is for: letters, digits and . _ @ -")
    new.add_argument("--expires", metavar="TIME", help="from now on, as in 30d or 12h")
    new.add_argument("--handler", action="append", metavar="NAME", help="open this handler alone; may be repeated")
    new.add_argument("--max-size", metavar="SIZE", help="of one upload, as in 10GiB")
    new.add_argument("--daily-quota", metavar="SIZE", help="of what is stored in 24 hours")
    new.add_argument("--max-open", type=int, metavar="N", help="uploads that are open at a time")
    new.add_argument("--link", type=_url, metavar="URL", help="print a guest link to this page instead of the secret")
    _verb(verbs, "list", "print the names in the file, and when they expire")
    revoke = _verb(verbs, "revoke", "take a token out of the file")
    revoke.add_argument("name", metavar="NAME")


def _url(text: str) -> "URL":
    from yarl import URL

    return URL(text)


def _verb(verbs: "argparse._SubParsersAction[Any]", name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    parser.add_argument("--file", type=Path, required=True, metavar="FILE", help="the file of tokens")
    parser.set_defaults(run=_run, verb=name)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from jackfield.app.auth import verbs  # here: what it needs would make every other command start later

    return verbs.run(arguments)
