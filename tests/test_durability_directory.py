"""Directories that are gone, read-only or not one file system: said in one line at the start, or for each request."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.support.faults import mounted
from tests.support.outsider import Outsider
from tests.support.service import COMMAND, PATIENCE, configuration, running_service


async def test_a_directory_that_is_gone_is_said_and_ends_nothing_else(tmp_path: Path) -> None:
    """Removed while the service runs: 500 and 503 say so, pings go on, and what can be said of a token is said."""
    with running_service(tmp_path, pingpong={"rounds": 0}) as service:
        async with Outsider(service) as outsider:
            url = await outsider.create()
            opened = await outsider.open(url)
            await opened.binary(b"half")
            await opened.durable(4)
            talking = await outsider.connect("/pingpong")
            shutil.rmtree(service.directory())
            for answer in (await outsider.post_json({"name": "a"}), await outsider.post_plain(b"a")):
                assert (answer.status, answer.problem()) == (500, "storage_failed")
            assert (await outsider.get("/readyz")).status == 503
            assert (await outsider.get("/healthz")).status == 200
            await opened.binary(b"more")
            assert (await opened.message("error"))["code"] == "storage_failed"
            assert (await opened.closed()).code == 1011
            assert await talking.next() == "ping"


def test_a_directory_that_is_read_only_is_one_clear_line(tmp_path: Path) -> None:
    """A read-only file system is named at the start, and nothing was listening."""
    directory = tmp_path / "upload"
    directory.mkdir()
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"'
    _starts_not(tmp_path, mounted(script, directory), "Read-only file system")


@pytest.mark.parametrize("mount", ['mount -t tmpfs tmpfs "$0/.incoming"', 'mount --bind "$0/.incoming" "$0/.incoming"'])
def test_staging_on_another_file_system_is_refused(tmp_path: Path, mount: str) -> None:
    """Staging that is a mount of its own, be it of the same disk, is one clear line at the start."""
    directory = tmp_path / "upload"
    (directory / ".incoming").mkdir(parents=True)
    _starts_not(tmp_path, mounted(mount, directory), str(directory))


@pytest.mark.parametrize("planted", ["file", "link"])
def test_staging_that_is_no_folder_is_refused(tmp_path: Path, planted: str) -> None:
    """A file or a symbolic link in the place of staging is never followed, and named."""
    (tmp_path / "upload").mkdir()
    (tmp_path / "elsewhere").mkdir()
    staging = tmp_path / "upload" / ".incoming"
    staging.touch() if planted == "file" else staging.symlink_to(tmp_path / "elsewhere")
    _starts_not(tmp_path, [], ".incoming is not a folder")
    assert os.listdir(tmp_path / "elsewhere") == []


def _starts_not(folder: Path, prefix: Sequence[str], reason: str) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration()), encoding="utf-8")
    done = subprocess.run(
        [*prefix, str(COMMAND), "serve", "--config", str(folder / "config.yaml")],
        capture_output=True, text=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert reason in done.stderr
    assert "listening" not in done.stderr
