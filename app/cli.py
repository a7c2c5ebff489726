"""The command `jackfield`: serve, check, schema, and what handlers add by the entry points `jackfield.commands`."""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points, version
from pathlib import Path

from app import config
from app.errors import CannotStart
from app.service import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; 2 for wrong usage and for a wrong configuration."""
    parsed = _parser().parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except CannotStart as error:
        print(f"jackfield: {error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jackfield", description="WebSocket handlers behind one dispatcher.")
    parser.add_argument("--version", action="version", version=f"jackfield {version('jackfield')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, run, text in (
        ("serve", _serve, "run the service"),
        ("check", _check, "print the effective configuration, or every problem in it"),
        ("schema", _schema, "print the JSON Schema of the configuration"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", type=Path, default=Path("config.yaml"), metavar="FILE")
        command.set_defaults(run=run)
    for entry in sorted(entry_points(group="jackfield.commands"), key=lambda entry: entry.name):
        try:
            add = entry.load()
        except ModuleNotFoundError:
            continue  # a handler that was taken out takes its command with it
        add(commands)
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    serve(config.load(arguments.config))


def _check(arguments: argparse.Namespace) -> int:
    print(config.render(config.load(arguments.config)), end="")
    return 0


def _schema(arguments: argparse.Namespace) -> int:
    print(json.dumps(config.schema(config.load(arguments.config)), indent=2))
    return 0
