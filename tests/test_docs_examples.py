"""The examples of docs/examples: their own tests pass, and their configurations load."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from jackfield.app.config import load
from tests.support.documents import PROJECT
from tests.support.service import PATIENCE

EXAMPLES = PROJECT / "docs/examples"


def test_their_tests_pass(tmp_path: Path) -> None:
    """In a copy, as a reader would run them, with Jackfield's own plugin."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto",
         "-o", "asyncio_default_fixture_loop_scope=function", "-o", "filterwarnings=error", "."],
        cwd=tmp_path / "examples", env=os.environ, capture_output=True, text=True, timeout=PATIENCE * 5, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_their_configurations_are_right() -> None:
    """Each of them loads, with its handlers."""
    configurations = sorted(EXAMPLES.glob("*/config.yaml"))
    assert [list(load(path, {}).handlers) for path in configurations] == [["chat"], ["echo"], ["sensors"], ["tail"]]
