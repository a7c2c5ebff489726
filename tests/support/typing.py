"""What a strict type checker says of somebody's files."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.documents import PROJECT


def checked(*files: Path) -> str:
    """What `mypy --strict` says of these files; it sees them as their author does."""
    answer = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", PROJECT / ".mypy_cache", *files],
        cwd=files[0].parent, env={**os.environ, "MYPYPATH": str(PROJECT)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return answer.stdout + answer.stderr
