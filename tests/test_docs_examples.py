"""The examples of docs/examples: their own tests pass, and a strict type checker finds nothing in them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.documents import PROJECT
from tests.support.service import PATIENCE, jackfield

EXAMPLES = PROJECT / "docs/examples"


def test_their_tests_pass(tmp_path: Path) -> None:
    """In a copy, as a reader would run them, with Jackfield's own plugin; `mypy --strict` finds nothing in them."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto",
         "-o", "asyncio_default_fixture_loop_scope=function", "-o", "filterwarnings=error", "."],
        cwd=tmp_path / "examples", env=os.environ, capture_output=True, text=True, timeout=PATIENCE * 5, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    files = sorted((tmp_path / "examples").glob("*/*.py"))
    typed = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", PROJECT / ".mypy_cache", *files],
        cwd=tmp_path, env={**os.environ, "MYPYPATH": str(PROJECT)},
        capture_output=True, text=True, timeout=PATIENCE * 15, check=False,
    )  # fmt: skip
    assert "Success" in typed.stdout, typed.stdout + typed.stderr


def test_their_configurations_are_right(tmp_path: Path) -> None:
    """`jackfield check` takes each of them."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    configurations = list((tmp_path / "examples").glob("*/config.yaml"))
    assert len(configurations) >= 4
    for path in configurations:
        answer = jackfield("check", folder=path.parent)
        assert (answer.returncode, answer.stderr) == (0, "")
