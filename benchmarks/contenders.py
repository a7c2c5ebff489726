"""Who is measured: how each server is started, how a client speaks to it, and what it does for a file."""

import contextlib
import getpass
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.install import INSTALLED, PYTHON, SCRIPTS
from benchmarks.load import (
    EncryptedUpload,
    JackfieldPut,
    JackfieldTus,
    JackfieldUpload,
    PlainSocket,
    Put,
    Transfer,
    Tus,
)
from benchmarks.payload import Payload
from benchmarks.processes import Server, free_port, running

COMMAND: Final = Path(sys.executable).with_name("jackfield")
EXAMPLE: Final = Path(__file__).parent.parent / "docs/examples/echo/echo.py"
NOTHING: Final = "neither verifies nor syncs"

Command = Callable[[Path, int], Sequence[str | Path]]


@dataclass(frozen=True)
class Contender:
    """A server. `needs` is what has to be installed for it; `command` gets the files' folder and a port."""

    name: str
    transfer: Callable[[int, str, Payload], Transfer]
    command: Command
    needs: str = ""
    does: str = NOTHING

    @contextlib.contextmanager
    def serving(self, folder: Path) -> Iterator[Server]:
        """A fresh process, whose files go to `folder`/files."""
        port = free_port()
        files = folder / "files"
        files.mkdir(parents=True, exist_ok=True)
        with running(self.command(files, port), port, folder) as server:
            yield server


def jackfield(name: str = "Jackfield", *, tls: tuple[Path, Path] | None = None, **pingpong: Any) -> Contender:
    """Jackfield as `jackfield serve` runs it, all settings at their defaults but for the port and the folder.

    One client makes all the load, so there are no limits for one caller.
    `tls` are the paths of certificate and key; `pingpong` are options of that handler.
    """

    def command(files: Path, port: int) -> Sequence[str | Path]:
        config = files.parent / "config.yaml"
        server: dict[str, Any] = {"port": port, "limits": {"connections": None, "requests": None}}
        if tls is not None:
            server["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
        shutil.copy(EXAMPLE, files.parent)
        handlers = {
            "pingpong": {"use": "pingpong", "path": "/pingpong", **pingpong},
            "upload": {"use": "upload", "path": "/upload", "directory": str(files)},
            "echo": {"use": "echo:Echo", "path": "/echo"},
        }
        config.write_text(yaml.safe_dump({"server": server, "handlers": handlers}), encoding="utf-8")
        return [COMMAND, "serve", "--config", config]

    return Contender(
        name, JackfieldUpload if tls is None else EncryptedUpload, command, does="verifies, syncs and publishes"
    )


def _script(name: str, python: str | Path = PYTHON, *arguments: str) -> Command:
    return lambda files, port: [python, SCRIPTS / name, files, str(port), *arguments]


def _node(name: str) -> Command:
    return lambda files, port: ["node", INSTALLED / name, files, str(port)]


def _nginx(files: Path, port: int) -> Sequence[str | Path]:
    text = (SCRIPTS / "nginx.conf").read_text(encoding="ascii")
    for word, value in (("@FOLDER@", str(files)), ("@PORT@", str(port)), ("@USER@", getpass.getuser())):
        text = text.replace(word, value)
    config = files.parent / "nginx.conf"
    config.write_text(text, encoding="utf-8")
    return ["nginx", "-p", files.parent, "-c", config, "-e", "error.log"]


JACKFIELD_PUT: Final = replace(jackfield(), transfer=JackfieldPut)
JACKFIELD_TUS: Final = replace(jackfield(), transfer=JackfieldTus)
NAIVE: Final = Contender("naive aiohttp", PlainSocket, _script("naive.py", sys.executable))
ECHO: Final = Contender("bare aiohttp echo", PlainSocket, _script("naive.py", sys.executable, "uvloop"))
WEBSOCKETS: Final = Contender("websockets", PlainSocket, _script("websockets_server.py"), "websockets")
PICOWS: Final = Contender("picows", PlainSocket, _script("picows_server.py"), "picows")
WS: Final = Contender("ws", PlainSocket, _node("ws.mjs"), "ws")
TUS_NODE: Final = Contender("@tus/server", Tus, _node("tus.mjs"), "@tus/server")
TUS_PYTHON: Final = Contender("tuspyserver", Tus, _script("tuspyserver_server.py"), "tuspyserver")
NGINX: Final = Contender("nginx PUT", Put, _nginx, "nginx")
FLOOR: Final = Contender(
    "lower bound", PlainSocket, _script("floor.py", sys.executable), does="receives, unmasks, hashes, writes, syncs"
)
PEERS: Final = (NAIVE, TUS_NODE, TUS_PYTHON, PICOWS, WEBSOCKETS, WS, NGINX)
