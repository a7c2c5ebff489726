"""Small files of which all is here when their `create` is read: nobody can tell the short way from the long one."""

import asyncio
import gc
import json
from pathlib import Path
from typing import Any

import pytest

from jackfield.handlers.upload.sockets.many import ManySocket
from jackfield.handlers.upload.store.small import Grouping
from jackfield.handlers.upload.uploads.session import Session
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire.messages import End
from jackfield.handlers.upload.wire.one import Finish
from jackfield.testing import JackfieldServer, RunningService
from tests.support.manyfiles import answers, binary, file, text
from tests.support.outsider import UploadSocket, content, digest
from tests.support.rawsocket import Closed
from tests.support.service import upload

DATA = content(50)
END = text(type="end")
WRONG = digest(b"something else")
STORIES: dict[str, tuple[dict[str, Any], bytes]] = {
    "promised": ({"size": 50}, binary(DATA) + END),
    "not promised": ({}, binary(DATA) + END),
    "in two messages": ({"size": 50}, binary(DATA[:20]) + binary(DATA[20:]) + END),
    "empty": ({"size": 0}, END),
    "empty, not promised": ({}, END),
    "an empty message": ({"size": 0}, binary(b"") + END),
    "with its digest": ({"size": 50, "sha256": digest(DATA)}, binary(DATA) + text(type="end", sha256=digest(DATA))),
    "another digest was promised": ({"size": 50, "sha256": WRONG}, binary(DATA) + END),
    "another digest at the end": ({"size": 50}, binary(DATA) + text(type="end", sha256=WRONG)),
    "too few bytes": ({"size": 51}, binary(DATA) + END),
    "too many bytes": ({"size": 49}, binary(DATA) + END),
    "bytes where none were promised": ({"size": 0}, binary(DATA) + END),
    "more than is allowed": ({}, binary(content(101)) + END),
    "more than is allowed, promised": ({"size": 101}, binary(content(101)) + END),
    "no end": ({"size": 50}, binary(DATA)),
    "no bytes and no end": ({"size": 50}, b""),
    "others behind it that have no end either": ({"size": 50}, binary(DATA) + text(type="create", name="b") * 5),
    "begun anew": ({"size": 50}, binary(DATA) + text(type="restart") + binary(DATA) + END),
    "bytes behind the end": ({"size": 50}, binary(DATA) + END + binary(DATA)),
    "two ends": ({"size": 50}, binary(DATA) + END + END),
    "rubbish in the place of the end": ({"size": 50}, binary(DATA) + text(type="fin")),
    "rubbish in the place of the bytes": ({}, text(type="fin")),
    "a digest that is none": ({"size": 50}, binary(DATA) + text(type="end", sha256="x")),
}
WHOLE = {
    "promised", "not promised", "in two messages", "empty", "empty, not promised", "an empty message",
    "with its digest", "another digest was promised", "another digest at the end", "bytes behind the end", "two ends",
}  # fmt: skip


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was taken by the short way."""
    found: list[bytes] = []
    fill = Session.fill

    async def noticed(self: Session, data: bytes, end: End) -> Finish:
        found.append(data)
        return await fill(self, data, end)

    monkeypatch.setattr(Session, "fill", noticed)
    return found


@pytest.fixture
async def service(jackfield_server: JackfieldServer) -> RunningService:
    """One that allows little."""
    return await jackfield_server({"upload": upload(max_size=100, on_conflict="reject")}, shutdown_timeout="20s")


async def tell(opened: UploadSocket, name: str, promises: dict[str, Any], rest: bytes, *, waiting: bool) -> list[str]:
    """Tell a story, and one file behind it; what is answered until that is stored, or the socket is closed."""
    create, last = text(type="create", name=name, **promises), file(f"{name} last", b"last", size=4)
    said: list[str] = []
    if waiting:
        await opened.send(create)
        said.append(await _next(opened))
        await opened.send(rest + last)
    else:
        await opened.send(create + rest + last)
    while not said or not said[-1].startswith((f"stored {name} last", "closed")):
        said.append(await _next(opened))
    return [answer.replace(name, "NAME") for answer in said]


async def _next(opened: UploadSocket) -> str:
    while not isinstance(said := await opened.next(), Closed):
        answer = json.loads(said)
        if answer["type"] != "ack":
            return " ".join(str(answer[key]) for key in ("type", "code", "name", "offset", "size") if key in answer)
    return f"closed {said.code}"


@pytest.mark.parametrize("story", STORIES)
async def test_the_answers_are_the_same(service: RunningService, filled: list[bytes], story: str) -> None:
    """Sent in one go, or with the answer to `create` waited for: the same texts, the same files, the same closes."""
    promises, rest = STORIES[story]
    told = {}
    for waiting in (False, True):
        opened = await (await UploadSocket.connect(service.port)).upgrade("/upload")
        filled.clear()
        told[waiting] = await tell(opened, f"file-{waiting}", promises, rest, waiting=waiting)
        assert (DATA in filled or b"" in filled) == (story in WHOLE and not waiting)
        await opened.dispose()
    assert told[False] == told[True]


async def test_without_memory_it_goes_to_disk(
    service: RunningService, filled: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While others fill the memory that small files share, one that is here whole is stored all the same."""
    monkeypatch.setattr(Grouping, "spare", property(lambda _: 0, lambda *_: None), raising=False)
    opened = await (await UploadSocket.connect(service.port)).upgrade("/upload")
    await opened.send(file("crowded", DATA, size=50) + file("other", DATA, size=50))
    assert [answer["name"] for answer in await answers(opened, 2)] == ["crowded", "other"]
    assert filled == [DATA, DATA]
    await opened.dispose()


async def test_a_taken_name_leaves_it_open(service: RunningService, tmp_path: Path, filled: list[bytes]) -> None:
    """The bytes are kept, durable, and can be stored when the name is free."""
    taken = tmp_path / "upload" / "taken"
    taken.write_bytes(b"first")
    opened = await (await UploadSocket.connect(service.port)).upgrade("/upload")
    await opened.send(file("taken", DATA, size=50) + file("other", DATA, size=50))
    token = (await opened.message("ready"))["token"]
    failed, other = await answers(opened, 2)
    assert (failed["code"], failed["token"], other["name"]) == ("name_taken", token, "other")
    assert filled == [DATA, DATA]
    taken.unlink()
    await opened.json(type="resume", token=token)
    ready = await opened.message("ready")
    assert (ready["offset"], ready["sha256"]) == (50, digest(DATA))
    await opened.send(END)
    assert (await opened.message("stored"))["name"] == "taken"
    assert taken.read_bytes() == DATA
    await opened.dispose()


async def test_a_digest_that_differs_leaves_it_open_at_its_beginning(service: RunningService) -> None:
    """Nothing is published, and the same upload can be sent anew."""
    opened = await (await UploadSocket.connect(service.port)).upgrade("/upload")
    await opened.send(file("a", DATA, size=50, sha256=WRONG))
    token = (await opened.message("ready"))["token"]
    assert (await opened.message("error"))["code"] == "digest_mismatch"
    await opened.json(type="resume", token=token)
    ready = await opened.message("ready")
    assert (ready["offset"], ready["size"]) == (0, 50)
    await opened.dispose()


async def test_many_at_once_leave_their_turn_to_others(
    service: RunningService, filled: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of hundreds that are there in one go no more than a few are taken before the loop does something else."""
    row, longest = 0, 0
    store = ManySocket._store

    async def counted(self: ManySocket, *arguments: Any) -> None:
        nonlocal row
        row += 1
        await store(self, *arguments)

    async def others() -> None:
        nonlocal row, longest
        while True:
            longest, row = max(longest, row), 0
            await asyncio.sleep(0)

    monkeypatch.setattr(ManySocket, "_store", counted)
    opened = await (await UploadSocket.connect(service.port)).upgrade("/upload")
    meanwhile = asyncio.create_task(others())
    await opened.send(b"".join(file(f"{number}", b"", size=0) for number in range(300)))
    assert len(await answers(opened, 300)) == 300
    meanwhile.cancel()
    assert len(filled) > 200
    assert 1 <= longest <= 17
    await opened.dispose()


async def test_what_is_stored_is_not_held_in_memory(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing points in a circle: without the collector of garbage they are gone at once."""
    alive = 0
    made = OpenUpload.__init__

    def born(self: OpenUpload, *arguments: Any) -> None:
        nonlocal alive
        alive += 1
        made(self, *arguments)

    def died(_: OpenUpload) -> None:
        nonlocal alive
        alive -= 1

    monkeypatch.setattr(OpenUpload, "__init__", born)
    monkeypatch.setattr(OpenUpload, "__del__", died, raising=False)
    opened = await (await UploadSocket.connect(service.port)).upgrade("/upload")
    gc.disable()
    try:
        await opened.send(b"".join(file(f"{number}", DATA, size=50) for number in range(200)))
        assert len(await answers(opened, 200)) == 200
        await asyncio.sleep(0.01)
        assert alive == 0
    finally:
        gc.enable()
    await opened.dispose()
