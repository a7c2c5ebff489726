"""`upload_many` against a server that loses answers and sockets: each file has one outcome, and is stored once."""

import asyncio
import os
import random
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from jackfield.handlers.upload.client import (
    NoSpace,
    Receipt,
    Refused,
    Rejected,
    Superseded,
    TokenConflict,
    UploadError,
    draw_token,
    upload_many,
)
from tests.support.scripted_many import ManyServer, many_server

FILES = 300
Outcomes = dict[str, Receipt | UploadError | OSError]


@pytest.fixture
async def server() -> AsyncIterator[ManyServer]:
    async with many_server() as found:
        yield found


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Small files, each with other bytes."""
    folder, dice = tmp_path / "files", random.Random(1)
    folder.mkdir()
    found = [folder / f"{number:03}" for number in range(FILES)]
    for file in found:
        file.write_bytes(file.name.encode() + dice.randbytes(dice.randint(0, 3000)))
    return found


class Sending:
    """One call of `upload_many`; `outcomes` has what it said of each file."""

    def __init__(self, session: aiohttp.ClientSession, server: ManyServer) -> None:
        self._session, self._server = session, server
        self.outcomes: Outcomes = {}

    def done(self, path: str, outcome: Receipt | UploadError | OSError) -> None:
        name = Path(path).name
        assert name not in self.outcomes, "one outcome each"
        self.outcomes[name] = outcome

    async def send(self, files: Iterator[tuple[Path, str, str | None]], give_up: float = 10) -> Outcomes:
        await upload_many(self._session, self._server.url, files, done=self.done, give_up=give_up)
        return self.outcomes


@pytest.fixture
def sending(session: aiohttp.ClientSession, server: ManyServer) -> Sending:
    return Sending(session, server)


def named(files: list[Path], tokens: dict[str, str] | None = None) -> Iterator[tuple[Path, str, str | None]]:
    for file in files:
        yield file, file.name, (tokens or {}).get(file.name)


def assert_stored_once(server: ManyServer, files: list[Path]) -> None:
    there = [(asked["name"], data) for asked, data in server.stored.values()]
    assert sorted(there) == [(file.name, file.read_bytes()) for file in files]


async def test_answers_that_are_lost(server: ManyServer, sending: Sending, files: list[Path]) -> None:
    """No answer of the first socket comes through, and it is cut: what it stored is not stored again, nor said to be
    of an earlier call."""
    server.mute, server.cut_at = 1, [201]
    outcomes = await sending.send(named(files))
    assert set(outcomes) == {file.name for file in files}
    assert not any(receipt.already for receipt in outcomes.values() if isinstance(receipt, Receipt))
    assert_stored_once(server, files)
    assert server.sockets == 2


async def test_sockets_that_are_cut_anywhere(server: ManyServer, sending: Sending, files: list[Path]) -> None:
    """Cut ten times, also while files are being read: each is stored once."""
    server.mute = 3
    server.cut_at = [3, 60, 61, 150, 151, 400, 500, 520, 560, 600]
    outcomes = await sending.send(named(files))
    assert all(isinstance(outcome, Receipt) for outcome in outcomes.values())
    assert_stored_once(server, files)


async def test_cut_while_files_are_read(server: ManyServer, sending: Sending, files: list[Path]) -> None:
    """The files that a thread is reading when the socket is lost are sent on the next one."""
    reading, cut = threading.Event(), threading.Event()

    def slowly() -> Iterator[tuple[Path, str, str | None]]:
        for number, entry in enumerate(named(files)):
            if number == 100:
                reading.set()
                assert cut.wait(10)
            yield entry

    sending_all = asyncio.create_task(sending.send(slowly()))
    assert await asyncio.to_thread(reading.wait, 10)
    server.cut_at = [server.creates + 1]  # nothing more is sent on this socket but when the rest is read
    cut.set()
    assert len(await sending_all) == FILES
    assert_stored_once(server, files)


async def test_superseded_by_a_socket_of_its_own(server: ManyServer, sending: Sending, files: list[Path]) -> None:
    """The service may still read what came on a lost socket, which takes files from the newer one: those are sent
    again. What was sent on one socket alone was taken by somebody else."""
    server.mute, server.cut_at, server.superseded = 1, [100], {"099", "299"}
    outcomes = await sending.send(named(files))
    assert isinstance(outcomes.pop("299"), Superseded)
    assert all(isinstance(outcome, Receipt) for outcome in outcomes.values())
    assert (len(outcomes), server.sockets, server.cancelled) == (FILES - 1, 2, [])


async def test_superseded_at_the_end(server: ManyServer, sending: Sending, files: list[Path]) -> None:
    """So also when there is nothing else left to send."""
    server.mute, server.cut_at, server.superseded = 1, [5], {"004"}
    outcomes = await sending.send(named(files[:5]))
    assert all(isinstance(outcome, Receipt) for outcome in outcomes.values())
    assert_stored_once(server, files[:5])


async def test_what_is_stored_already(server: ManyServer, session: aiohttp.ClientSession, files: list[Path]) -> None:
    """A second call with the same tokens stores nothing, and says that it is `already` there."""
    tokens = {file.name: draw_token() for file in files}
    await Sending(session, server).send(named(files[:200], tokens))
    outcomes = await Sending(session, server).send(named(files, tokens))
    already = {name for name, found in outcomes.items() if isinstance(found, Receipt) and found.already}
    assert already == {file.name for file in files[:200]}
    assert_stored_once(server, files)


async def test_tokens_that_are_made_of_the_files(server: ManyServer, sending: Sending, files: list[Path]) -> None:
    """A function gets what the file is once it is open, in a worker thread; where it returns None one is drawn."""

    def make(found: os.stat_result) -> str | None:
        assert threading.current_thread() is not threading.main_thread()
        return f"{found.st_ino:030}" if found.st_ino != files[0].stat().st_ino else None

    outcomes = await sending.send((file, file.name, make) for file in files)
    assert all(isinstance(outcome, Receipt) for outcome in outcomes.values())
    made = {asked["name"]: token for token, (asked, _) in server.stored.items()}
    drawn = made.pop(files[0].name)
    assert len(drawn) == 43
    assert made == {file.name: f"{file.stat().st_ino:030}" for file in files[1:]}


async def test_cancelled_and_called_again(
    server: ManyServer, session: aiohttp.ClientSession, files: list[Path]
) -> None:
    """A call that is cancelled in the middle has told no file twice; the next one, with its tokens, sends the rest."""
    tokens = {file.name: draw_token() for file in files}
    first, some = Sending(session, server), asyncio.Event()

    def done(path: str, outcome: Receipt | UploadError | OSError) -> None:
        Sending.done(first, path, outcome)
        if len(first.outcomes) == 100:
            some.set()

    first.done = done  # type: ignore[method-assign]
    task = asyncio.create_task(first.send(named(files, tokens)))
    await some.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 100 <= len(first.outcomes) < FILES
    assert server.cancelled == []
    await Sending(session, server).send(named(files, tokens))
    assert_stored_once(server, files)


async def test_what_was_begun_under_tokens_of_its_own_is_cancelled(
    server: ManyServer, sending: Sending, files: list[Path]
) -> None:
    """A call that is cancelled leaves nothing open that nobody can go on with."""
    server.mute = 1
    task = asyncio.create_task(sending.send(named(files)))
    while server.creates < 100:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(server.cancelled) >= 100
    assert server.opened == set()


@pytest.mark.parametrize(
    ("status", "code", "kind", "cancelled"),
    [
        (409, "name_taken", Rejected, True),
        (507, "no_space", NoSpace, True),
        (500, "not_permitted", Rejected, True),
        (409, "superseded", Superseded, False),
        (409, "token_conflict", TokenConflict, False),
    ],
)
async def test_errors_of_one_file(
    server: ManyServer, sending: Sending, files: list[Path], status: int, code: str, kind: type, cancelled: bool
) -> None:
    """An error is its file's alone, and at once; what it leaves open is cancelled, unless it is somebody else's."""
    server.errors = {"007": (status, code)}
    outcomes = await sending.send(named(files))
    failed = outcomes.pop("007")
    assert (type(failed), getattr(failed, "code", "")) == (kind, code)
    assert all(isinstance(outcome, Receipt) for outcome in outcomes.values())
    assert bool(server.cancelled) == cancelled
    assert server.sockets == 1


async def test_a_refused_creation_is_not_cancelled(server: ManyServer, sending: Sending, files: list[Path]) -> None:
    """Where there was no `ready`, nothing is open, and nobody asks to drop it."""
    server.refusals = {"007": (400, "invalid_name")}
    outcomes = await sending.send(named(files))
    assert isinstance(outcomes["007"], Rejected)
    assert server.cancelled == []


async def test_a_fault_that_may_heal_is_tried_again(server: ManyServer, sending: Sending, files: list[Path]) -> None:
    """Files behind one with a 503 are stored once all the same; that one itself ends the call when patience does."""
    server.errors = {"250": (503, "draining")}
    with pytest.raises(UploadError, match="gave up"):
        await sending.send(named(files), give_up=0.5)
    assert set(sending.outcomes) == {file.name for file in files[:250]}


async def test_files_that_cannot_be_read(server: ManyServer, sending: Sending, tmp_path: Path) -> None:
    """A missing file, a pipe, a device, one with a NUL in its path, one that grew and one whose name is not UTF-8 are
    each told as what they are; names are sent in NFC."""
    (tmp_path / "large").write_bytes(bytes(3 * 2**20))
    (tmp_path / "good").write_bytes(b"good")
    os.mkfifo(tmp_path / "pipe")
    entries = [(tmp_path / name, name) for name in ("missing", "pipe", "large")]
    entries += [(Path("/dev/zero"), "zero"), (tmp_path / "nul\0nul", "nul"), (tmp_path / "good", "e\u0301")]
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/latin\xe9"))
    odd.touch()
    told = await sending.send((path, name, None) for path, name in [*entries, (odd, odd.name)])
    kinds = {name: type(outcome) for name, outcome in told.items()}
    assert kinds == {
        "missing": FileNotFoundError, "pipe": OSError, "zero": OSError, "nul\0nul": OSError, "large": NoSpace,
        "good": Receipt, odd.name: Rejected,
    }  # fmt: skip
    assert [asked["name"] for asked, _ in server.stored.values()] == ["\u00e9"]


async def test_a_path_that_takes_no_uploads(server: ManyServer, session: aiohttp.ClientSession) -> None:
    """A 404 for the socket itself is told at once, and not tried again for as long as one has patience."""
    with pytest.raises(Rejected, match="no uploads at"):
        await upload_many(session, server.url + "/nowhere", [], done=lambda *_: None)


async def test_what_the_caller_raises(server: ManyServer, session: aiohttp.ClientSession, files: list[Path]) -> None:
    """An exception of the caller's own callbacks reaches the caller as it is."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    def broken() -> Iterator[tuple[Path, str]]:
        yield files[0], "a"
        raise LookupError

    with pytest.raises(ZeroDivisionError):
        await upload_many(session, server.url, [(files[0], "a")], done=fail)
    with pytest.raises(LookupError):
        await upload_many(session, server.url, broken(), done=lambda *_: None)


async def test_refused(session: aiohttp.ClientSession, server: ManyServer, files: list[Path]) -> None:
    """Whoever is not let in is told so at once."""
    server.errors = {}
    server.refusals = {"a": (401, "unauthorized")}
    outcomes: Outcomes = {}
    await upload_many(session, server.url, [(files[0], "a")], done=lambda path, how: outcomes.update({path: how}))
    assert isinstance(outcomes[str(files[0])], Refused)
