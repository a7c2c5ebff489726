"""The Makefile's `.venv`: made from any sound Python, and made anew where it does not work any more."""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import PROJECT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

PYTHON = """#!/bin/sh
# Makes virtual environments as {python} does, with a pip that downloads nothing.
[ "$1 $2" = "-m venv" ] || exec {python} "$@"
echo "$@" >> {folder}/made
{python} -m venv --without-pip "$3" "$4" || exit
printf '#!/bin/sh\\n' > .venv/bin/pip
chmod +x .venv/bin/pip
"""
OLD = '#!/bin/sh\n[ "$1" = -c ] && exit 1\necho Python 3.10.12\n'


def script(path: Path, text: str) -> Path:
    """A program with this text."""
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


class Checkout:
    """A folder with the Makefile and what its `.venv` is made from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.log = folder / "made"
        self.folder.mkdir()
        for name in ("Makefile", "requirements.lock", "setup.cfg", "setup.py", "pyproject.toml"):
            shutil.copy(PROJECT / name, self.folder)
        self.python = script(folder / "python", PYTHON.format(python=sys.executable, folder=folder))

    def make(self, target: str = ".venv/run", **variables: str | Path) -> subprocess.CompletedProcess[str]:
        """Run make here, as a user would: no variable of the make that runs the tests is handed on."""
        words = [f"{name}={value}" for name, value in ({"PYTHON": self.python} | variables).items()]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        return subprocess.run(
            ["make", target, *words], cwd=self.folder, env=environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def made(self) -> int:
        """How often a virtual environment was made."""
        return len(self.log.read_text(encoding="utf-8").splitlines()) if self.log.exists() else 0


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """One whose `.venv` is there."""
    made = Checkout(tmp_path)
    answer = made.make()
    assert answer.returncode == 0, answer.stderr
    assert made.made() == 1
    return made


def test_a_sound_one_stays(checkout: Checkout) -> None:
    """With a `.venv` that works nothing is made and nothing installed."""
    answer = checkout.make()
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "up to date" in answer.stdout
    assert checkout.made() == 1


def test_a_python_that_is_gone_is_replaced(checkout: Checkout) -> None:
    """Where the Python of `.venv` was removed, as by an upgrade of the system, `.venv` is made anew."""
    links = list((checkout.folder / ".venv" / "bin").glob("python*"))
    for link in links:
        link.unlink()
        link.symlink_to("/nowhere/python3")
    answer = checkout.make()
    assert answer.returncode == 0, answer.stderr
    assert checkout.made() == 2
    assert all(subprocess.run([link, "-c", ""], check=False).returncode == 0 for link in links)


def test_a_python_that_is_too_old_is_replaced(checkout: Checkout) -> None:
    """A `.venv` that an older Python made is made anew with `PYTHON`."""
    script(checkout.folder / ".venv" / "bin" / "old", OLD).replace(checkout.folder / ".venv" / "bin" / "python")
    answer = checkout.make()
    assert answer.returncode == 0, answer.stderr
    assert checkout.made() == 2


def test_a_checkout_that_was_moved_has_its_own(checkout: Checkout) -> None:
    """Under a new name nothing runs what lies at the old place."""
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved"))
    answer = checkout.make()
    assert answer.returncode == 0, answer.stderr
    assert checkout.made() == 2
    assert f"{checkout.folder}/.venv" in (checkout.folder / ".venv" / "pyvenv.cfg").read_text(encoding="utf-8")


@pytest.mark.parametrize("python", ["old", "/nowhere/python3"])
def test_the_python_it_needs_is_said_in_a_line(tmp_path: Path, python: str) -> None:
    """With a `PYTHON` that is too old, or not there, one line says which it needs; another one then works."""
    checkout = Checkout(tmp_path)
    script(tmp_path / "old", OLD)
    answer = checkout.make(PYTHON=tmp_path / python)
    assert answer.returncode != 0
    told, *rest = answer.stderr.splitlines()
    assert "Python 3.11 or newer" in told
    assert str(tmp_path / python) in told
    assert all(line.startswith("make:") for line in rest)  # its own: the target failed
    assert checkout.make().returncode == 0


def test_every_target_and_variable_is_listed() -> None:
    """`make help` has every target that people call, and `PYTHON`."""
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    (called,) = re.findall(r"^\.PHONY: (help .*)$", makefile, re.MULTILINE)
    listed = subprocess.run(["make", "-s", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make (\S+)", listed, re.MULTILINE)) == set(called.split())
    assert "PYTHON=" in listed
