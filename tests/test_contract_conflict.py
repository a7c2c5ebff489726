"""The contract, "A name that is taken": rename, reject, replace, and what no policy can help."""

import asyncio
from pathlib import Path

import pytest

from tests.support.outsider import Outsider, UploadSocket, content, fresh_name
from tests.support.rawsocket import Closed

RENAMED = [
    ("data{}.xml", "data{}.1.xml", "data{}.2.xml"),
    ("data{}.tar.gz", "data{}.tar.1.gz", "data{}.tar.2.gz"),
    ("README{}", "README{}.1", "README{}.2"),
    ("data{}.1.xml", "data{}.1.1.xml", "data{}.1.2.xml"),
    ("é{}/ü.v.txt", "é{}/ü.v.1.txt", "é{}/ü.v.2.txt"),
    ("folder.d{}/plain", "folder.d{}/plain.1", "folder.d{}/plain.2"),
]


@pytest.mark.parametrize("pattern", RENAMED, ids=[row[0] for row in RENAMED])
async def test_a_taken_name_gets_a_number(outsider: Outsider, pattern: tuple[str, str, str]) -> None:
    """Under `rename` the number goes before the last suffix; the receipt has the name the file really has."""
    mark = fresh_name("")
    for wanted, body in zip(pattern, (b"one", b"two", b"three"), strict=True):
        receipt = await outsider.send_whole(body, pattern[0].format(mark))
        assert receipt["name"] == wanted.format(mark)
        assert outsider.stored(receipt) == body


@pytest.mark.parametrize(
    ("name", "renamed"),
    [
        ("é" * 125 + ".bin", "é" * 124 + ".1.bin"),
        ("x" * 255, "x" * 253 + ".1"),
        ("🙂" * 62 + ".txt.gz", "🙂" * 62 + ".t.1.gz"),
    ],
    ids=["two bytes", "no suffix", "four bytes"],
)
async def test_a_name_that_would_grow_too_long_is_shortened(outsider: Outsider, name: str, renamed: str) -> None:
    """A part of 255 bytes makes room for its number in its stem, and no character is cut in two."""
    folder = fresh_name("")
    await outsider.send_whole(b"one", f"{folder}/{name}")
    receipt = await outsider.send_whole(b"two", f"{folder}/{name}")
    assert len(receipt["name"].rpartition("/")[2].encode()) <= 255
    assert receipt["name"] == f"{folder}/{renamed}"
    assert outsider.stored(receipt) == b"two"


@pytest.mark.parametrize("at", ["/upload", "/reject"])
async def test_two_that_finish_at_once_never_overwrite_each_other(outsider: Outsider, at: str) -> None:
    """Of many uploads with one name that end together, all get a name of their own, or one gets it."""
    name, bodies = fresh_name(), [content(1000 + number) for number in range(12)]
    opened = [await outsider.open(await outsider.create(name, at)) for _ in bodies]
    for one, body in zip(opened, bodies, strict=True):
        await one.binary(body)

    async def finish(one: UploadSocket) -> str:
        await one.end()
        return await one.outcome()

    outcomes = await asyncio.gather(*(finish(one) for one in opened))
    stem = name.removesuffix(".bin")
    files = [path for path in outsider.directory(at).iterdir() if path.name.startswith(stem)]
    kept = [body for body, outcome in zip(bodies, outcomes, strict=True) if outcome == "stored"]
    assert sorted(path.read_bytes() for path in files) == sorted(kept)
    assert outcomes.count("name_taken") == (len(bodies) - 1 if at == "/reject" else 0)


async def test_a_taken_name_is_rejected_at_creation(outsider: Outsider) -> None:
    """Under `reject` creation is 409, by JSON and by plain text."""
    name = fresh_name()
    await outsider.send_whole(b"first", name, "/reject")
    for answer in (
        await outsider.post_json({"name": name}, "/reject"),
        await outsider.post_plain(name.encode(), "/reject"),
    ):
        assert (answer.status, answer.problem()) == (409, "name_taken")


async def test_a_name_taken_meanwhile_is_rejected_at_the_end(outsider: Outsider) -> None:
    """Open uploads reserve no name: the first to end gets it, the others close 4409 and change nothing."""
    name = fresh_name()
    late, plain = await outsider.create(name, "/reject"), await outsider.create_plain(name, "/reject")
    receipt = await outsider.send_whole(b"first", name, "/reject")
    opened = await outsider.open(late)
    await opened.binary(b"late")
    await opened.end()
    await opened.failed("name_taken", 4409)
    opened = await outsider.open(plain)
    await opened.binary(b"plain")
    await opened.close(1000)
    await opened.failed("name_taken", 4409)
    assert outsider.stored(receipt, "/reject") == b"first"


async def test_a_taken_name_is_replaced_atomically(outsider: Outsider) -> None:
    """Under `replace` whoever reads the name meanwhile sees one whole file or the other."""
    name, bodies = fresh_name(), [bytes([letter]) * 300_000 for letter in b"abc"]
    await outsider.send_whole(bodies[0], name, "/replace")
    done = asyncio.Event()
    seen = asyncio.create_task(_watch(outsider.directory("/replace") / name, done))
    for body in bodies[1:]:
        assert (await outsider.send_whole(body, name, "/replace"))["name"] == name
    done.set()
    assert await seen <= set(bodies)
    assert (outsider.directory("/replace") / name).read_bytes() == bodies[-1]


async def _watch(path: Path, done: asyncio.Event) -> set[bytes]:
    seen = set()
    while not done.is_set():
        seen.add(path.read_bytes())
        await asyncio.sleep(0)
    return seen


@pytest.mark.parametrize("at", ["/upload", "/reject", "/replace"])
async def test_a_file_where_a_folder_is_needed_is_taken(outsider: Outsider, at: str) -> None:
    """`a/b` when `a` is a file, and `a` when `a` is a folder, are `name_taken` under every policy."""
    file, folder = fresh_name(), fresh_name("")
    await outsider.send_whole(b"file", file, at)
    await outsider.send_whole(b"inside", f"{folder}/inside", at)
    for name in (f"{file}/below", f"{file}/far/below", folder):
        answer = await outsider.post_json({"name": name}, at)
        assert (answer.status, answer.problem()) == (409, "name_taken"), name
    assert (outsider.directory(at) / file).read_bytes() == b"file"


@pytest.mark.parametrize("at", ["/upload", "/reject", "/replace"])
async def test_a_folder_made_meanwhile_is_taken_at_the_end(outsider: Outsider, at: str) -> None:
    """What became impossible between creation and end is said at the end, and nothing is harmed."""
    file, folder = fresh_name(), fresh_name("")
    below, above = await outsider.create(f"{file}/below", at), await outsider.create(folder, at)
    await outsider.send_whole(b"file", file, at)
    await outsider.send_whole(b"inside", f"{folder}/inside", at)
    for url in (below, above):
        opened = await outsider.open(url)
        await opened.end()
        await opened.failed("name_taken", 4409)
    assert (outsider.directory(at) / file).read_bytes() == b"file"
    assert (outsider.directory(at) / folder / "inside").read_bytes() == b"inside"


async def test_a_long_reason_is_cut_between_characters(outsider: Outsider) -> None:
    """Whatever it is made from, a close reason has at most 123 bytes, and they are UTF-8."""
    folder = "/".join([fresh_name(""), *["日" * 80] * 3])
    late = await outsider.create_plain(f"{folder}/日本.bin", "/reject")
    await outsider.send_whole(b"first", f"{folder}/日本.bin", "/reject")
    opened = await outsider.open(late)
    await opened.close(1000)
    await opened.message("error")
    found = await opened.next()  # reading holds the frame to 125 bytes and the reason to UTF-8
    assert isinstance(found, Closed)
    assert found.code == 4409
