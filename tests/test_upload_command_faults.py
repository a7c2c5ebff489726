"""`jackfield upload` when something breaks: the service, the connection, the file, or itself."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from pathlib import Path

import pytest

from tests.support.outsider import content, digest, eventually
from tests.support.scripted import Conversation, Scripted, for_ever
from tests.support.service import Service, running_service
from tests.support.uploader import Uploader

pytestmark = pytest.mark.slow

MIB = 1024 * 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a service of a test's own lives."""
    found = tmp_path / "service"
    found.mkdir()
    return found


class Halfway:
    """A part that takes 1 MiB, says so, and waits."""

    def __init__(self, server: Scripted) -> None:
        self.reached = asyncio.Event()
        server.parts = [self]

    async def __call__(self, conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(MIB)
        self.reached.set()
        await conversation.take(acks=False)


async def staged(service: Service, least: int) -> bool:
    """Whether an open upload has so many bytes on disk."""
    return any(file.stat().st_size >= least for file in (service.directory() / ".incoming").glob("*.part"))


async def feed(process: Process, data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    await process.stdin.drain()


async def test_service_is_killed(uploader: Uploader, folder: Path) -> None:
    """kill -9 of the service in the middle, a restart on the same port: the upload ends well."""
    data = content(40 * MIB)
    with running_service(folder) as service:
        process = await uploader.start("-", "--name", "big", service.url)
        await feed(process, data[: 20 * MIB])
        await eventually(lambda: staged(service, 20 * MIB))
        service.kill()
        service.start()
        done = await uploader.end(process, data[20 * MIB :])
        assert (done.status, done.lines) == (0, [f"{digest(data)}  big"])
        assert "trying again" in done.err
        assert digest((service.directory() / "big").read_bytes()) == digest(data)


async def test_service_is_killed_under_a_file(uploader: Uploader, tmp_path: Path, folder: Path) -> None:
    """The same with a file, which is read again from where the service is."""
    file = tmp_path / "big"
    file.write_bytes(content(100 * MIB))
    slow = {"window": "64KiB", "message_size": "16KiB"}
    with running_service(folder, upload=slow) as service:
        process = await uploader.start(file, service.url)
        await eventually(lambda: staged(service, MIB))
        service.kill()
        assert process.returncode is None
        service.start()
        done = await uploader.end(process)
        assert (done.status, done.lines) == (0, [f"{digest(file.read_bytes())}  big"])


async def test_service_is_stopped_and_comes_back(uploader: Uploader, folder: Path) -> None:
    """An orderly restart: the close 1012 is no error, the upload goes on where it was."""
    data = content(2 * MIB)
    with running_service(folder) as service:
        process = await uploader.start("-", "--name", "big", "--quiet", service.url)
        await feed(process, data[:MIB])
        await eventually(lambda: staged(service, MIB))
        assert service.stop() == 0
        service.start()
        done = await uploader.end(process, data[MIB:])
        assert (done.status, done.lines, done.err) == (0, [f"{digest(data)}  big"], "")
        assert service.wait_for("upload.resumed")["offset"] == MIB


async def test_client_is_killed(uploader: Uploader, tmp_path: Path, folder: Path) -> None:
    """kill -9 of the client in the middle: the next run goes on there, against the real service."""
    file = tmp_path / "big"
    file.write_bytes(content(100 * MIB))
    slow = {"window": "64KiB", "message_size": "16KiB"}
    with running_service(folder, upload=slow) as service:
        process = await uploader.start(file, service.url)
        await eventually(lambda: staged(service, MIB))
        assert (await uploader.kill(process)).status == -signal.SIGKILL
        done = await uploader.run(file, service.url)
        assert (done.status, done.lines) == (0, [f"{digest(file.read_bytes())}  big"])
        assert service.wait_for("upload.resumed")["offset"] >= MIB
        assert uploader.remembered == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
async def test_goes_on_where_it_stopped(
    server: Scripted, uploader: Uploader, path: Path, number: signal.Signals
) -> None:
    """However the first run ended, the second sends only what is missing."""
    halfway = Halfway(server)
    process = await uploader.start(path, server.url)
    await halfway.reached.wait()
    done = await uploader.kill(process, number)
    assert done.out == ""
    if number != signal.SIGKILL:
        assert (done.status, done.err) == (75, "jackfield upload: interrupted; run it again to go on\n")
    arrived = len(server.bytes)
    assert (await uploader.run(path, server.url)).lines == [f"{digest(path.read_bytes())}  x"]
    assert server.offsets == [0, arrived]
    assert (server.uploads, server.cancelled) == (1, [])


async def test_no_resume(server: Scripted, uploader: Uploader, path: Path) -> None:
    """With --no-resume it begins at the first byte, and drops what was there."""
    halfway = Halfway(server)
    process = await uploader.start(path, server.url)
    await halfway.reached.wait()
    await uploader.kill(process)
    assert (await uploader.run("--no-resume", path, server.url)).status == 0
    assert (server.offsets[0], server.offsets[-1], server.restarts, server.uploads) == (0, 0, 1, 1)
    assert uploader.remembered == []


async def test_file_that_changed_since(server: Scripted, uploader: Uploader, path: Path) -> None:
    """A file that changed between two runs is a new upload, and the old one is cancelled."""
    halfway = Halfway(server)
    process = await uploader.start(path, server.url)
    await halfway.reached.wait()
    await uploader.kill(process)
    with path.open("r+b") as file:
        file.write(b"changed")
    done = await uploader.run(path, server.url)
    assert done.lines == [f"{digest(path.read_bytes())}  x"]
    assert (server.offsets, server.uploads) == ([0, 0], 2)
    assert server.cancelled == [server.created[0]["token"]]
    assert uploader.remembered == []


async def test_file_that_changes_while_it_is_sent(uploader: Uploader, tmp_path: Path, folder: Path) -> None:
    """Status 5, nothing is stored, and nothing stays behind, here or there."""
    file = tmp_path / "big"
    file.write_bytes(content(100 * MIB))
    slow = {"window": "64KiB", "message_size": "16KiB"}
    with running_service(folder, upload=slow) as service:
        process = await uploader.start(file, service.url)
        await eventually(lambda: staged(service, MIB))
        with file.open("r+b") as changed:
            changed.write(b"changed")
        done = await uploader.end(process)
        assert (done.status, done.out) == (5, "")
        assert done.err == f"jackfield upload: {file}: changed while it was sent\n"
        assert [found.name for found in service.directory().iterdir()] == [".incoming"]
        assert list((service.directory() / ".incoming").glob("*.part")) == []
        assert uploader.remembered == []


async def test_interrupted_while_nothing_comes_in(server: Scripted, uploader: Uploader) -> None:
    """An interrupt ends it at once, also while it waits for standard input."""
    halfway = Halfway(server)
    process = await uploader.start("-", "--name", "x", server.url)
    await feed(process, bytes(2 * MIB))
    await halfway.reached.wait()
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 10) == 75
    assert process.stderr is not None
    assert b"Traceback" not in await process.stderr.read()


async def test_interrupted_while_the_service_is_silent(server: Scripted, uploader: Uploader, path: Path) -> None:
    """An interrupt ends it soon also where the other side takes nothing and says nothing."""
    started = asyncio.Event()

    async def silent(conversation: Conversation) -> None:
        await conversation.ready(window=2**40)
        started.set()
        await for_ever()

    os.truncate(path, 200 * MIB)  # more than the kernel takes for a peer that does not read
    server.parts = [silent]
    process = await uploader.start(path, server.url)
    await started.wait()
    done = await uploader.kill(process, signal.SIGINT)
    assert (done.status, done.out) == (75, "")
    assert "Traceback" not in done.err
