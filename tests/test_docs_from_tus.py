"""What docs/from-tus.md tells those who come from another tus server to write works as it stands."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jackfield.app.config.settings import ServerSettings
from jackfield.handlers.upload.settings import UploadOptions
from tests.support.clients import NODE, NPM, PATIENCE, WHY_NOT
from tests.support.documents import Block, blocks, code_words, section, tables
from tests.support.service import Service, running_service

PAGE = "docs/from-tus.md"
URL = "http://127.0.0.1:8080"
DATA = b"a report\n" * 100_000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all programs of the page."""
    with running_service(tmp_path_factory.mktemp("tus"), upload={"on_conflict": "replace"}) as running:
        yield running


def _run(command: list[str], program: str, service: Service, folder: Path) -> None:
    done = subprocess.run(
        [*command, program.replace(URL, service.url).replace("report.pdf", str(folder / "report.pdf"), 1)],
        cwd=NPM, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{service.url}/upload/")
    assert (service.directory() / "report.pdf").read_bytes() == DATA


@pytest.fixture
def folder(tmp_path: Path, service: Service) -> Path:
    """A report, and nothing on the service."""
    (tmp_path / "report.pdf").write_bytes(DATA)
    (service.directory() / "report.pdf").unlink(missing_ok=True)
    return tmp_path


@pytest.mark.parametrize("block", blocks(PAGE, "python"), ids=str)
def test_the_python_clients(block: Block, service: Service, folder: Path) -> None:
    """tuspy and aiotus store the file, and print its URL."""
    _run([sys.executable, "-c"], block.text, service, folder)


@pytest.mark.skipif(NODE is None, reason=WHY_NOT)
def test_tus_js_client(service: Service, folder: Path) -> None:
    """So does tus-js-client in Node."""
    (block,) = (block for block in blocks(PAGE, "js") if "tus-js-client" in block.text)
    _run([str(NODE), "--input-type=module", "-e"], block.text, service, folder)


def test_the_settings_are_ours() -> None:
    """Each on the right side of the table is one of the service's, of the upload handler's, or of any handler's."""
    (rows,) = tables(section(PAGE, "Settings"))
    known = {*ServerSettings.model_fields, *UploadOptions.model_fields, "path"}
    named = {word.removeprefix("server.").partition(":")[0] for _, ours in rows for word in code_words(ours)}
    assert {word for word in named if word.isidentifier()} <= known
    assert len(named & known) > 6
