"""What is sent: random bytes, prebuilt as the wire wants them, in files that lie in memory.

A client that masks while it sends would be the bottleneck. Here each frame lies ready under its own random
key, so that sending is `sendfile` and nothing else.
"""

import hashlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy

from benchmarks.wire import BINARY, CONTINUATION, header, masked

KIB: Final = 2**10
MIB: Final = 2**20
GIB: Final = 2**30

_SEED: Final = 6455
_BLOCK: Final = 16 * MIB


@dataclass(frozen=True, slots=True)
class Framing:
    """How the bytes are cut: into frames of `length` bytes, each a message, or all fragments of one."""

    name: str
    length: int
    fragments: bool = False

    def frames(self, size: int) -> Iterator[tuple[int, bool, int, int]]:
        """Opcode, whether it is a message's last, and from where to where, for each frame."""
        for start in range(0, size, self.length):
            stop = min(start + self.length, size)
            first, last = start == 0 or not self.fragments, stop == size or not self.fragments
            yield BINARY if first else CONTINUATION, last, start, stop


MESSAGES: Final = Framing("1 MiB messages", MIB)
SMALL_MESSAGES: Final = Framing("64 KiB messages", 64 * KIB)
ONE_FRAME: Final = Framing("one frame", 2**62)
FRAGMENTS: Final = Framing("131,000-byte fragments", 131_000, fragments=True)


@dataclass(frozen=True, slots=True)
class Payload:
    """`size` bytes: `repeat` times what lies in `body`, and in `framed` as it goes over a WebSocket."""

    size: int
    sha256: str
    body: Path
    framed: Path
    repeat: int = 1


class Payloads:
    """Builds payloads in a folder, each once; the folder should lie in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digests: dict[tuple[int, int], str] = {}

    def get(self, size: int, framing: Framing = MESSAGES, repeat: int = 1) -> Payload:
        """A payload of `repeat` times this size, cut in this way."""
        body = self._folder / f"{size}.body"
        if not body.exists():
            _write_body(body, size)
        if (size, repeat) not in self._digests:
            self._digests[size, repeat] = _digest(body, repeat)
        framed = self._folder / f"{size}-{framing.length}-{framing.fragments}.framed"
        if not framed.exists():
            _write_framed(framed, body, size, framing)
        return Payload(size * repeat, self._digests[size, repeat], body, framed, repeat)

    def clear(self) -> None:
        """Give the memory back."""
        self._digests.clear()
        for path in self._folder.iterdir():
            path.unlink()


def _write_body(path: Path, size: int) -> None:
    random = numpy.random.default_rng(_SEED)
    with path.open("wb") as file:
        for start in range(0, size, _BLOCK):
            file.write(random.bytes(min(_BLOCK, size - start)))


def _digest(path: Path, repeat: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for _ in range(repeat):
            file.seek(0)
            while block := file.read(MIB):
                digest.update(block)
    return digest.hexdigest()


def _write_framed(path: Path, body: Path, size: int, framing: Framing) -> None:
    random = numpy.random.default_rng(_SEED + 1)
    with body.open("rb") as source, path.open("wb") as file:
        octets = numpy.frombuffer(mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ), dtype=numpy.uint8)
        for opcode, fin, start, stop in framing.frames(size):
            key = random.bytes(4)
            file.write(header(opcode, stop - start, key, fin=fin))
            for place in range(start, stop, _BLOCK):  # a multiple of four, so that the mask goes on
                file.write(masked(octets[place : min(place + _BLOCK, stop)], key))
