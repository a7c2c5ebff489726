"""The seam is typed: a type checker that is strict finds the mistakes that a handler's author makes."""

import shutil
from pathlib import Path

from tests.support.documents import PROJECT, blocks
from tests.support.typing import checked

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


def test_the_examples_are_typed(tmp_path: Path) -> None:
    """Those of docs/examples and of docs/handlers.md pass, strictly, with their tests."""
    shutil.copytree(PROJECT / "docs/examples", tmp_path, dirs_exist_ok=True)
    for block in blocks("docs/handlers.md", "python"):
        first, _, text = block.text.partition("\n")
        (tmp_path / first.removeprefix("# ")).write_text(text, encoding="utf-8")
    files = sorted(tmp_path.rglob("*.py"))
    assert len(files) > 15
    assert "Success" in (said := checked(*files[::-1])), said
