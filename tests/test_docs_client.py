"""The programs of docs/client.md, run against a real service; its tables, compared with the code."""

import hashlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import jackfield
from jackfield.handlers.upload import client
from jackfield.handlers.upload.client import failures
from jackfield.handlers.upload.client.failures import UploadError
from tests.support.documents import blocks, code_words, prose, section, tables
from tests.support.outsider import content
from tests.support.service import PATIENCE, Service, running_service
from tests.support.service import jackfield as command

PAGE = "docs/client.md"
URL = "http://127.0.0.1:8080"
DATA = content(3 * 2**20)
DIGEST = hashlib.sha256(DATA).hexdigest()
PROGRAMS = {block.text.partition("\n")[0].removeprefix("# "): block.text for block in blocks(PAGE, "python")}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for all of them."""
    with running_service(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a program runs, with the files that it sends."""
    (tmp_path / "data.bin").write_bytes(DATA)
    for name in ("a.jpg", "trip/b.jpg", "trip/c.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


@pytest.fixture
def run(folder: Path, service: Service) -> Callable[..., str]:
    """Runs a program of the page in that folder, against that service or another one; what it printed."""

    def run(name: str, url: str = service.url, **environment: str) -> str:
        answer = subprocess.run(
            [sys.executable, "-c", PROGRAMS[name].replace(URL, url)], cwd=folder, env={**os.environ, **environment},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE * 3, check=False,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    return run


Run = Callable[..., str]


def test_every_program_is_tested() -> None:
    """There is a test for each, below."""
    source = Path(__file__).read_text(encoding="utf-8")
    assert set(re.findall(r'run\("(\w+\.py)"', source)) == PROGRAMS.keys()


def test_one_file(run: Run, service: Service) -> None:
    """It is stored, and the receipt says its final name, its size and its digest."""
    name, size, digest = run("one.py").split()
    assert (int(size), digest) == (len(DATA), DIGEST)
    assert (service.directory() / name).read_bytes() == DATA


def test_exactly_once(run: Run, service: Service) -> None:
    """Run again it says that the file was stored before, and there is no second one."""
    *progress, stored = run("again.py").splitlines()
    assert stored == f"stored {DIGEST}"
    assert progress[0].split()[:3] == ["0", "0", str(len(DATA))]
    files = sorted(service.directory().iterdir())
    assert run("again.py").splitlines()[-1] == f"stored before {DIGEST}"
    assert sorted(service.directory().iterdir()) == files


def test_a_stream(run: Run, service: Service) -> None:
    """What an iterator gives is stored."""
    run("stream.py")
    lines = (service.directory() / "logs/lines.txt").read_text(encoding="utf-8").splitlines()
    assert lines == [f"line {number}" for number in range(1000)]


def test_many(run: Run, service: Service) -> None:
    """All files of a folder are stored, and named."""
    said = run("many.py").splitlines()
    assert sorted(said) == ["stored photos/a.jpg", "stored photos/trip/b.jpg", "stored photos/trip/c.jpg"]
    assert (service.directory() / "photos/trip/c.jpg").read_bytes() == b"trip/c.jpg"


def test_without_asyncio(run: Run, service: Service) -> None:
    """One call, and the file is there."""
    assert run("plain.py").strip() == DIGEST
    assert (service.directory() / "copies/data.bin").read_bytes() == DATA


def test_cancelling(run: Run, service: Service) -> None:
    """Nothing is stored, and nothing is left open."""
    files = sorted(service.directory().rglob("*"))
    assert run("stop.py") == ""
    service.wait_for("upload.failed", failure="cancelled")
    assert [path for path in sorted(service.directory().rglob("*")) if path.suffix != ".part"] == files


def test_credentials(run: Run, tmp_path: Path) -> None:
    """Headers of the session are enough where the service wants a token."""
    tokens = tmp_path / "tokens.yaml"
    made = command("token", "new", "alice", "--file", tokens, folder=tmp_path)
    with running_service(tmp_path, server={"auth": {"tokens": str(tokens)}}) as guarded:
        assert run("credentials.py", guarded.url, JACKFIELD_TOKEN=made.stdout.strip()).strip() == DIGEST


def test_errors(run: Run) -> None:
    """The name is refused, by the code that the page says."""
    assert run("errors.py").strip() == "invalid_name"


# -- the tables


def test_every_public_name_is_there() -> None:
    """The page names all that `jackfield` has for clients, and has a section or a row for each error."""
    assert set(client.__all__) <= set(jackfield.__all__)
    named = set(re.findall(r"\w+", prose(PAGE) + "".join(PROGRAMS.values())))
    assert set(client.__all__) - named == set()


def _options(function: Callable[..., Any]) -> dict[str, Any]:
    kept = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in kept if one.kind is inspect.Parameter.KEYWORD_ONLY}


def test_the_table_of_options() -> None:
    """It has the options of each function, and numbers as the code has them."""
    (rows,) = tables(section(PAGE, "Options"))
    functions = {"upload", "upload_stream", "upload_many", "cancel"}
    documented: dict[str, set[str]] = {name: set() for name in functions}
    for option, of, default, _ in rows:
        (name,) = code_words(option)
        takers = functions - set(code_words(of)) if of.startswith("all but") else set(code_words(of))
        for taker in takers:
            documented[taker].add(name)
            value = _options(getattr(jackfield, taker))[name]
            if isinstance(value, float | bool):
                assert default == str(value)
    assert documented == {name: set(_options(getattr(jackfield, name))) for name in functions}


def test_the_table_of_errors() -> None:
    """It has each error, and says truly whether a later call can go on."""
    (rows,) = tables(section(PAGE, "Errors"))
    classes = {one for one in vars(failures).values() if isinstance(one, type) and issubclass(one, UploadError)}
    assert {code_words(row[0])[0] for row in rows} == {one.__name__ for one in classes - {UploadError}}
    for name, codes, resumable, _ in rows:
        error = getattr(client, code_words(name)[0])
        for code in code_words(codes):
            expected = code in code_words(resumable) if code_words(resumable) else resumable == "yes"
            assert error(code, "").resumable is expected, code


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "unauthorized"), (403, "forbidden"), (400, "invalid_name"), (409, "name_taken"), (403, "not_permitted"),
     (409, "token_conflict"), (507, "no_space"), (413, "too_large"), (422, "digest_mismatch")],
)  # fmt: skip
def test_the_services_words_become_these_errors(status: int, code: str) -> None:
    """An answer with a word of the table is the error in its row."""
    (rows,) = tables(section(PAGE, "Errors"))
    (name,) = [code_words(row[0])[0] for row in rows if code in code_words(row[1])]
    assert type(failures.from_answer(status, code, "")).__name__ == name
