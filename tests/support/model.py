"""Both sides of the model test: a service over real sockets, and beside it what a client and a store must know."""

import asyncio
import json
import random
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from jackfield.app.errors import Failure
from jackfield.handlers.upload.sockets import acks
from jackfield.handlers.upload.store.publish import Policy
from jackfield.handlers.upload.uploads import upload as open_upload
from jackfield.handlers.upload.wire.messages import Promise
from tests.support.dial import Dial
from tests.support.inprocess import Clock, InProcess
from tests.support.memory_store import Disk, MemoryStore
from tests.support.outsider import UploadSocket, digest
from tests.support.rawsocket import Closed, Opcode, RawSocket, Refusal, close_payload, fragments, frame

HOUR = 3600.0

T = TypeVar("T")


@dataclass
class Known:
    """What a client knows of one upload. `low` bytes are there at least, `high` at most."""

    promise: Promise
    url: str
    content: bytes
    low: int = 0
    high: int = 0
    durable: int = 0
    state: str = "open"
    receipt: dict[str, Any] = field(default_factory=dict)
    socket: UploadSocket | None = None
    aged: bool = False  # its time has passed since its last byte
    jumps: int = 0  # of the clock, since it was stored


def content(seed: int, size: int) -> bytes:
    """Bytes without a pattern."""
    return random.Random(seed).randbytes(size)


def left_by(*steps: Callable[[UploadSocket], object]) -> Callable[[UploadSocket], Awaitable[None]]:
    """A way to leave, and the wait for the service to notice."""

    async def leaving(opened: UploadSocket) -> None:
        for step in steps:
            step(opened)
        await opened.ended()

    return leaving


ORDERLY = {
    "close 1000": left_by(lambda opened: opened.write(frame(Opcode.CLOSE, close_payload(1000)))),
    "close": left_by(lambda opened: opened.write(frame(Opcode.CLOSE))),
    "close 4000": left_by(lambda opened: opened.write(frame(Opcode.CLOSE, close_payload(4000)))),
    "fin": left_by(RawSocket.half_close),
    "half a frame": left_by(lambda opened: opened.write(b"\x82"), RawSocket.half_close),
}
"""Ways to leave after which all that was sent has arrived."""
ENDINGS = ("close 1000", "close")  # of a plain upload


class Machine(RuleBasedStateMachine):
    """Drives a service over real sockets; the model of what is stored is the store in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(acks, "_EVERY", 0.001)
        self.patch.setattr(open_upload, "SYNC_IDLE", 0.01)
        self.clock = Clock(self.patch)
        self.folder = tempfile.TemporaryDirectory()
        self.uploads: list[Known] = []
        self.made = 0
        self.moves = 0  # since the service was ended, or the clock put forward

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        """To its end, within half a minute: what hangs is an error, what is slow on a busy machine is none."""
        return self.loop.run_until_complete(asyncio.wait_for(step, 30))

    @initialize(policy=st.sampled_from(["rename", "reject", "replace"]))
    def start(self, policy: Policy) -> None:
        """An empty directory."""
        self.model = MemoryStore(Disk(Dial()), policy, 9 * HOUR)
        self.service = InProcess(
            Path(self.folder.name), self.patch, on_conflict=policy, expires=HOUR, receipts_kept=9 * HOUR
        )
        self.run(self.service.start())

    def teardown(self) -> None:
        """Nothing is left in staging but what is open."""
        try:
            if hasattr(self, "service"):
                self.drop_all()
                self.run(self.settled())
                for known in self.uploads:
                    known.state = "gone" if known.aged and known.state == "open" else known.state
                self.run(self.service.handler.uploads.sweep())
                self.run(self.service.stop())
                assert self.service.place.staged() == sum(known.state == "open" for known in self.uploads)
        finally:
            self.patch.undo()
            self.loop.close()
            self.folder.cleanup()

    def some(self, data: st.DataObject, wanted: Callable[[Known], bool]) -> Known:
        """One of those uploads."""
        return data.draw(st.sampled_from([known for known in reversed(self.uploads) if wanted(known)]))

    def any_(self, wanted: Callable[[Known], bool]) -> bool:
        """Whether there are any."""
        return any(map(wanted, self.uploads))

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """The status and the body of an answer."""
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{self.service.port}{path}"
            async with session.request(method, url, **options) as answer:
                body = await answer.read()
                return answer.status, json.loads(body) if "json" in answer.content_type else body.decode()

    async def connect(self, url: str) -> UploadSocket:
        """A socket, upgraded."""
        opened = await UploadSocket.connect(self.service.port)
        try:
            return await opened.upgrade(url)
        except Refusal:
            await opened.dispose()
            raise

    def attach_to(self, known: Known) -> None:
        """One more socket on it."""
        previous = known.socket
        if known.state == "gone":
            with pytest.raises(Refusal) as refusal:
                self.run(self.connect(known.url))
            assert (refusal.value.status, refusal.value.code) == (404, "unknown_upload")
        elif known.state == "stored":
            opened = self.run(self.connect(known.url))
            found = self.run(opened.message("stored"))
            assert {key: found[key] for key in known.receipt} == known.receipt
            assert self.run(opened.closed()).code == 1000
            self.run(opened.dispose())
        else:
            known.socket = self.run(self.connect(known.url))
            self.welcome(known, self.run(known.socket.message("ready")))
            if previous is not None:
                self.run(previous.failed("superseded", 4409))
                self.run(previous.dispose())

    def welcome(self, known: Known, ready: dict[str, Any]) -> None:
        """What `ready` says lies between what must be there and what may be, and is proved by its digest."""
        offset = ready["offset"]
        assert known.low <= offset <= known.high
        assert known.durable <= offset
        assert ready["sha256"] == (digest(known.content[:offset]) if offset else None)
        assert (ready["name"], ready["size"]) == (known.promise.name, known.promise.size)
        known.low = known.high = offset

    def send_to(self, known: Known, share: float, parts: int, wait: str | None) -> None:
        """A share of what is missing."""
        assert known.socket is not None
        size = int((len(known.content) - known.high) * share)
        piece = known.content[known.high : known.high + size]
        step = max(-(-size // parts), 1)
        cut = [piece[place : place + step] for place in range(0, size, step)] or [b""]
        self.run(known.socket.send(b"".join(fragments(Opcode.BINARY, cut))))
        known.high += size
        if known.aged and size:
            wait = "durable"  # so that it is known to both since when it is waited for the next one
        if wait is not None and known.high > known.low:
            waiting = known.socket.durable if wait == "durable" else known.socket.acked
            self.run(waiting(known.high))
            known.low, known.aged = known.high, False
        self.heard(known)

    async def send_rest(self, known: Known, more: bytes = b"") -> None:
        """All bytes that are missing, and these."""
        assert known.socket is not None
        rest = known.content[known.high :]
        await known.socket.binary(rest + more)
        known.high += len(rest)
        known.aged = known.aged and not rest

    def heard(self, known: Known) -> None:
        """Acks only grow, and `durable` never passes `offset`."""
        assert known.socket is not None
        for ack in known.socket.acks:
            assert known.durable <= ack["durable"] <= ack["offset"] <= known.high
            known.durable = ack["durable"]
        known.socket.acks.clear()

    def outcome(self, known: Known, promised: str | None) -> tuple[str | None, int]:
        """What an end must lead to: an error's word and code, or nothing and a receipt in `known`."""
        if known.promise.size is not None and known.high != known.promise.size:
            return "incomplete", 4400
        part = self.model.create_lazily(known.url, known.promise)
        sent = known.content[: known.high]
        expected = [each for each in (known.promise.sha256, promised) if each is not None]
        try:
            self.run(part.write([memoryview(sent)], len(sent)))
            receipt = self.run(part.publish(expected))
        except Failure as failure:
            return failure.kind.code, failure.code
        known.receipt = {"name": receipt.name, "size": receipt.size, "sha256": receipt.sha256}
        return None, 1000

    def failed(self, known: Known, code: str) -> None:
        """What an end that failed leaves behind: everything, or nothing where the bytes were wrong."""
        known.low = known.high
        if code == "digest_mismatch":
            self.forget(known)
        self.left(known)

    def forget(self, known: Known) -> None:
        """It is begun anew, and its time too."""
        known.low = known.high = known.durable = 0
        known.aged = False

    def over(self, known: Known, state: str) -> None:
        """It has come to an end, and so has its socket."""
        known.state = state
        self.drop(known)

    def left(self, known: Known) -> None:
        """Its socket is over, and so is an upload whose time has passed."""
        self.drop(known)
        if known.aged:
            known.state = "gone"

    def drop(self, known: Known) -> None:
        """Its socket is over."""
        if known.socket is not None:
            self.run(known.socket.dispose())
            known.socket = None

    def drop_all(self) -> None:
        """All sockets are over."""
        for known in self.uploads:
            self.drop(known)

    async def last(self, opened: UploadSocket) -> Closed:
        """The Close, whatever is said before it."""
        while not isinstance(found := await opened.next(), Closed):
            pass
        return found

    async def settled(self) -> None:
        """Until the service knows of every socket that has gone, and has let go of its upload."""
        held = sum(known.socket is not None for known in self.uploads)
        opened = self.service.handler.uploads._open
        while sum(each.session is not None or each.lock.locked() for each in opened.values()) > held:
            await asyncio.sleep(0.001)

    async def say_goodbye(self, attached: list[Known]) -> None:
        """Everyone is told 1012, and all that the service has taken is durable and acknowledged before."""
        stopping = asyncio.create_task(self.service.stop())
        for known in attached:
            assert known.socket is not None
            assert (await known.socket.closed()).code == 1012
            await known.socket.close(1012)
            if known.socket.acks:
                assert known.socket.acks[-1]["durable"] == known.socket.acks[-1]["offset"]
        await stopping
