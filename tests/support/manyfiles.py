"""A socket on `/upload` as an outsider speaks on it: requests without waiting, answers in order."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.outsider import Outsider, UploadSocket, digest
from tests.support.rawsocket import Opcode, frame, header


def text(**members: Any) -> bytes:
    """One JSON object as a text message in one frame."""
    return frame(Opcode.TEXT, json.dumps(members).encode())


def binary(data: bytes) -> bytes:
    """One binary message in one frame, under a mask that costs nothing."""
    return header(Opcode.BINARY, len(data), key=bytes(4)) + data


def file(name: str, data: bytes, **promises: Any) -> bytes:
    """A whole file as one client sends it that waits for nothing: `create`, the bytes, `end`."""
    return text(type="create", name=name, **promises) + (binary(data) if data else b"") + text(type="end")


async def many(outsider: Outsider, at: str = "/upload", *, receive_buffer: int = 0) -> UploadSocket:
    """A socket for many files."""
    return await outsider.unread(at, receive_buffer=receive_buffer)


async def begin(opened: UploadSocket, name: str, **promises: Any) -> dict[str, Any]:
    """`create`, and its `ready`."""
    await opened.json(type="create", name=name, **promises)
    return await opened.message("ready")


async def resume(opened: UploadSocket, token: str) -> dict[str, Any]:
    """`resume`, and its `ready`."""
    await opened.json(type="resume", token=token)
    return await opened.message("ready")


async def send_file(opened: UploadSocket, name: str, data: bytes) -> dict[str, Any]:
    """One file from `create` to its receipt, waiting for each answer."""
    ready = await begin(opened, name)
    await opened.send(binary(data) + text(type="end"))
    stored = await opened.message("stored")
    assert stored == {
        "type": "stored", "token": ready["token"], "name": name, "size": len(data), "sha256": digest(data),
    }  # fmt: skip
    return stored


async def answers(opened: UploadSocket, count: int, deadline: float = 30) -> list[dict[str, Any]]:
    """The next `count` answers, `stored` or `error`; each `stored` comes after the `ready` of its own token."""
    found: list[dict[str, Any]] = []
    ready: list[str] = []
    while len(found) < count:
        said = await opened.said(deadline)
        if said["type"] == "ready":
            ready.append(said["token"])
        elif said["type"] != "ack":
            assert said["type"] in ("stored", "error"), said
            assert said["type"] == "error" or said["token"] == ready[-1], "answers of two uploads are mixed"
            found.append(said)
    return found


async def error(opened: UploadSocket, code: str, token: str | None = None) -> dict[str, Any]:
    """The error that must come next, but for acks: its word, its status, and whose it is."""
    found = await opened.message("error")
    assert found["code"] == code, found
    assert isinstance(found["status"], int)
    assert isinstance(found["detail"], str)
    if token is not None:
        assert found["token"] == token
    return found


def assert_stored(outsider: Outsider, found: Sequence[Mapping[str, Any]], files: Mapping[str, bytes]) -> None:
    """The answers are the receipts of these files, in order, and each file stands there whole."""
    assert [answer["type"] for answer in found] == ["stored"] * len(files), found
    assert [answer["name"] for answer in found] == list(files)
    for answer, data in zip(found, files.values(), strict=True):
        assert (answer["size"], answer["sha256"]) == (len(data), digest(data))
        assert outsider.stored(answer) == data
