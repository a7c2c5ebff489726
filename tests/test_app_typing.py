"""The seam is typed: a type checker that is strict finds the mistakes that a handler's author makes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import PROJECT, blocks

HEAD = """
from aiohttp import web

from jackfield import Connection, Handler, HandlerOptions


class Options(HandlerOptions):
    prefix: str = ""


class Echo(Handler[Options]):
    async def admit(self, request: web.Request) -> int:
        return 1

    async def serve(self, connection: Connection[int]) -> None:
        async for message in connection:
            await connection.send(message)
"""

MISTAKES = {
    "an option": 'self.options.prefx + "x"',
    "what admit returned": "connection.admitted.upper()",
    "a message as text": "message.encode()",
    "bytes and text": 'self.options.prefix + message',
    "the dispatcher's own": "await connection.finish()",
}  # fmt: skip


def checked(file: Path) -> str:
    """What mypy says of it."""
    answer = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", PROJECT / ".mypy_cache", file],
        cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return answer.stdout + answer.stderr


def test_a_handlers_mistakes_are_found(tmp_path: Path) -> None:
    """A typo in an option, a wrong use of `admitted` or of a message, and what is none of its business: each is an
    error; the handler without them is right."""
    file = tmp_path / "handler.py"
    file.write_text(HEAD + "".join(f"            {line}\n" for line in MISTAKES.values()), encoding="utf-8")
    said = checked(file)
    first = HEAD.count("\n") + 1
    for number, line in enumerate(MISTAKES.values(), first):
        assert f"handler.py:{number}: error" in said, (line, said)
    assert f"Found {len(MISTAKES)} errors" in said


@pytest.mark.parametrize("name", ["guess.py", "errors_of_mine.py", "ticker.py", "rooms.py", "digest.py"])
def test_the_examples_are_typed(tmp_path: Path, name: str) -> None:
    """Those of docs/handlers.md pass, strictly."""
    (text,) = (block.text for block in blocks("docs/handlers.md", "python") if block.text.startswith(f"# {name}"))
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert "Success" in checked(tmp_path / name)
