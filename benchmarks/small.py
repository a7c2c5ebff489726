"""Many small files: how each kind of client sends them, and what the machine's disk could do at best."""

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

import numpy

from benchmarks.processes import Server
from benchmarks.wire import BINARY, CLOSE, TEXT, Link, close_frame, frame

SIZE: Final = 4096  # bytes of each file
AT_ONCE: Final = 8  # requests in flight, and threads of the floor

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A file to send."""

    name: str
    content: bytes
    sha256: str


def small_files(count: int) -> list[SmallFile]:
    """So many, all different."""
    random = numpy.random.default_rng(4096)
    contents = [random.bytes(SIZE) for _ in range(count)]
    return [
        SmallFile(f"{number:06}.bin", content, hashlib.sha256(content).hexdigest())
        for number, content in enumerate(contents)
    ]


class Client(Protocol):
    """Connected, and ready to send."""

    def run(self) -> dict[str, str]:
        """Send all files, until the last answer: under which name each digest is stored."""


class Conversation:
    """All files over one Jackfield socket, prebuilt as they go over the wire; answers are read beside it."""

    def __init__(self, port: int, files: Sequence[SmallFile]) -> None:
        self._files = files
        self._wire = b"".join(map(_conversation, files))
        self._link = Link(port)
        self._link.upgrade("/upload")

    def run(self) -> dict[str, str]:
        """Until the last receipt: under which name each digest is stored."""
        sender = threading.Thread(target=self._link.socket.sendall, args=[self._wire])
        sender.start()
        stored: dict[str, str] = {}
        while len(stored) < len(self._files):
            opcode, payload = self._link.receive()
            if opcode == CLOSE:
                raise ConnectionError(f"the server closed: {payload!r}")
            message = json.loads(payload)
            if message["type"] == "error":
                raise ConnectionError(payload.decode())
            if message["type"] == "stored":
                stored[message["sha256"]] = message["name"]
        sender.join()
        self._link.socket.sendall(close_frame())
        self._link.close()
        return stored


def _conversation(file: SmallFile) -> bytes:
    create = {"type": "create", "name": file.name, "size": SIZE}
    end = {"type": "end", "sha256": file.sha256}
    return b"".join([
        frame(TEXT, json.dumps(create).encode()), frame(BINARY, file.content), frame(TEXT, json.dumps(end).encode()),
    ])  # fmt: skip


class Requests:
    """One HTTP request a file, so many in flight as there are connections. `ask` returns where it is stored."""

    def __init__(self, port: int, files: Sequence[SmallFile], ask: Callable[[Link, SmallFile], str]) -> None:
        self._files = iter(files)
        self._ask = ask
        self._links = [Link(port) for _ in range(AT_ONCE)]
        self._stored: dict[str, str] = {}
        self._errors: list[Exception] = []

    def run(self) -> dict[str, str]:
        """Until the last answer: under which name each digest is stored."""
        _in_threads(self._work, self._links)
        if self._errors:
            raise self._errors[0]
        for link in self._links:
            link.close()
        return self._stored

    def _work(self, link: Link) -> None:
        try:
            for file in self._files:  # a list's iterator may be shared by threads
                self._stored[file.sha256] = self._ask(link, file)
        except Exception as error:
            self._errors.append(error)


def ask_tus(link: Link, file: SmallFile) -> str:
    """tus' creation-with-upload: one request, where the core protocol needs two."""
    link.request("POST", "/files", {
        "Tus-Resumable": "1.0.0", "Upload-Length": str(SIZE), "Content-Length": str(SIZE),
        "Content-Type": "application/offset+octet-stream",
    }, file.content)  # fmt: skip
    headers, _ = link.response(201)
    return headers["location"].rpartition("/")[2]


def ask_put(link: Link, file: SmallFile) -> str:
    """One PUT."""
    link.request("PUT", f"/{file.name}", {"Content-Length": str(SIZE)}, file.content)
    link.response(201, 204)
    return file.name


def send(server: Server, files: Sequence[SmallFile], client: Client) -> tuple[float, float]:
    """Seconds, and CPU seconds of the server, for all files; every stored digest is looked at afterwards."""
    before = server.usage()
    begun = time.perf_counter()
    stored = client.run()
    seconds = time.perf_counter() - begun
    cpu = (server.usage() - before).total
    for file in files:
        content = (server.folder / "files" / stored[file.sha256]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file.sha256, f"{file.name} is stored wrong"
    return seconds, cpu


def floor(folder: Path, files: Sequence[SmallFile]) -> float:
    """Seconds that the disk itself needs: create, write, fsync, link, fsync of the folder, in eight threads."""
    staging = folder / "staging"
    staging.mkdir(parents=True)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    waiting = iter(files)

    def work(_: int) -> None:
        for file in waiting:
            fd = os.open(staging / file.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.write(fd, file.content)
            os.fsync(fd)
            os.close(fd)
            os.link(staging / file.name, folder / file.name)
            os.fsync(directory)

    begun = time.perf_counter()
    _in_threads(work, range(AT_ONCE))
    seconds = time.perf_counter() - begun
    os.close(directory)
    return seconds


def _in_threads(function: Callable[[T], None], arguments: Iterable[T]) -> None:
    """Call the function with each of the arguments, all at once, until the last is done."""
    threads = [threading.Thread(target=function, args=[argument]) for argument in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
