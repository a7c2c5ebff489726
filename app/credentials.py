"""Credentials of the commands: from a file or the environment, never from an argument."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from yarl import URL

VARIABLE: Final = "JACKFIELD_TOKEN"


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add `--token-file`."""
    text = f"a file with the secret of a token; without it that of the variable {VARIABLE}, or of the URL"
    parser.add_argument("--token-file", type=Path, metavar="FILE", help=text)


def headers(token_file: Path | None, url: str) -> dict[str, str]:
    """Headers for every request of a command. Raises ValueError, whose text has no secret in it.

    Credentials in the URL are sent by aiohttp itself; they come before those of the environment.
    """
    if token_file is not None:
        if _url(url).raw_password is not None:
            raise ValueError("--token-file, or a secret in the URL: one of them will do")
        return _bearer(_read(token_file), f"--token-file {token_file}")
    secret = os.environ.get(VARIABLE, "").strip()
    if not secret or _url(url).raw_password is not None:
        return {}
    return _bearer(secret, VARIABLE)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"--token-file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"--token-file {path}: is not UTF-8") from None


def _bearer(secret: str, source: str) -> dict[str, str]:
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ValueError(f"{source}: has no secret in it")
    return {"Authorization": f"Bearer {secret}"}


def shown(url: str) -> str:
    """The URL as it may be printed: without user, password and fragment."""
    try:
        return str(_url(url).with_user(None).with_fragment(None))
    except ValueError:
        return "the URL"


def _url(text: str) -> "URL":
    from yarl import URL  # here: `jackfield --help` must not wait for it

    return URL(text)
