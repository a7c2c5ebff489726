"""What `jackfield upload` knows in its next run, where it can keep nothing, and what it then leaves behind: nothing."""

import asyncio
import os
import pwd
import shutil
import signal
from pathlib import Path

import pytest

from jackfield.handlers.upload.command.state import State
from tests.support.outsider import content, digest, eventually, fresh_name
from tests.support.relay import relay_to
from tests.support.scripted import Conversation, Scripted
from tests.support.service import Service
from tests.support.uploader import Uploader

LARGE = 3_000_000  # bytes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / fresh_name()
    found.write_bytes(b"some bytes")
    return found


@pytest.fixture
def large(tmp_path: Path) -> Path:
    found = tmp_path / fresh_name()
    found.write_bytes(content(LARGE))
    return found


async def test_the_state_can_be_copied(service: Service, uploader: Uploader, file: Path, tmp_path: Path) -> None:
    """The secret is for its owner's eyes; a copy of the state, and of the file with its time, is known again."""
    first = await uploader.run(file, service.url)
    secret = uploader.state / "jackfield" / "secret"
    assert (secret.stat().st_mode & 0o777, len(secret.read_bytes())) == (0o600, 32)
    assert secret.parent.stat().st_mode & 0o777 == 0o700
    moved = Uploader(tmp_path / "elsewhere")
    shutil.copytree(uploader.state, moved.state)
    shutil.copy2(file, tmp_path / "elsewhere")
    again = await moved.run(file.name, service.url)
    assert (again.out, "already stored" in again.err) == (first.out, True)


@pytest.mark.parametrize("broken", [b"", b"short"])
async def test_a_secret_that_is_damaged(service: Service, uploader: Uploader, file: Path, broken: bytes) -> None:
    """A secret of a wrong length is drawn anew, which is said; from then on files are known again."""
    secret = uploader.state / "jackfield" / "secret"
    secret.parent.mkdir(parents=True)
    secret.write_bytes(broken)
    done = await uploader.run("--quiet", file, service.url)
    assert (done.status, done.err.count("\n")) == (0, 1)
    assert f"{secret} was damaged" in done.err
    assert len(secret.read_bytes()) == 32
    assert "already stored" in (await uploader.run(file, service.url)).err


async def test_a_state_that_cannot_be_written(service: Service, uploader: Uploader, file: Path) -> None:
    """Where nothing can be remembered the file is sent all the same, and it is said, with --quiet too."""
    uploader.state.write_bytes(b"no folder")
    done = await uploader.run("--quiet", file, service.url)
    assert (done.status, len(done.lines), done.err.count("\n")) == (0, 1, 1)
    assert "cannot remember" in done.err


async def test_nothing_is_written_twice(service: Service, uploader: Uploader, file: Path) -> None:
    """The secret of earlier runs is enough to know small files again: their state may be on a disk that is full."""
    await uploader.run(file, service.url)
    state = uploader.state / "jackfield"
    before = state.stat().st_mtime_ns
    done = await uploader.run(file, service.url)
    assert (done.status, "already stored" in done.err) == (0, True)
    assert (state.stat().st_mtime_ns, os.listdir(state)) == (before, ["secret"])


def test_nobodys_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home directory, as in a container, has no state, and no folder is made in the current one."""

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    state = State.of_user()
    assert (state.lasting, "no home directory" in (state.trouble or "")) == (False, True)
    assert not Path("~").exists()


def test_a_relative_state_folder_counts_for_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the XDG Base Directory Specification says: else each current directory would have a secret of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    assert State.of_user().lasting
    assert (tmp_path / ".local" / "state" / "jackfield" / "secret").is_file()


# -- interrupted


class Halfway:
    """A part that takes some bytes, says so, and waits."""

    def __init__(self, server: Scripted) -> None:
        self.reached = asyncio.Event()
        server.parts = [self]

    async def __call__(self, conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(5)
        self.reached.set()
        await conversation.take(acks=False)


async def interrupted(server: Scripted, uploader: Uploader, *words: str | Path, number: int = signal.SIGINT) -> str:
    """What it says when it is interrupted in the middle."""
    halfway = Halfway(server)
    process = await uploader.start(*words, server.url)
    await halfway.reached.wait()
    return (await uploader.kill(process, number)).err


async def test_what_cannot_be_remembered_is_cancelled(server: Scripted, uploader: Uploader, large: Path) -> None:
    """Nobody can go on with it, so nothing stays on the service, and nothing else is promised."""
    uploader.state.write_bytes(b"no folder")
    said = await interrupted(server, uploader, large)
    assert said.endswith("jackfield upload: interrupted; run it again\n")
    assert server.cancelled == [server.created[0]["token"]]


async def test_a_small_file_sent_again_is_cancelled(server: Scripted, uploader: Uploader, file: Path) -> None:
    """With --again a small file has a token that nobody knows afterwards."""
    said = await interrupted(server, uploader, "--again", file)
    assert said == "jackfield upload: interrupted; run it again\n"
    assert server.cancelled == [server.created[0]["token"]]


async def test_a_large_file_sent_again_is_gone_on_with(server: Scripted, uploader: Uploader, large: Path) -> None:
    """--again goes on with what --again began; the next --again is another upload."""
    await interrupted(server, uploader, "--again", large, number=signal.SIGKILL)
    assert (await uploader.run("--again", large, server.url)).status == 0
    assert (server.uploads, server.cancelled, uploader.remembered) == (1, [], [])
    assert (await uploader.run("--again", large, server.url)).status == 0
    tokens = [created["token"] for created in server.created]
    assert (server.uploads, len(tokens), len(set(tokens))) == (2, 3, 2)


@pytest.mark.parametrize("words", [("--again", ""), ("", "--again")])
async def test_the_other_kind_is_cancelled(
    server: Scripted, uploader: Uploader, large: Path, words: tuple[str, str]
) -> None:
    """What was begun with --again, and then sent without, is dropped; and the reverse."""
    first, second = ([word] if word else [] for word in words)
    await interrupted(server, uploader, *first, large, number=signal.SIGKILL)
    assert (await uploader.run(*second, large, server.url)).status == 0
    assert server.cancelled == [server.created[0]["token"]]
    assert uploader.remembered == []


@pytest.mark.parametrize("words", [(), ("--again",)])
async def test_a_large_file_that_became_small(
    server: Scripted, uploader: Uploader, large: Path, words: tuple[str, ...]
) -> None:
    """What was sent of the large version is cancelled, although small files are not remembered."""
    await interrupted(server, uploader, large, number=signal.SIGKILL)
    large.write_bytes(b"small")
    assert (await uploader.run(*words, large, server.url)).status == 0
    assert server.cancelled == [server.created[0]["token"]]
    assert uploader.remembered == []


async def test_a_large_file_in_a_folder_that_became_small(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """So also with -r, where small files go together."""
    folder = tmp_path / fresh_name("")
    folder.mkdir()
    (folder / "a").write_bytes(content(LARGE))

    async def halfway() -> bool:
        return relay.passed > LARGE / 3

    with relay_to(service.port) as relay:
        relay.hold_after(LARGE // 2)
        process = await uploader.start("-r", folder, relay.url)
        await eventually(halfway)
        await uploader.kill(process)
        relay.cut()  # the rest of the file waits in it: it must not arrive after all
        (folder / "a").write_bytes(b"small")
        service.events.clear()
        assert (await uploader.run("-r", folder, relay.url)).status == 0
        service.wait_for("upload.failed", failure="cancelled")
        assert uploader.remembered == []


async def test_a_file_that_changed_since_it_was_found(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """What waited behind others is sent as it is by then, and is known as that in the next run."""
    folder = tmp_path / fresh_name("")
    folder.mkdir()
    for name in "ab":
        (folder / name).write_bytes(content(LARGE))

    async def halfway() -> bool:
        return relay.passed > LARGE / 3

    with relay_to(service.port) as relay:
        relay.hold_after(LARGE // 2)
        process = await uploader.start("-r", "-j", "1", folder, relay.url)
        await eventually(halfway)
        (folder / "b").write_bytes(content(LARGE + 1))
        relay.hold_after(None)
        assert (await uploader.end(process)).status == 0
        done = await uploader.run("-r", folder, relay.url)
    assert done.err.count("already stored") == 2
    there = {file.name: digest(file.read_bytes()) for file in (service.directory() / folder.name).iterdir()}
    assert there == {name: digest((folder / name).read_bytes()) for name in "ab"}
