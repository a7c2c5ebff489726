"""Names: many that want one at once, strangers that take it meanwhile, and links and folders planted on the way."""

import asyncio
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faults import staged
from tests.support.outsider import STAGING, Outsider, UploadSocket, content, fresh_name

POLICIES = ["/upload", "/reject", "/replace"]
BODY = b"what is uploaded"
SECRET = b"somebody else's, and to stay as it is"

every_policy = pytest.mark.parametrize("at", POLICIES)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder that is none of our business, with a file in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_bytes(SECRET)
    yield folder
    assert (folder / "file").read_bytes() == SECRET
    assert os.listdir(folder) == ["file"]


async def _ready_to_end(outsider: Outsider, name: str, at: str, body: bytes = BODY) -> tuple[str, UploadSocket]:
    url = await outsider.create(name, at)
    opened = await outsider.open(url)
    await opened.binary(body)
    await opened.acked(len(body))
    return url, opened


async def _end(opened: UploadSocket) -> str:
    await opened.end()
    return await opened.outcome()


# --- at once -------------------------------------------------------------------------------------------


@every_policy
@pytest.mark.parametrize("count", [2, 8, 50])
async def test_many_finish_at_once_under_one_name(outsider: Outsider, at: str, count: int) -> None:
    """`rename`: each has a name of its own; `reject`: one has it; `replace`: one stays; all are whole all the time."""
    folder = fresh_name("")
    bodies = [content(20_000 + number) for number in range(count)]
    sockets = [(await _ready_to_end(outsider, f"{folder}/data.bin", at, body))[1] for body in bodies]
    done = asyncio.Event()
    seen = asyncio.create_task(_watch(outsider.directory(at) / folder, done))
    outcomes = await asyncio.gather(*(_end(opened) for opened in sockets))
    done.set()
    assert await seen <= set(bodies)
    files = {path.name: path.read_bytes() for path in (outsider.directory(at) / folder).iterdir()}
    if at == "/upload":
        assert outcomes == ["stored"] * count
        assert sorted(files) == sorted(["data.bin", *(f"data.{number}.bin" for number in range(1, count))])
        assert sorted(files.values()) == sorted(bodies)
    elif at == "/reject":
        assert sorted(outcomes) == sorted(["stored", *["name_taken"] * (count - 1)])
        assert files == {"data.bin": bodies[outcomes.index("stored")]}
    else:
        assert outcomes == ["stored"] * count
        assert list(files) == ["data.bin"]
        assert files["data.bin"] in bodies


async def _watch(folder: Path, done: asyncio.Event) -> set[bytes]:
    """Everything that could be read under any name there."""
    seen: set[bytes] = set()
    while not done.is_set():
        if folder.is_dir():
            seen.update(path.read_bytes() for path in folder.iterdir())
        await asyncio.sleep(0)
    return seen


# --- taken meanwhile -----------------------------------------------------------------------------------


@every_policy
async def test_a_file_that_somebody_else_has_put_there_meanwhile(outsider: Outsider, at: str) -> None:
    """It is passed by, respected, or replaced, as the policy says; it is never written to."""
    name = fresh_name()
    _, opened = await _ready_to_end(outsider, name, at)
    place = outsider.directory(at) / name
    place.write_bytes(SECRET)
    with place.open("rb") as theirs:
        outcome = await _end(opened)
        assert theirs.read() == SECRET
    assert outcome == ("name_taken" if at == "/reject" else "stored")
    assert place.read_bytes() == (BODY if at == "/replace" else SECRET)
    if at == "/upload":
        assert (place.with_name(name.replace(".bin", ".1.bin"))).read_bytes() == BODY


@every_policy
@pytest.mark.parametrize("target", ["file", "", "nothing"])
async def test_a_link_at_the_final_name_is_not_followed(
    outsider: Outsider, at: str, target: str, outside: Path
) -> None:
    """To a file, a folder or nowhere: it is a name that is taken, and what it points to stays as it is."""
    name = fresh_name()
    _, opened = await _ready_to_end(outsider, name, at)
    place = outsider.directory(at) / name
    place.symlink_to(outside / target)
    assert await _end(opened) == ("name_taken" if at == "/reject" else "stored")
    assert place.is_symlink() == (at != "/replace")
    if at == "/replace":
        assert place.read_bytes() == BODY


@every_policy
async def test_a_folder_at_the_final_name_stays(outsider: Outsider, at: str) -> None:
    """No policy puts a file in the place of a folder, empty or not; the upload stays, for when it is gone."""
    name = fresh_name()
    url, opened = await _ready_to_end(outsider, name, at)
    place = outsider.directory(at) / name
    place.mkdir()
    assert await _end(opened) == "name_taken"
    assert os.listdir(place) == []
    place.rmdir()
    again = await outsider.open(url)
    assert outsider.stored(await again.finish(BODY), at) == BODY


@every_policy
@pytest.mark.parametrize("planted", ["link", "dangling", "file"])
@pytest.mark.parametrize("depth", [1, 2])
async def test_a_parent_that_is_no_folder_leads_nowhere(
    outsider: Outsider, at: str, planted: str, depth: int, outside: Path
) -> None:
    """A link or a file where a folder of the name must be: `name_taken` at creation and at the end, nothing beyond."""
    folder = "/".join(fresh_name("") for _ in range(depth))
    _, opened = await _ready_to_end(outsider, f"{folder}/below/file", at)
    place = outsider.directory(at) / folder
    place.parent.mkdir(exist_ok=True)
    if planted == "file":
        place.write_bytes(SECRET)
    else:
        place.symlink_to(outside if planted == "link" else outside / "nothing")
    assert await _end(opened) == "name_taken"
    answer = await outsider.post_json({"name": f"{folder}/file"}, at)
    assert (answer.status, answer.problem()) == (409, "name_taken")
    if planted == "file":
        assert place.read_bytes() == SECRET


@every_policy
@pytest.mark.parametrize("kind", ["link", "part.new", "upload.new", "receipt.new", "receipt"])
async def test_links_at_staging_paths_are_not_followed(outsider: Outsider, at: str, kind: str, outside: Path) -> None:
    """Whatever name of staging is a link to another file, that file stays as it is, and the upload is stored."""
    url, opened = await _ready_to_end(outsider, fresh_name(), at)
    staged(outsider, url, kind).symlink_to(outside / "file")
    await opened.json(type="restart")
    await opened.message("ready")
    await opened.binary(BODY)
    assert outsider.stored(await opened.finish(BODY), at) == BODY


# --- names that look alike -----------------------------------------------------------------------------


async def test_names_that_differ_in_case_or_form_are_different(outsider: Outsider) -> None:
    """Case counts, and so does every character; one form of each is taken (NFC), the other is refused."""
    mark = fresh_name("")
    names = [f"{mark} {word}" for word in ("Data", "data", "DATA", "straße", "strasse", "ﬁn", "fin", "é", "е́", "K")]
    for name in names:
        receipt = await outsider.send_whole(name.encode(), name, "/reject")
        assert receipt["name"] == name
    assert [(outsider.directory("/reject") / name).read_bytes().decode() for name in names] == names
    for name in (f"{mark} é", f"{mark} \N{KELVIN SIGN}", f"{mark} \N{ANGSTROM SIGN}"):
        other = unicodedata.normalize("NFD", name) if "é" in name else name
        answer = await outsider.post_json({"name": other}, "/reject")
        assert (answer.status, answer.problem()) == (400, "invalid_name")


async def test_a_name_of_another_form_that_somebody_else_made_is_left_alone(outsider: Outsider) -> None:
    """A file whose name is the same text in NFD is another file, on a file system that tells them apart."""
    name = fresh_name(" é.bin")
    theirs = outsider.directory("/reject") / unicodedata.normalize("NFD", name)
    theirs.write_bytes(SECRET)
    if (outsider.directory("/reject") / name).exists():
        pytest.skip("this file system does not tell the forms apart")
    receipt = await outsider.send_whole(BODY, name, "/reject")
    assert outsider.stored(receipt, "/reject") == BODY
    assert theirs.read_bytes() == SECRET


@pytest.mark.parametrize("name", [STAGING, f"{STAGING}/lock", f"a/{STAGING}/b", f"{STAGING}/a.part", "a/.b"])
async def test_the_name_of_our_own_staging_is_refused(outsider: Outsider, name: str) -> None:
    """Nothing can be uploaded into staging, nor under a name that hides."""
    for answer in (await outsider.post_json({"name": name}), await outsider.post_plain(name.encode())):
        assert (answer.status, answer.problem()) == (400, "invalid_name")


async def test_names_like_those_in_staging_are_names_like_others(outsider: Outsider) -> None:
    """Staging is a folder of its own, so that `lock`, keys and suffixes of ours mean nothing outside of it."""
    folder, key = fresh_name(""), "0" * 64
    for name in (
        "lock",
        *(f"{key}.{kind}" for kind in ("part", "upload", "receipt", "receipts", "group", "link", "new")),
    ):
        receipt = await outsider.send_whole(name.encode(), f"{folder}/{name}")
        assert receipt["name"] == f"{folder}/{name}"
        assert outsider.stored(receipt) == name.encode()
