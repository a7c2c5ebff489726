"""The subcommands of `jackfield token`; each takes the parsed arguments and returns the exit status."""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import TypeAdapter, ValidationError

from jackfield.app.auth import tokens
from jackfield.app.auth.tokens import Token
from jackfield.app.config.problems import ConfigError, from_validation
from jackfield.app.options import Duration


def run(arguments: argparse.Namespace) -> int:
    """Whatever is wrong with the file or the words is one line each, and exit status 2."""
    try:
        return VERBS[arguments.verb](arguments)
    except ConfigError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"jackfield token: {arguments.file}: {error.strerror}", file=sys.stderr)
    return 2


def _new(arguments: argparse.Namespace) -> int:
    known = tokens.read(arguments.file) if arguments.file.exists() else []
    if any(token.name == arguments.name for token in known):
        print(f"jackfield token: {arguments.file} has a token {arguments.name}; revoke it first", file=sys.stderr)
        return 1
    secret = tokens.new_secret()
    tokens.write(arguments.file, [*known, _token(arguments, secret)])
    # A fragment is never sent: neither a server nor a proxy on the way sees the secret of a link.
    print(arguments.link.with_fragment(secret) if arguments.link else secret)
    return 0


def _token(arguments: argparse.Namespace, secret: str) -> Token:
    fields = {
        "name": arguments.name, "sha256": tokens.hash_secret(secret), "handlers": arguments.handler,
        "expires": arguments.expires and _after(arguments.expires), "max_size": arguments.max_size,
        "daily_quota": arguments.daily_quota, "max_open": arguments.max_open,
    }  # fmt: skip
    try:
        return Token.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, at))}: {message}" for at, message in from_validation(error, Token, ())
        )
        raise SystemExit(f"jackfield token: {problems}") from None


def _after(text: str) -> str:
    try:
        seconds = TypeAdapter(Duration).validate_python(text)
    except ValidationError as error:
        raise SystemExit(f"jackfield token: --expires: {error.errors()[0]['ctx']['error']}") from None
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds").replace("+00:00", "Z")


def _list(arguments: argparse.Namespace) -> int:
    for token in tokens.read(arguments.file):
        until = "expired" if token.expired() else token.expires or "does not expire"
        print(token.name, until, " ".join(token.handlers or ()) or "all handlers", sep="\t")
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    known = tokens.read(arguments.file)
    left = [token for token in known if token.name != arguments.name]
    if len(left) == len(known):
        print(f"jackfield token: {arguments.file} has no token {arguments.name}", file=sys.stderr)
        return 1
    tokens.write(arguments.file, left)
    return 0


VERBS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {"new": _new, "list": _list, "revoke": _revoke}
