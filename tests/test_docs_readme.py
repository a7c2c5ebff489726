"""What the documentation tells people to type does what it says, against a real service."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.browser import CHROMIUM, chromium, page_of
from tests.support.documents import PROJECT, Block, blocks
from tests.support.service import PATIENCE, Service, jackfield

URL = "http://127.0.0.1:8080"
SHELL = [block for page in ("README.md", "CONTRIBUTING.md", "docs/protocol.md") for block in blocks(page, "sh")]
PROGRAMS = [block for block in blocks("README.md", "python") if not block.note]
FILES = [block for language in ("python", "yaml") for block in blocks("README.md", language) if block.note]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A copy of the project as `make run` leaves it, and its service, with the project's own config.yaml."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(PROJECT / "README.md", folder)
    shutil.copytree(PROJECT / "docs", folder / "docs")
    (folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
    settings = yaml.safe_load((PROJECT / "config.yaml").read_text(encoding="utf-8"))
    settings["logging"]["format"] = "json"
    settings["handlers"]["upload"]["min_free"] = 0  # whatever the disk of this machine has
    service = Service(folder, settings)
    try:
        yield service.start()
        assert service.stop() == 0
        service.assert_clean()
    finally:
        if service.running:
            service.kill()


def _run(command: list[str], project: Service, **environment: str) -> str:
    """Run a command in the copy of the project; what it printed."""
    answer = subprocess.run(
        command, cwd=project.folder, env={**os.environ, "XDG_STATE_HOME": str(project.folder / "state"), **environment},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE * 3, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_shell_commands_run(block: Block, project: Service) -> None:
    """Every command of the README, of CONTRIBUTING and of the protocol ends with 0; targets of make are there."""
    text = block.text.replace(URL, project.url)
    for tool in ("curl", "make"):
        if re.search(rf"\b{tool} ", text) and not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    if "jackfield serve" in text:
        _serve(text, project)
        return
    text = re.sub(r"^make ", f"make --dry-run --directory {PROJECT} ", text, flags=re.MULTILINE)
    _run(["bash", "-euo", "pipefail", "-c", text], project)


def _serve(text: str, project: Service) -> None:
    """A command that serves: started, seen listening, and ended."""
    process = subprocess.Popen(
        text.split(),
        cwd=project.folder,
        env={**os.environ, "JACKFIELD_SERVER__PORT": "0"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert "listening" in process.stderr.readline()
        process.terminate()
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    finally:
        process.kill()


def test_the_receipt_is_the_digest_of_the_stored_file(project: Service) -> None:
    """As the README says: the first upload prints the digest that `sha256sum` of the stored file prints."""
    block = next(block for block in SHELL if "sha256sum" in block.text)
    text = block.text.replace(URL, project.url)
    for old in project.directory().glob("README*"):
        old.unlink()
    shutil.rmtree(project.folder / "state", ignore_errors=True)  # the first upload, which knows of no other
    receipt, stored = _run(["bash", "-euo", "pipefail", "-c", text], project).splitlines()
    assert receipt.split()[0] == stored.split()[0]


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_python_programs_upload(block: Block, project: Service) -> None:
    """Each program of the README stores README.md, whole, and prints the digest that it has."""
    digest = hashlib.sha256((PROJECT / "README.md").read_bytes()).hexdigest()
    before = set(project.directory().iterdir())
    printed = _run([sys.executable, "-c", block.text.replace(URL, project.url)], project)
    (new,) = set(project.directory().iterdir()) - before
    assert hashlib.sha256(new.read_bytes()).hexdigest() == digest
    assert digest in printed
    assert new.name in printed


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_plain_way_works_in_a_browser(project: Service) -> None:
    """The plain upload's JavaScript stores its file, run as it stands on a page of the service."""
    (block,) = blocks("README.md", "js")
    with chromium() as browser, page_of(browser) as page:
        page.goto(project.url)
        page.evaluate(f"async () => {{{block.text}}}")
        project.wait_for("upload.stored", name="plain.txt")
    stored = project.directory() / "plain.txt"
    assert stored.read_text(encoding="utf-8") == "all of the file"


@pytest.mark.parametrize("block", FILES, ids=str)
def test_files_that_are_shown_are_those_files(block: Block) -> None:
    """What the README shows as a file is that file, which other tests run."""
    path = block.note.removeprefix("the file ")
    assert block.text == (PROJECT / path).read_text(encoding="utf-8")


def test_nobody_else_is_named_like_our_variables(project: Service) -> None:
    """What Kubernetes puts beside a Service named jackfield changes nothing."""
    answer = jackfield("check", folder=project.folder, environment={"JACKFIELD_PORT": "tcp://10.0.0.1:8080"})
    assert (answer.returncode, answer.stderr) == (0, "")
