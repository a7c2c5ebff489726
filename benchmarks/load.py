"""The client: one transfer of one payload to one server, in the server's own protocol.

`open` does what comes before the first byte; `send` lasts from the first byte until the server has said that
it has everything. The kernel sends the prebuilt file; Python is asked once for every four MiB.
"""

import base64
import json
import mmap
import os
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.payload import Payload
from benchmarks.wire import CLOSE, TEXT, Link, close_frame, frame

Progress = Callable[[int], None]
"""Told how many bytes were sent since the last time."""

_CHUNK: Final = 4 * 2**20
_TLS_CHUNK: Final = 2**18


class Transfer(ABC):
    """One file on its way. `stored` is where it lies in the server's folder, once `send` has returned."""

    def __init__(self, port: int, name: str, payload: Payload) -> None:
        self.stored = name
        self.payload = payload
        self.link = self.connect(port)

    def connect(self, port: int) -> Link:
        """The connection; TCP as it is, unless overridden."""
        return Link(port)

    @abstractmethod
    def open(self) -> None:
        """Agree on what is to come."""

    @abstractmethod
    def send(self, progress: Progress) -> None:
        """Send everything, and wait for the server's last word."""

    def close(self) -> None:
        """Let go of the connection."""
        self.link.close()

    def send_file(self, path: Path, progress: Progress) -> None:
        """The whole file, by sendfile; what the server says meanwhile is read, so that it never waits for us."""
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            for _ in range(self.payload.repeat):
                place = 0
                while place < size:
                    sent = os.sendfile(self.link.socket.fileno(), file.fileno(), place, min(_CHUNK, size - place))
                    place += sent
                    progress(sent)
                    self.link.drain()


class JackfieldUpload(Transfer):
    """Jackfield: create, socket, bytes, `end` with the digest; the receipt names the file."""

    def open(self) -> None:
        """Create the upload and open its socket."""
        promise = json.dumps({"name": self.stored, "size": self.payload.size}).encode()
        head = {"Content-Type": "application/json", "Content-Length": str(len(promise))}
        self.link.request("POST", "/upload", head, promise)
        _, body = self.link.response(201)
        self.link.upgrade(json.loads(body)["url"])
        self._until("ready")

    def _until(self, kind: str) -> dict[str, str]:
        """The next message of this type; acks may come before it. Raises ConnectionError for an error."""
        while True:
            opcode, payload = self.link.receive()
            if opcode != TEXT:
                raise ConnectionError(f"the server closed: {payload!r}")
            message: dict[str, str] = json.loads(payload)
            if message["type"] == "error":
                raise ConnectionError(payload.decode())
            if message["type"] == kind:
                return message

    def send(self, progress: Progress) -> None:
        """The bytes, the end, and the receipt."""
        self.send_file(self.payload.framed, progress)
        end = {"type": "end", "sha256": self.payload.sha256}
        self.link.socket.sendall(frame(TEXT, json.dumps(end).encode()))
        self.stored = self._until("stored")["name"]


class EncryptedUpload(JackfieldUpload):
    """The same over TLS, whoever signed the certificate."""

    def connect(self, port: int) -> Link:
        """The TLS handshake."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return Link(port, context)

    def send_file(self, path: Path, progress: Progress) -> None:
        """The whole file, encrypted here: the kernel cannot do it."""
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
            memoryview(data) as view,
        ):
            for place in range(0, len(data), _TLS_CHUNK):
                with view[place : place + _TLS_CHUNK] as piece:
                    self.link.socket.sendall(piece)
                    progress(len(piece))


class PlainSocket(Transfer):
    """Any WebSocket server that writes what comes and answers our Close frame."""

    def open(self) -> None:
        """The handshake."""
        self.link.upgrade(f"/upload/{self.stored}")

    def send(self, progress: Progress) -> None:
        """The bytes and a Close frame, until it is answered."""
        self.send_file(self.payload.framed, progress)
        self.link.socket.sendall(close_frame())
        while self.link.receive()[0] != CLOSE:
            pass


class Put(Transfer):
    """HTTP PUT of the whole file."""

    folder = "/"

    def open(self) -> None:
        """Nothing comes before a PUT."""

    def send(self, progress: Progress) -> None:
        """The request, until it is answered."""
        self.link.request("PUT", self.folder + self.stored, {"Content-Length": str(self.payload.size)})
        self.send_file(self.payload.body, progress)
        self.link.response(201, 204)


class JackfieldPut(Put):
    """The same to Jackfield, whose answer is the receipt."""

    folder = "/upload/"


class Tus(Transfer):
    """tus 1.0: create, then the whole file in one PATCH. The server chooses the file's name."""

    folder = "/files"

    def open(self) -> None:
        """Create the upload."""
        name = base64.b64encode(self.stored.encode()).decode()
        self.link.request("POST", self.folder, {
            "Tus-Resumable": "1.0.0", "Upload-Length": str(self.payload.size), "Content-Length": "0",
            "Upload-Metadata": f"filename {name}",
        })  # fmt: skip
        headers, _ = self.link.response(201)
        self.place = headers["location"].rpartition("/")[2]
        self.stored = self.named(self.stored)

    def named(self, _: str) -> str:
        """Under which name the file is stored that was given this one."""
        return self.place

    def send(self, progress: Progress) -> None:
        """The PATCH, until it is answered."""
        self.link.request("PATCH", f"{self.folder}/{self.place}", {
            "Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Length": str(self.payload.size),
            "Content-Type": "application/offset+octet-stream",
        })  # fmt: skip
        self.send_file(self.payload.body, progress)
        self.link.response(204)


class JackfieldTus(Tus):
    """The same to Jackfield, whose answer is the receipt; the file has the name that it was given."""

    folder = "/upload"

    def named(self, name: str) -> str:
        """That of the metadata."""
        return name
