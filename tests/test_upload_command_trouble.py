"""`jackfield upload` and one file's trouble: odd folders, odd names, a standard output that is full, an interrupt."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import unicodedata
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from jackfield.handlers.upload.command.display import visible
from tests.support.outsider import content, digest, fresh_name
from tests.support.scripted import Conversation, Scripted, problem
from tests.support.service import COMMAND, Service
from tests.support.uploader import Uploader


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / fresh_name("")
    found.mkdir()
    return found


async def test_a_link_to_itself(service: Service, uploader: Uploader, folder: Path) -> None:
    """A link that leads to itself is one file's trouble: the others are sent, also those of later arguments."""
    (folder / "a").write_bytes(b"a")
    (folder / "self").symlink_to("self")
    (folder / "z").write_bytes(b"z")
    other = folder.with_name(fresh_name())
    other.write_bytes(b"other")
    done = await uploader.run("-r", folder, folder / "self", other, service.url)
    assert (done.status, len(done.lines)) == (7, 3)
    assert done.err.count("/self: Too many levels of symbolic links\n") == 2


async def test_folders_that_lie_deep(service: Service, uploader: Uploader, folder: Path) -> None:
    """Deeper than calls may be nested; a path that is too long for the system is that folder's trouble alone."""
    with contextlib.ExitStack() as stack:
        stack.callback(subprocess.run, ["rm", "-r", folder], check=True)  # deeper than Python can remove it
        with contextlib.chdir(folder):
            for _ in range(1500):
                Path("aa").mkdir()
                os.chdir("aa")
        (folder / "z").write_bytes(b"z")
        done = await uploader.run("-r", folder, service.url)
    assert (done.status, done.lines) == (7, [f"{digest(b'z')}  {folder.name}/z"])
    assert done.err.endswith("/aa: File name too long\n")


async def test_names_that_are_decomposed(service: Service, uploader: Uploader, folder: Path) -> None:
    """Names from a Mac are stored in NFC in every way of sending, and a twin in NFC is a file of its own."""
    name = unicodedata.normalize("NFD", "Übung é")
    for form in ("NFD", "NFC"):
        (folder / unicodedata.normalize(form, name)).write_bytes(form.encode())
    (folder / f"{name} large").write_bytes(content(2**21))
    composed = unicodedata.normalize("NFC", name)
    done = await uploader.run("-r", folder, service.url)
    assert (done.status, len(done.lines)) == (0, 3), done.err
    there = {file.name for file in (service.directory() / folder.name).iterdir()}
    assert {composed, f"{composed}.1"} <= there
    assert {unicodedata.is_normalized("NFC", each) for each in there} == {True}
    single = fresh_name(unicodedata.normalize("NFD", "é"))
    for words, stdin in (((folder / name,), b""), (("-",), b"in")):
        done = await uploader.run("--again", "--name", single, *words, service.url, stdin=stdin)
        assert done.status == 0, done.err
    assert (service.directory() / unicodedata.normalize("NFC", single)).is_file()


async def test_a_name_that_is_not_utf8(service: Service, uploader: Uploader, folder: Path) -> None:
    """It is said what is wrong and what helps, and nothing raw is printed; under a --name it is sent."""
    odd = os.fsdecode(os.fsencode(folder) + b"/latin\xe9")
    Path(odd).write_bytes(b"x")
    for words in ((odd,), ("-r", str(folder))):
        done = await uploader.run(*words, service.url)
        assert (done.status, done.out) == (1, "")
        assert done.err.endswith("latin\\udce9: is not UTF-8; give it a --name\n")
    assert (await uploader.run("--name", fresh_name(), odd, service.url)).status == 0


@pytest.mark.parametrize("odd", ["\x1b[31m\a", "\u202egpj", "\u200b", "\u2028", "\x9b"])
async def test_nothing_on_a_terminal_is_raw(service: Service, uploader: Uploader, folder: Path, odd: str) -> None:
    """What a terminal obeys, or does not show, is printed as an escape: in errors, in bars, in receipts."""
    (folder / f"x{odd}").write_bytes(b"x")
    done, shown = await uploader.run_on_terminal("-r", "-j", "1", folder, "--", service.url)
    printed = shown.decode()
    assert odd not in printed
    assert done.status == (0 if odd == "\u200b" else 1)
    if done.status:
        assert f"x{visible(odd)}: " in printed


def test_what_is_visible() -> None:
    """Letters of any script, spaces and emoji stay; control, format and separator characters are escaped."""
    assert visible("grüße 文件 😀 ~") == "grüße 文件 😀 ~"
    assert visible("\x1b\n\u202e\u200b\udce9\u2029") == "\\x1b\\n\\u202e\\u200b\\udce9\\u2029"


async def test_empty_folders_are_named(service: Service, uploader: Uploader, folder: Path) -> None:
    """An empty folder does not arrive: it is said, and is no failure."""
    (folder / "empty" / "deeper").mkdir(parents=True)
    done = await uploader.run("-r", folder, service.url)
    assert (done.status, done.out) == (0, "")
    assert done.err == f"jackfield upload: {folder}/empty/deeper: is an empty folder, and is not made on the service\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
async def test_a_full_standard_output(service: Service, uploader: Uploader, folder: Path) -> None:
    """It is told as that and not as a file's failure, once; the files are stored, and the status is 1."""
    for name in "abc":
        (folder / name).write_bytes(b"x")
    with Path("/dev/full").open("wb") as full:
        process = await uploader.start("-r", folder, service.url, stdout=full)
        done = await uploader.end(process)
    assert done.status == 1
    assert done.err == (
        "jackfield upload: standard output: No space left on device; what is stored from here on is not printed\n"
    )
    assert len(list((service.directory() / folder.name).iterdir())) == 3


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
async def test_closed_standard_streams(
    service: Service, uploader: Uploader, folder: Path, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As daemons start their children: what nobody reads is not printed, errors never among the results."""
    monkeypatch.setenv("XDG_STATE_HOME", str(uploader.state))
    (folder / "a").write_bytes(b"x")
    shell = await asyncio.create_subprocess_shell(
        f"{COMMAND} upload {folder}/a {folder}/missing {service.url} {closed}", stdout=PIPE, stderr=PIPE
    )  # fmt: skip
    out, err = await shell.communicate()
    assert shell.returncode == 7
    assert (len(out.splitlines()), len(err.splitlines())) == (">&-" not in closed.split(), "2>&-" not in closed)


async def test_an_encoding_that_lacks_the_name(
    service: Service, uploader: Uploader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receipt's name is escaped where standard output cannot hold it; every file has its receipt."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    for name in ("文", "é"):
        (folder / name).write_bytes(b"x")
    done = await uploader.run("-r", folder, service.url)
    names = [line.rsplit("/", 1)[1] for line in done.lines]
    assert (done.status, names) == (0, ["\\xe9", "\\u6587"]), done.err


async def test_an_interrupted_stream_is_dropped(server: Scripted, uploader: Uploader) -> None:
    """Standard input cannot be sent again: what came of it is cancelled, and nobody is told to run it again."""
    reached = asyncio.Event()

    async def halfway(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take(1000)
        reached.set()
        await conversation.take()

    server.parts = [halfway]
    process = await uploader.start("-", "--name", "x", server.url)
    assert process.stdin is not None
    process.stdin.write(bytes(1000))
    await reached.wait()
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    said = await process.stderr.read()
    assert await process.wait() == 75
    assert said == b"jackfield upload: interrupted; what was sent of standard input is dropped\n"
    assert server.cancelled == [server.created[0]["token"]]


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [(500, "not_permitted", 1), (429, "quota_exceeded", 6), (409, "token_conflict", 1), (418, "", 1), (501, "", 1)],
)
async def test_what_cannot_get_better_is_not_tried_again(
    server: Scripted, uploader: Uploader, tmp_path: Path, status: int, code: str, expected: int
) -> None:
    """It is told at once: the creation is asked for once, or once more under another token after a conflict."""
    file = tmp_path / "file"
    file.write_bytes(b"x")
    server.answers = [problem(status, code)] * 9
    done = await uploader.run(file, server.url)
    assert done.status == expected
    assert len(server.created) == (2 if code == "token_conflict" else 1)


async def test_an_interrupted_folder_says_what_is_left(server: Scripted, uploader: Uploader, tmp_path: Path) -> None:
    """Stored, failed and not sent, they are counted; a line for each that is stored is on standard output."""
    names = [fresh_name() for _ in range(4)]
    for name in names[1:]:
        (tmp_path / name).write_bytes(b"x")
    reached = asyncio.Event()

    async def stop(conversation: Conversation) -> None:
        await conversation.ready()
        reached.set()
        await conversation.take(2)

    async def store(conversation: Conversation) -> None:
        await conversation.ready()
        await conversation.take()
        await conversation.stored()

    server.parts = [store, stop]
    process = await uploader.start("-j", "1", "--json", *names, server.url)
    await reached.wait()
    done = await uploader.kill(process, signal.SIGINT)
    assert done.status == 75
    assert [json.loads(line)["file"] for line in done.lines] == [names[1]]
    assert done.err.endswith("run it again to go on (1 stored, 1 failed, 1 or more not sent)\n")
