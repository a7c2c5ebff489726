"""The command `jackfield`: those of the service, and what handlers add by the entry points `jackfield.commands`."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING

from jackfield.app import new
from jackfield.app.errors import CannotStart

if TYPE_CHECKING:
    from jackfield.app.config.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; 2 for wrong usage and for a wrong configuration."""
    try:
        parsed = _parser().parse_args(arguments)
        status: int = parsed.run(parsed)
        if sys.stdout is not None:  # closed, as daemons start their children
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed the pipe. Output that is still buffered must not fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jackfield", description="WebSocket handlers behind one dispatcher.")
    parser.add_argument("--version", action="version", version=f"jackfield {version('jackfield')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, run, text in (
        ("serve", _serve, "run the service"),
        ("check", _check, "print the effective configuration, or every problem in it"),
        ("schema", _schema, "print the JSON Schema of the configuration"),
        ("healthcheck", _healthcheck, "ask the running service whether it lives; exit 0 or 1"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", type=Path, default=Path("config.yaml"), metavar="FILE")
        command.set_defaults(run=partial(_configured, run))
        if name == "serve":
            text = "for development: start anew when the configuration or a file of a handler has changed"
            command.add_argument("--reload", action="store_true", help=text)
            command.set_defaults(run=_serve_command)
    new.add_to(commands)
    for entry in sorted(entry_points(group="jackfield.commands"), key=lambda entry: entry.name):
        try:
            add = entry.load()
        except ModuleNotFoundError:
            continue  # a handler that was taken out takes its command with it
        add(commands)
    return parser


def _configured(run: "Callable[[Settings], None]", arguments: argparse.Namespace) -> int:
    """Run what needs the configuration. Only here is the service imported: other commands start without it."""
    try:
        from jackfield.app.config import ConfigError, load
    except ModuleNotFoundError as error:
        return _missing(error)
    try:
        run(load(arguments.config))
    except ConfigError as error:
        return _complain(str(error), 2)
    except CannotStart as error:
        return _complain(f"jackfield: {error}", 1)
    return 0


def _missing(error: ModuleNotFoundError) -> int:
    return _complain(f"jackfield: {error}: pip install 'jackfield[server]'", 1)


def _complain(text: str, status: int) -> int:
    """Print an error to standard error, if it can be written; return the exit status."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)
    return status


def _serve_command(arguments: argparse.Namespace) -> int:
    if not arguments.reload:
        return _configured(_serve, arguments)
    try:
        from jackfield.app.development import Supervisor
    except ModuleNotFoundError as error:
        return _missing(error)
    return Supervisor(arguments.config).run()


def _serve(settings: "Settings") -> None:
    from jackfield.app.process import serve

    try:
        serve(settings)
    except BrokenPipeError as error:  # a fault of ours: `main` would take it for a closed standard output
        raise RuntimeError("a pipe broke in the service") from error


def _check(settings: "Settings") -> None:
    from jackfield.app.config import render

    print(render(settings), end="")


def _healthcheck(settings: "Settings") -> None:
    from jackfield.app.healthcheck import ask

    ask(settings.server)


def _schema(settings: "Settings") -> None:
    from jackfield.app.config import schema

    print(json.dumps(schema(settings), indent=2))
