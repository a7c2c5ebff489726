"""What the command must not import to print its help: it would start three times as slowly."""

import subprocess
import sys

import pytest

HEAVY = ("aiohttp", "asyncio", "pydantic", "ssl", "structlog", "yaml", "yarl")
PROGRAM = f"""
import contextlib, io, sys
from jackfield.app.cli import main
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
    main(sys.argv[1:])
print(len(out.getvalue()), *(name for name in {HEAVY!r} if name in sys.modules))
"""


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["upload", "--help"], ["uploads", "--help"]])
def test_help_needs_neither_client_nor_service(words: list[str]) -> None:
    """Each command imports what it needs when it runs, and none of the others pays for it."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=True)
    size, *heavy = ran.stdout.split()
    assert int(size) > 10
    assert heavy == []
