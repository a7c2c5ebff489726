"""The command `jackfield new NAME`: a handler, its section in the configuration, and a test, all of which work."""

import argparse
import importlib.util
import keyword
import re
import sys
from pathlib import Path
from string import Template
from typing import Any, Final

from jackfield.app.errors import CannotStart

_NAME: Final = r"[a-z][a-z0-9]*(_[a-z0-9]+)*"  # as the configuration wants it

_HANDLER: Final = Template('''\
from jackfield import Connection, Handler, HandlerOptions


class Options(HandlerOptions):  # its section of the configuration
    greeting: str = "hello"


class $cls(Handler[Options]):
    """Greets, and says everything back."""

    async def serve(self, connection: Connection) -> None:
        await connection.send(self.options.greeting)
        async for message in connection:  # str where it was text, bytes where it was binary
            await connection.send(message)
''')

_TEST: Final = Template("""\
import pytest

from jackfield.testing import JackfieldServer


@pytest.mark.asyncio
async def test_it_greets_and_says_everything_back(jackfield_server: JackfieldServer) -> None:
    service = await jackfield_server({"$name": {"use": "$name:$cls", "path": "/$name", "greeting": "welcome"}})
    async with service.ws_connect("/$name") as socket:
        assert await socket.receive_str(timeout=10) == "welcome"
        await socket.send_str("are you there?")
        assert await socket.receive_str(timeout=10) == "are you there?"
    await service.ended()
""")

_SECTION: Final = Template("$name:\n  use: $name:$cls\n  path: /$name\n")


def add_to(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `new` to the command `jackfield`."""
    text = "write a handler of your own, its section in the configuration, and a test"
    parser = commands.add_parser("new", help=text, description=text)
    parser.add_argument("name", metavar="NAME", help="small letters, digits and single '_', as in chat")
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), metavar="FILE")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Exit 0, or 1 where the name cannot be, or something is there already; nothing is overwritten."""
    config: Path = arguments.config
    try:
        files = _files(arguments.name, config)
        for path, text in files.items():
            with path.open("w" if path == config else "x", encoding="utf-8") as file:
                file.write(text)
    except (CannotStart, UnicodeDecodeError) as error:
        print(f"jackfield new: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"jackfield new: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    handler, test, _ = files
    print(
        f"{handler}, {test} and a section in {config} are written. Next:\n  python -m pytest {test}\n"
        f"  jackfield serve --reload --config {config}"
    )
    return 0


def _files(name: str, config: Path) -> dict[Path, str]:
    """All that is written, the configuration at last. Raises CannotStart, which says why there can be none."""
    if not re.fullmatch(_NAME, name) or keyword.iskeyword(name):
        raise CannotStart(f"{name}: a handler's name is of small letters, digits and single '_', as in chat")
    if name == "app":
        raise CannotStart(f"{name} is the service's own name")
    handler, test = config.with_name(f"{name}.py"), config.with_name(f"test_{name}.py")
    for path in (handler, test):
        if path.exists():
            raise CannotStart(f"{path} is there already")
    if importlib.util.find_spec(name) is not None:
        raise CannotStart(f"there is a module {name} already, which would be found before {handler}")
    words = {"name": name, "cls": "".join(part.title() for part in name.split("_"))}
    text = config.read_text(encoding="utf-8") if config.exists() else ""
    return {
        handler: _HANDLER.substitute(words),
        test: _TEST.substitute(words),
        config: _with_section(text, name, _SECTION.substitute(words), config),
    }


def _with_section(text: str, name: str, section: str, config: Path) -> str:
    """The configuration with one more handler; all that stood in it stays as it is. Raises CannotStart."""
    try:
        from jackfield.app.config import yamlfile  # here: other commands start without it
    except ModuleNotFoundError as error:
        raise CannotStart(f"{error}: pip install 'jackfield[server]'") from error
    tree, _, problems = yamlfile.read(text, str(config))
    handlers = (tree or {}).get("handlers") if isinstance(tree, dict | None) else None
    if problems or not isinstance(tree, dict | None) or not isinstance(handlers, dict | None):
        raise CannotStart(f"{config} is no configuration: see `jackfield check`")
    if name in (handlers or {}):
        raise CannotStart(f"{config} has a handler {name} already")
    before, indent, after = _split(text)
    new = before + "".join(f"{indent}{line}\n" for line in section.splitlines()) + after
    (added,) = yamlfile.read(section, "")[0].values()
    if yamlfile.read(new, "")[0] != {**(tree or {}), "handlers": {**(handlers or {}), name: added}}:
        shown = "".join(f"  {line}\n" for line in section.splitlines())
        raise CannotStart(f"{config} is written in a way that is not known here. Add this to it:\nhandlers:\n{shown}")
    return new


def _split(text: str) -> tuple[str, str, str]:
    """What stands before and after the new section, and its indent."""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    begin = next((number for number, line in enumerate(lines) if re.match(r"handlers:\s*(#.*)?$", line)), None)
    if begin is None:
        return "".join([*lines, "handlers:\n"]), "  ", ""
    indent, end = "  ", begin + 1
    for number, line in enumerate(lines[begin + 1 :], begin + 1):
        if re.match(r"[^\s#]", line):
            break
        if found := re.match(r"( +)[^\s#]", line):
            indent = found[1] if end == begin + 1 else min(indent, found[1])
            end = number + 1
    return "".join(lines[:end]), indent, "".join(lines[end:])
