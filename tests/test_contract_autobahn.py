"""Conformance to RFC 6455 and RFC 7692 by the cases of the Autobahn test suite, each passed strictly."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from jackfield.testing import JackfieldServer
from tests.support.handlers import Echo

KOSOKU = Path(sys.executable).with_name("kosoku")
COMPRESSION = ("12.*", "13.*")
SLOW = ("5.19", "5.20", "6.4.*", "9.*")
"""They wait between the parts of a message, or send many MiB."""
STRICT = {"OK", "INFORMATIONAL"}  # not NON-STRICT, with which kosoku is content


class Deflated(Echo):
    """Echo, compressed."""

    compress = True


async def run_cases(
    start: JackfieldServer, folder: Path, use: type[Echo], cases: Sequence[str], without: Sequence[str] = ()
) -> int:
    """How many there are; each must pass, and its closing handshake too."""
    service = await start({"echo": {"use": f"{use.__module__}:{use.__name__}", "path": "/echo"}})
    words = [word for case in cases for word in ("-i", case)] + [word for case in without for word in ("-x", case)]
    process = await asyncio.create_subprocess_exec(
        KOSOKU, *words, "-p", "2", "-o", folder / "report", f"ws://127.0.0.1:{service.port}/echo",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()
    (found,) = json.loads((folder / "report" / "index.json").read_bytes()).values()
    verdicts = {case: {each["behavior"], each["behaviorClose"]} for case, each in found.items()}
    assert {case: said for case, said in verdicts.items() if not said <= STRICT} == {}
    return len(found)


async def test_the_quick_cases_are_passed(jackfield_server: JackfieldServer, tmp_path: Path) -> None:
    """Framing, control frames, fragments, UTF-8, and closing."""
    assert await run_cases(jackfield_server, tmp_path, Echo, ["*"], [*COMPRESSION, *SLOW]) == 241


async def test_some_cases_of_compression_are_passed(jackfield_server: JackfieldServer, tmp_path: Path) -> None:
    """A thousand small messages, with each set of parameters that the suite offers."""
    cases = ["12.1.1", *(f"13.{kind}.1" for kind in range(1, 8))]
    assert await run_cases(jackfield_server, tmp_path, Deflated, cases) == len(cases)


@pytest.mark.torture
@pytest.mark.parametrize("use", [Echo, Deflated])
async def test_all_cases_are_passed(jackfield_server: JackfieldServer, tmp_path: Path, use: type[Echo]) -> None:
    """Of those without compression all 301, with a handler that would compress too."""
    assert await run_cases(jackfield_server, tmp_path, use, ["*"], COMPRESSION) == 301


@pytest.mark.torture
async def test_all_cases_of_compression_are_passed(jackfield_server: JackfieldServer, tmp_path: Path) -> None:
    """All 216."""
    assert await run_cases(jackfield_server, tmp_path, Deflated, COMPRESSION) == 216
