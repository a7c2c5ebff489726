"""`jackfield upload` against the real service: what it prints, under which names it stores, how it exits."""

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.outsider import content, digest, fresh_name
from tests.support.service import Service
from tests.support.uploader import Done, Uploader

EMPTY = hashlib.sha256(b"").hexdigest()


def write(folder: Path, name: str = "", data: bytes = b"some bytes") -> Path:
    file = folder / (name or fresh_name())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


async def test_prints_what_sha256sum_prints(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """One file: the line of `sha256sum` on standard output, nothing else anywhere, and the file is there."""
    file = write(tmp_path, data=content(3_000_000))
    expected = subprocess.run(["sha256sum", file.name], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert await uploader.run(file.name, service.url) == Done(0, expected.stdout, "")
    assert (service.directory() / file.name).read_bytes() == file.read_bytes()
    assert uploader.remembered == []


async def test_json(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """With --json: an object a line, with the local file and the final name, which may differ."""
    file = write(tmp_path)
    await uploader.run(file, service.url)
    done = await uploader.run("--json", "--again", file, service.url)
    assert [json.loads(line) for line in done.lines] == [
        {"file": str(file), "name": f"{file.stem}.1.bin", "size": 10, "sha256": digest(b"some bytes")}
    ]


async def test_name(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """--name says under which name a file is stored, folders and all."""
    name = f"deep/er/{fresh_name()}"
    done = await uploader.run("--name", name, write(tmp_path), service.url)
    assert done.lines == [f"{digest(b'some bytes')}  {name}"]
    assert (service.directory() / name).is_file()


async def test_options_may_stand_before_and_behind(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """Options before the files, behind the URL, and between one file and the URL; a `--` before an odd name."""
    one, two, odd = write(tmp_path), write(tmp_path), write(tmp_path, "-" + fresh_name())
    done = await uploader.run("-j", "1", one.name, two.name, service.url, "--quiet")
    assert [line.split()[1] for line in done.lines] == [one.name, two.name]
    done = await uploader.run(one.name, "--again", "--quiet", service.url)
    assert [line.split()[0] for line in done.lines] == [digest(one.read_bytes())]
    done = await uploader.run("--quiet", "--", odd.name, service.url)
    assert [line.split()[1] for line in done.lines] == [odd.name]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["file"], "URL"),
        (["file", "nonsense"], "nonsense"),
        (["file", "ftp://127.0.0.1/"], "ftp"),
        (["-", "http://127.0.0.1/"], "--name"),
        (["--name", "x", "one", "two", "http://127.0.0.1/"], "--name"),
        (["-j", "0", "file", "http://127.0.0.1/"], "at least 1"),
        (["-j", "many", "file", "http://127.0.0.1/"], "many"),
        (["--timeout", "0", "file", "http://127.0.0.1/"], "more than 0"),
        (["--give-up", "nan", "file", "http://127.0.0.1/"], "more than 0"),
    ],
)
async def test_wrong_usage(uploader: Uploader, words: list[str], complaint: str) -> None:
    """Wrong usage is status 2 and says what is wrong; nothing is tried."""
    done = await uploader.run(*words)
    assert (done.status, done.out) == (2, "")
    assert complaint in done.err.splitlines()[-1]


async def test_folder(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """With -r a folder's files go under the folder's own name, whichever way it was named."""
    folder = fresh_name("")
    for name in ("b", "a", "sub/c", "sub/deeper/d"):
        write(tmp_path / folder, name)
    (tmp_path / folder / "link").symlink_to("a")
    (tmp_path / folder / "void").mkdir()
    done = await uploader.run("-r", "-j", "1", f"{folder}/", service.url)
    names = [f"{folder}/{name}" for name in ("a", "b", "link", "sub/c", "sub/deeper/d")]
    assert (done.status, [line.split()[1] for line in done.lines]) == (0, names)
    assert all((service.directory() / name).is_file() for name in names)

    here = Uploader(tmp_path / folder)
    done = await here.run("-r", "-j", "1", ".", service.url)
    assert done.lines[0].split()[1] == f"{folder}/a.1"


async def test_what_a_folder_cannot_give(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """What cannot be sent is named, and makes status 7: nothing is left out in silence, the rest is sent."""
    folder = fresh_name("")
    for name in ("good", ".hidden", ".git/config", "back\\slash"):
        write(tmp_path / folder, name)
    (tmp_path / folder / "circle").symlink_to(".")
    (tmp_path / folder / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / folder / "pipe")
    done = await uploader.run("-r", folder, service.url)
    assert (done.status, len(done.lines)) == (7, 1)
    for name in (".hidden", ".git", "back\\slash", "circle", "broken", "pipe"):
        assert f"{folder}/{name}: " in done.err
    assert ".git/config" not in done.err


async def test_folder_without_r(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """A folder is only sent where that was asked for."""
    (tmp_path / "folder").mkdir()
    done = await uploader.run("folder", service.url)
    assert (done.status, done.out) == (1, "")
    assert "-r" in done.err


async def test_many_at_once(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """Many files over several sockets: each has its line, and each is there with its own bytes."""
    folder = fresh_name("")
    data = {f"{folder}/{number}": content(number * 1000) for number in range(40)}
    for name, some in data.items():
        write(tmp_path, name, some)
    done = await uploader.run("-r", "-j", "8", folder, service.url)
    assert done.status == 0, done.err
    assert sorted(done.lines) == sorted(f"{digest(some)}  {name}" for name, some in data.items())
    assert all((service.directory() / name).read_bytes() == some for name, some in data.items())


@pytest.mark.parametrize("words", ["d/file d/file", "d/file ./d//file", "-r d d/", "-r d ./d ../{}/d"])
async def test_named_twice(service: Service, uploader: Uploader, tmp_path: Path, words: str) -> None:
    """A file, or a folder, that is named twice is sent once, however it is spelt."""
    write(tmp_path / "d", "file")
    done = await uploader.run("--again", *words.format(tmp_path.name).split(), service.url)
    assert (done.status, len(done.lines)) == (0, 1), done.err


@pytest.mark.parametrize("data", [b"", b"some bytes", content(3_000_000)])
async def test_standard_input(service: Service, uploader: Uploader, data: bytes) -> None:
    """`-` sends what comes in, under the name that was given."""
    name = fresh_name()
    done = await uploader.run("-", "--name", name, "--json", service.url, stdin=data)
    assert done.status == 0, done.err
    assert json.loads(done.out) == {"file": "-", "name": name, "size": len(data), "sha256": digest(data)}


async def test_standard_input_from_a_file(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """Standard input may also be a regular file, or /dev/null."""
    name, data = fresh_name(), content(3_000_000)
    with write(tmp_path, data=data).open("rb") as file:
        done = await uploader.end(await uploader.start("-", "--name", name, service.url, stdin=file.fileno()))
    assert done.lines == [f"{digest(data)}  {name}"]
    with Path(os.devnull).open("rb") as file:
        done = await uploader.end(await uploader.start("-", "--name", name, service.url, stdin=file.fileno()))
    assert done.lines[0].startswith(EMPTY)


async def test_slow_standard_input(service: Service, uploader: Uploader) -> None:
    """A pipe that pauses longer than the service waits, and than we have patience, loses nothing."""
    process = await uploader.start("-", "--name", fresh_name(), "--give-up", "1", service.url + "/idle")
    assert process.stdin is not None
    process.stdin.write(b"first")
    await process.stdin.drain()
    for _ in range(2):  # the socket is closed for idleness; the client is there again
        service.wait_for("upload.failed", failure="idle", offset=5)
        service.events.clear()
    done = await uploader.end(process, b"last")
    assert done.lines[0].startswith(digest(b"firstlast"))


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
async def test_what_is_stored_already(service: Service, uploader: Uploader, tmp_path: Path, size: int) -> None:
    """Run again, it sends nothing: it says so, prints the same receipt, and the status is 0."""
    file = write(tmp_path, data=content(size))
    first = await uploader.run(file, service.url)
    again = await uploader.run(file, service.url)
    assert (again.status, again.out) == (0, first.out)
    assert f"{file}: already stored" in again.err
    receipt = json.loads((await uploader.run("--json", "--quiet", file, service.url)).out)
    assert (receipt["name"], receipt["already"]) == (file.name, True)
    assert list(service.directory().glob(f"{file.stem}*")) == [service.directory() / file.name]


@pytest.mark.parametrize("first", [(), ("-r",)])
@pytest.mark.parametrize("second", [(), ("-r",)])
async def test_the_way_does_not_matter(
    service: Service, uploader: Uploader, tmp_path: Path, first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    """What was sent by itself is known again on a socket of many, and the reverse."""
    file = write(tmp_path)
    done = await uploader.run(*first, file, service.url)
    again = await uploader.run(*second, file, service.url)
    assert (again.out, "already stored" in again.err) == (done.out, True)


async def test_again(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """With --again what is stored already is a new upload, each time."""
    file = write(tmp_path)
    names = [(await uploader.run("--again", file, service.url)).out.split()[1] for _ in range(3)]
    assert names == [file.name, f"{file.stem}.1.bin", f"{file.stem}.2.bin"]


async def test_a_file_that_was_written_anew(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """A file with another time of change is another upload, also when its size is the same."""
    file = write(tmp_path)
    await uploader.run(file, service.url)
    os.utime(file, ns=(1, 1))
    done = await uploader.run(file, service.url)
    assert done.lines == [f"{digest(b'some bytes')}  {file.stem}.1.bin"]


async def test_what_looks_the_same(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """Other bytes under the same name, size and time are sent, and known again the next time."""
    file = write(tmp_path, data=b"one")
    os.utime(file, ns=(1, 1))
    await uploader.run(file, service.url)
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    done = await uploader.run(file, service.url)
    assert (done.status, done.lines) == (0, [f"{digest(b'two')}  {file.stem}.1.bin"])
    again = await uploader.run(file, service.url)
    assert (again.status, again.out) == (0, done.out)
    assert "already stored" in again.err


async def test_files_of_one_name(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """Files of the same name, size and time are so many uploads, whatever is in them; so in the next run."""
    name = fresh_name()
    files = [write(tmp_path / folder, name, data) for folder, data in (("a", b"1"), ("b", b"2"), ("c", b"1"))]
    for file in files:
        os.utime(file, ns=(1, 1))
    for _ in range(2):
        done = await uploader.run("-j", "1", *files, service.url)
        assert (done.status, len(done.lines)) == (0, 3)
    there = sorted(file.read_bytes() for file in service.directory().glob(f"{Path(name).stem}*"))
    assert there == [b"1", b"1", b"2"]


@pytest.mark.parametrize(
    ("at", "name", "status", "complaint"),
    [
        ("/upload", "..", 1, "name"),
        ("/nowhere", "", 1, "no uploads at"),
        ("/small", "", 6, ""),
    ],
)
async def test_refusals(
    service: Service, uploader: Uploader, tmp_path: Path, at: str, name: str, status: int, complaint: str
) -> None:
    """What the service will not have: its reason on standard error, and the status that says what can be done."""
    file = write(tmp_path, data=bytes(2 * 1024 * 1024))
    done = await uploader.run("--name", name or file.name, file, service.url + at)
    assert (done.status, done.out) == (status, ""), done.err
    assert complaint in done.err
    assert len(done.err.splitlines()) == 1
    assert uploader.remembered == []


async def test_too_large_without_a_promise(service: Service, uploader: Uploader) -> None:
    """A stream that passes the limit ends with status 6, too."""
    done = await uploader.run("-", "--name", fresh_name(), service.url + "/small", stdin=bytes(2_000_000))
    assert (done.status, done.out) == (6, "")


async def test_name_that_is_taken(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """Where names are not given twice, the second upload fails with status 1."""
    file = write(tmp_path)
    assert (await uploader.run(file, service.url + "/reject")).status == 0
    assert (await uploader.run("--again", file, service.url + "/reject")).status == 1


async def test_missing_file(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """A file that is not there: status 1 alone, 7 among others, which are sent."""
    file = write(tmp_path)
    done = await uploader.run("missing", service.url)
    assert done == Done(1, "", "jackfield upload: missing: No such file or directory\n")
    done = await uploader.run("missing", file, service.url)
    assert (done.status, len(done.lines)) == (7, 1)


async def test_bars_on_a_terminal(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """On a terminal there is a bar; standard output has the result and nothing else."""
    file = write(tmp_path, data=content(3_000_000))
    done, shown = await uploader.run_on_terminal(file, service.url)
    assert done.lines == [f"{digest(file.read_bytes())}  {file.name}"]
    assert re.search(rb"\d+%", shown)
    assert b"\r" in shown


async def test_reader_that_leaves(service: Service, uploader: Uploader, tmp_path: Path) -> None:
    """When nobody reads the results any more, the files are sent all the same, without a traceback."""
    names = [write(tmp_path).name for _ in range(5)]
    process = await uploader.start("-j", "1", *names, service.url)
    assert process.stdout is not None
    process.stdout._transport.close()  # type: ignore[attr-defined]
    done = await uploader.end(process)
    assert "Traceback" not in done.err
    assert all((service.directory() / name).is_file() for name in names)
