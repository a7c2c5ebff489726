"""The exit statuses of `jackfield upload` for all that a service may answer, or not answer."""

import socket
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from jackfield.app import cli
from tests.support.outsider import fresh_name
from tests.support.scripted import Conversation, Scripted, problem
from tests.support.uploader import Uploader

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, "unauthorized", 3),
        (403, "forbidden_origin", 3),
        (422, "digest_mismatch", 5),
        (413, "too_large", 6),
        (507, "no_space", 6),
        (409, "superseded", 1),
        (400, "incomplete", 1),
    ],
)
async def test_errors_on_the_socket(
    server: Scripted, uploader: Uploader, path: Path, status: int, code: str, expected: int
) -> None:
    """Each error has its exit status, and its reason is one line on standard error."""

    async def fail(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(MIB)
        await conversation.fail(status, code)

    server.parts = [fail]
    done = await uploader.run(path, server.url)
    assert (done.status, done.out) == (expected, "")
    assert f"because: {code}" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, "unauthorized", 3),
        (403, "forbidden_origin", 3),
        (413, "too_large", 6),
        (507, "no_space", 6),
        (409, "name_taken", 1),
        (404, "not_found", 1),
    ],
)
async def test_refused_creations(
    server: Scripted, uploader: Uploader, path: Path, status: int, code: str, expected: int
) -> None:
    """A creation that is refused: the status for it, the reason in one line, and nothing is remembered."""
    server.answers = [problem(status, code)]
    done = await uploader.run(path, server.url)
    assert (done.status, done.out) == (expected, "")
    assert f"because: {code}" in done.err
    assert len(done.err.splitlines()) == 1
    assert uploader.remembered == []


async def test_full_disk_keeps_what_is_there(server: Scripted, uploader: Uploader, path: Path) -> None:
    """After a full disk, the next run goes on where the room ended."""

    async def fail(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(MIB)
        await conversation.fail(507, "no_space")

    server.parts = [fail]
    assert "run it again" in (await uploader.run(path, server.url)).err
    arrived = len(server.bytes)
    assert (await uploader.run(path, server.url)).status == 0
    assert server.offsets == [0, arrived]


async def test_nobody_listens(uploader: Uploader, path: Path) -> None:
    """An unreachable service: status 75 within the time that was given, and it says what was tried."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = await uploader.run("--give-up", "0.5", path, url)
    assert (done.status, done.out) == (75, "")
    assert "Connection refused" in done.err
    assert "Traceback" not in done.err


async def test_nobody_answers(uploader: Uploader, path: Path) -> None:
    """A service that takes connections and says nothing: the same."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        url = f"http://127.0.0.1:{hole.getsockname()[1]}"
        done = await uploader.run("--give-up", "0.5", "--timeout", "0.5", path, url)
    assert (done.status, done.out) == (75, "")


async def test_others_are_not_tried(server: Scripted, uploader: Uploader, tmp_path: Path) -> None:
    """When the service refuses us, the other files would fare no better: they are not tried, but counted."""
    names = [fresh_name() for _ in range(5)]
    for name in names:
        (tmp_path / name).touch()
    server.answers = [problem(401, "unauthorized")] * 9
    done = await uploader.run("-j", "1", *names, server.url)
    assert (done.status, done.out) == (3, "")
    assert len(server.created) == 1
    assert "4 more not sent" in done.err


async def test_quiet(server: Scripted, uploader: Uploader, path: Path) -> None:
    """--quiet says nothing of troubles that heal; without it they are one line each."""
    for options, lines in ((["--quiet"], 0), ([], 1)):
        server.answers = [problem(503, "draining")]
        done = await uploader.run("--again", *options, path, server.url)
        assert (done.status, len(done.err.splitlines())) == (0, lines)


def test_interrupted_before_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGINT while the command is still being imported ends it without a traceback."""

    def interrupted(*, group: str) -> list[EntryPoint]:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "entry_points", interrupted)
    assert cli.main(["upload", "x", "http://127.0.0.1:1"]) == 130
