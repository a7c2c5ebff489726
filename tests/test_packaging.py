"""What is built and installed: a wheel and a source distribution that are whole, and disturb nobody beside them."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.documents import PROJECT

pytestmark = pytest.mark.slow

BUILD = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
NOT_OURS = shutil.ignore_patterns(
    ".git", ".venv*", "__pycache__", "*.egg-info", "build", "dist", "var", ".*_cache", ".hypothesis", ".coverage*",
    ".peers", ".work", ".results",
)  # fmt: skip
PYTEST = f"""#!{sys.executable}
import sys
from pytest import console_main
sys.exit(console_main())
"""  # the shebang is replaced by that of the environment


def run(*words: str | Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program with nothing of this environment, until it ends."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "COV"))}
    return subprocess.run(
        [str(word) for word in words], cwd=folder, env={**inherited, **environment},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


@dataclass(frozen=True)
class Built:
    """The two distributions."""

    sdist: Path
    wheel: Path

    def required(self, extra: str = "") -> set[str]:
        """The names of the distributions that the wheel requires, with this extra."""
        with zipfile.ZipFile(self.wheel) as wheel:
            (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
            metadata = wheel.read(name).decode()
        found = map(Requirement, re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE))
        return {one.name for one in found if (one.marker or Always()).evaluate({"extra": extra})}


class Always:
    """A marker that holds everywhere."""

    def evaluate(self, environment: Mapping[str, str]) -> bool:
        """Whether it holds here."""
        return True


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The source distribution of the checkout, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(PROJECT, folder / "checkout", symlinks=True, ignore=NOT_OURS)
    answer = run(sys.executable, "-c", BUILD, folder, folder=folder / "checkout")
    assert answer.returncode == 0, answer.stderr
    (sdist,) = folder.glob("*.tar.gz")
    answer = run(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, sdist,
        folder=folder,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    (wheel,) = folder.glob("*.whl")
    return Built(sdist, wheel)


class Environment:
    """A fresh virtual environment with the wheel, and of the packages of this one those that are named."""

    def __init__(self, folder: Path, wheel: Path, packages: Iterable[str]) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
        self.bin = folder / "bin"
        (self.site,) = folder.glob("lib/python*/site-packages")
        for name in sorted(with_requirements(packages)):
            self._borrow(name)
        answer = run(
            sys.executable, "-m", "pip", "--python", self.bin / "python", "install", "--no-deps", "--no-index", wheel,
            folder=folder,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr
        script = self.bin / "pytest"
        script.write_text(PYTEST.replace(sys.executable, str(self.bin / "python")), encoding="utf-8")
        script.chmod(0o755)

    def _borrow(self, name: str) -> None:
        """Link what a distribution brought into the folder of packages."""
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or () if file.parts[0] != ".."}:
            if not (self.site / top).exists():
                (self.site / top).symlink_to(Path(str(found.locate_file(top))))


def with_requirements(names: Iterable[str]) -> set[str]:
    """These distributions, and all that they require here."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        required = map(Requirement, distribution(name).requires or ())
        waiting |= {one.name for one in required if (one.marker or Always()).evaluate({"extra": ""})} - found
    return found


@pytest.fixture(scope="module")
def client(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """`pip install jackfield`, beside pytest."""
    folder = tmp_path_factory.mktemp("client") / "venv"
    return Environment(folder, built.wheel, built.required() | {"pytest", "pytest-asyncio"})


# -- what is in them


def test_the_wheel_brings_one_package(built: Built) -> None:
    """At its top level there is `jackfield` and nothing else; in it is all of the code and the pages, as files."""
    with zipfile.ZipFile(built.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        assert not any(entry.external_attr >> 28 == 0o12 for entry in wheel.infolist())  # a symbolic link
    assert {name.split("/")[0] for name in names} == {"jackfield"}
    ours = {
        f"jackfield/{path.relative_to(PROJECT)}"
        for top in ("app", "handlers")
        for path in (PROJECT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    ours |= {str(path.relative_to(PROJECT)) for path in (PROJECT / "jackfield").glob("*.*")}
    ours |= {str(path.relative_to(PROJECT)) for path in (PROJECT / "jackfield/testing").glob("*.*")}
    assert names == ours


def test_the_source_distribution_is_the_checkout(built: Built) -> None:
    """Every file of the checkout is in it, its links too; a wheel is built from it."""
    with tarfile.open(built.sdist) as sdist:
        members = {member.name.partition("/")[2]: member for member in sdist.getmembers()}
    ours = {
        str(path.relative_to(built.sdist.parent / "checkout"))
        for path in (built.sdist.parent / "checkout").rglob("*")
        if path.is_file() and not re.search(r"\.egg-info|/(app|handlers)/", f"/{path.relative_to(built.sdist.parent)}")
    }
    assert ours - members.keys() == set()
    assert {name: members[name].linkname for name in ("jackfield/app", "jackfield/handlers")} == {
        "jackfield/app": "../app",
        "jackfield/handlers": "../handlers",
    }


def test_the_client_needs_two_packages(built: Built) -> None:
    """`pip install jackfield` brings aiohttp and aiofiles; the extra `server` the rest, and `test` is upon that."""
    assert built.required() == {"aiohttp", "aiofiles"}
    server = built.required("server") - built.required()
    assert server == {
        "structlog",
        "http-sf",
        "pydantic",
        "typing_extensions",
        "PyYAML",
        "prometheus-client",
        "bitarray",
        "multipart",
        "tqdm",
        "uvloop",
    }
    assert "jackfield" in built.required("test")


# -- installed beside others


OTHERS = {
    "app/__init__.py": "",
    "app/main.py": "def hello(): return 1\n",
    "handlers/__init__.py": "",
    "handlers/upload.py": "LIMIT = 2\n",
    "conftest.py": "",  # its folder is where they import from
    "tests/test_theirs.py": """
        from app.main import hello
        from handlers.upload import LIMIT

        def test_it():
            assert (hello(), LIMIT) == (1, 2)
    """,
}


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Somebody's project, with folders that are named like ours."""
    for name, text in OTHERS.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(re.sub(r"^ {8}", "", text, flags=re.MULTILINE), encoding="utf-8")
    return tmp_path / "project"


@pytest.mark.parametrize("way", [["python", "-m", "pytest"], ["pytest"]], ids=" ".join)
def test_their_tests_run(client: Environment, theirs: Path, way: list[str]) -> None:
    """A project that has its own `app` and `handlers` has its own tests run beside ours, however pytest is called."""
    answer = run(client.bin / way[0], *way[1:], folder=theirs)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "1 passed" in answer.stdout
    assert "jackfield" in run(client.bin / way[0], *way[1:], "--trace-config", folder=theirs).stdout  # the plugin


def test_our_command_runs_there(client: Environment, theirs: Path) -> None:
    """`jackfield` is ours where `PYTHONPATH` leads to folders that are named like ours."""
    answer = run(client.bin / "jackfield", "--version", folder=theirs, PYTHONPATH=".")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == f"jackfield {distribution('jackfield').version}\n"


@pytest.mark.parametrize("command", ["serve", "check", "schema"])
def test_the_service_says_what_it_needs(client: Environment, tmp_path: Path, command: str) -> None:
    """Without the extra a line says what to install."""
    answer = run(client.bin / "jackfield", command, folder=tmp_path)
    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert "pip install 'jackfield[server]'" in answer.stderr


@pytest.mark.parametrize("name", ["app", "handlers", "app.cli", "handlers.upload"])
def test_our_folders_are_no_packages(name: str) -> None:
    """Who imports them by their own names, from a checkout, is told in a line what to write instead."""
    answer = run(sys.executable, "-c", f"import {name}", folder=PROJECT)
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1].endswith(f"import jackfield.{name.partition('.')[0]} instead")
