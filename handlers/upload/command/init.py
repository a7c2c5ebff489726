"""The command `jackfield init`: a configuration to begin with, and an empty file of tokens."""

import argparse
import os
import sys
from pathlib import Path

_INITIAL = Path(__file__).with_name("initial.yaml")


def command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `init` to the commands of `jackfield`."""
    text = "write a configuration to begin with, and an empty file of tokens beside it"
    parser = subparsers.add_parser("init", help=text, description=text)
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), metavar="FILE")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Exit 0, or 1 where a file is there already or cannot be written; nothing is overwritten."""
    config = arguments.config
    try:
        _write(config, _INITIAL.read_text(encoding="utf-8"), 0o644)
        tokens = config.with_name("tokens.yaml")
        if not tokens.exists():
            _write(tokens, "[]\n", 0o600)
    except OSError as error:
        print(f"jackfield init: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    print(
        f"{config} is written. Next:\n  jackfield token new NAME --file {tokens}\n  jackfield serve --config {config}"
    )
    return 0


def _write(path: Path, text: str, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
