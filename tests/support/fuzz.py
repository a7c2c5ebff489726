"""What the fuzz tests share: a service of their own, a client beside them that must not notice, frames and a judge."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from hypothesis import strategies as st

from tests.support.documents import PROJECT
from tests.support.outsider import content
from tests.support.rawsocket import Opcode, RawSocket, close_payload, frame, header, mask
from tests.support.service import Service, pingpong, running_service, upload

T = TypeVar("T")
ECHO = {"use": "tests.support.handlers:Short", "path": "/echo"}
MAX_TEXT, MAX_MESSAGE = 100, 1000  # of that handler
FILE = content(300_000)
PATIENCE = 60.0  # seconds in which a busy machine must serve the neighbour


class Neighbour(threading.Thread):
    """A well-behaved client: one socket of pings that is never closed, and one file after another."""

    def __init__(self, service: Service) -> None:
        super().__init__(daemon=True)
        self.service = service
        self.files = 0
        self.pings = 0
        self.trouble: BaseException | None = None
        self._over = threading.Event()

    def run(self) -> None:
        """See threading."""
        try:
            asyncio.run(self._live())
        except BaseException as error:
            self.trouble = error

    async def _live(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_read=PATIENCE)
        async with aiohttp.ClientSession(self.service.url, timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._answer(session))
            while not self._over.is_set():
                await self._send(session)
                self.files += 1

    async def _answer(self, session: aiohttp.ClientSession) -> None:
        async with session.ws_connect("/endless") as opened:
            while not self._over.is_set():
                assert await opened.receive_str(timeout=PATIENCE) == "ping"
                await opened.send_str("pong")
                self.pings += 1

    async def _send(self, session: aiohttp.ClientSession) -> None:
        """One file, whose bytes are looked at where they are stored."""
        async with session.post("/replace", json={"name": "neighbour.bin", "size": len(FILE)}) as answer:
            url = (await answer.json())["url"]
        async with session.ws_connect(url) as opened:
            await opened.send_bytes(FILE)
            await opened.send_json({"type": "end"})
            while (said := await opened.receive_json(timeout=PATIENCE))["type"] != "stored":
                assert said["type"] in ("ready", "ack"), said
        assert (self.service.directory("replace") / said["name"]).read_bytes() == FILE

    def stop(self) -> None:
        """It must have been served all the time."""
        self._over.set()
        self.join(2 * PATIENCE)
        if self.trouble is not None:
            raise self.trouble
        assert self.files
        assert self.pings


@dataclass
class Fuzzing:
    """A service that runs, and a loop in which one example after the other is played."""

    service: Service
    neighbour: Neighbour
    runner: asyncio.Runner
    number: int = field(default=0)

    def play(self, example: Coroutine[Any, Any, T]) -> T:
        """Run one example; nothing may go wrong in the service meanwhile."""
        self.number += 1
        found = self.runner.run(example)
        self.check()
        return found

    def check(self) -> None:
        """The service lives, has logged no fault, and the neighbour is served."""
        assert self.service.running
        self.service.assert_clean()
        assert self.neighbour.trouble is None, self.neighbour.trouble


@contextlib.contextmanager
def fuzzing(folder: Path) -> Iterator[Fuzzing]:
    """Start all of it; at the end no socket has been closed 1011."""
    handlers: dict[str, Any] = {
        "upload": upload(max_open=1_000_000, idle_timeout="30s"),
        "replace": upload("/replace", on_conflict="replace"),
        "endless": pingpong("/endless", rounds=0, interval=0.01),
        "echo": ECHO,
    }
    with running_service(folder, environment={"PYTHONPATH": str(PROJECT)}, **handlers) as service:
        neighbour = Neighbour(service)
        neighbour.start()
        with asyncio.Runner() as runner:
            made = Fuzzing(service, neighbour, runner)
            yield made
            neighbour.stop()
            made.check()
        for event in service.events:
            assert event.get("code") != 1011, event


# -- frames, well formed and not


@dataclass(frozen=True)
class Sequence:
    """Bytes for one socket: what they are (for the reader of a failure), whole, and where they are cut in segments."""

    kinds: list[str]
    data: bytes
    cuts: list[int]

    async def send(self, opened: RawSocket) -> None:
        """Put it on the wire, a segment after the other."""
        edges = [0, *sorted({cut % (len(self.data) + 1) for cut in self.cuts}), len(self.data)]
        with contextlib.suppress(ConnectionError):
            for start, stop in pairwise(edges):
                await opened.send(self.data[start:stop])
                await asyncio.sleep(0)


PAYLOADS = st.binary(max_size=200) | st.sampled_from([b"", b"x" * 125, b"x" * 126, b"x" * 1000, b"x" * 70_000])
WORDS = st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")) | st.sampled_from([b"pong", b"{}"])
BROKEN_TEXT = st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\xc0\x80"])
CONTROL = st.sampled_from([Opcode.PING, Opcode.PONG])
KEYS = st.sampled_from([bytes(4), b"\x01\x02\x03\x04", b"\xff\xff\xff\xff"])
WRONG_CODES = st.sampled_from([0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
RIGHT_CODES = st.sampled_from([1000, 1001, 1002, 1003, 1007, 1010, 3000, 4999])


def _framed(opcode: int, payload: bytes, key: bytes, **bits: Any) -> bytes:
    return header(opcode, len(payload), key=key, **bits) + mask(payload, key)


@st.composite
def _message(draw: st.DrawFn) -> tuple[str, bytes]:
    """A message in one frame or in many, with control frames between them."""
    opcode = draw(st.sampled_from([Opcode.TEXT, Opcode.BINARY]))
    payload = draw((WORDS | WORDS | BROKEN_TEXT) if opcode == Opcode.TEXT else PAYLOADS)
    places = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=4)))
    parts = [payload[start:stop] for start, stop in zip([0, *places], [*places, len(payload)], strict=True)]
    data = b""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        data += _framed(opcode if number == 0 else 0, part, draw(KEYS), fin=last)
        if not last and draw(st.booleans()):
            data += _framed(draw(CONTROL), draw(st.binary(max_size=125)), draw(KEYS))
    return f"{opcode.name} of {len(payload)} in {len(parts)}", data


def _named(name: str, frames: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[str, bytes]]:
    return frames.map(lambda data: (name, data))


def _close(codes: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    reasons = st.sampled_from([b"", b"bye", b"\xff"])
    return st.builds(lambda code, reason: frame(Opcode.CLOSE, close_payload(code, reason)), codes, reasons)


FINE = _message() | _named("control", st.builds(_framed, CONTROL, st.binary(max_size=125), KEYS))
OPCODES = st.integers(0, 10)
HUGE = st.sampled_from([2**31, 2**62, 2**63, 2**64 - 1])
BROKEN = st.one_of(
    _named("reserved opcode", st.builds(frame, st.sampled_from([3, 4, 7, 11, 15]), st.binary(max_size=20))),
    _named("reserved bits", st.builds(lambda op, rsv: frame(op, b"x", rsv=rsv), OPCODES, st.integers(1, 7))),
    _named("unmasked", st.builds(lambda op, data: frame(op, data, masked=False), OPCODES, PAYLOADS)),
    _named("long form", st.builds(lambda op, form: frame(op, b"xy", form=form), OPCODES, st.sampled_from([16, 64]))),
    _named("long control", st.builds(lambda op: frame(op, b"x" * 126), st.sampled_from([8, 9, 10]))),
    _named("cut control", st.builds(lambda op: frame(op, b"x", fin=False), st.sampled_from([8, 9, 10]))),
    _named("continuation", st.builds(lambda fin: frame(0, b"x", fin=fin), st.booleans())),
    _named("begun message", st.builds(lambda op: frame(op, b"x", fin=False), st.sampled_from([1, 2]))),
    _named("huge", st.builds(lambda op, size: header(op, size, key=bytes(4)), st.integers(0, 2), HUGE)),
    _named("close", _close(RIGHT_CODES)),
    _named("wrong close", _close(WRONG_CODES)),
    _named("half close", st.just(frame(Opcode.CLOSE, b"\x03"))),
    _named("noise", st.binary(min_size=1, max_size=40)),
)  # fmt: skip


@st.composite
def sequences(draw: st.DrawFn) -> Sequence:
    """Up to a dozen messages, mostly well formed."""
    found = draw(st.lists(FINE | FINE | BROKEN, max_size=10))
    data = b"".join(data for _, data in found)
    return Sequence([name for name, _ in found], data, draw(st.lists(st.integers(0, 2**16), max_size=6)))
