"""The JSON that docs/protocol.md shows is what the service says, key by key."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from jackfield.handlers.upload.wire import messages
from tests.conftest import ALLOWED_ORIGIN
from tests.support.documents import blocks, read
from tests.support.outsider import Outsider, content, fresh_name
from tests.support.rawsocket import Refusal

PAGE = "docs/protocol.md"


def _shown() -> Iterator[dict[str, Any]]:
    for block in blocks(PAGE, "json"):
        yield json.loads(block.text)


def _message(kind: str) -> dict[str, Any]:
    """The message of this type, as the page shows it."""
    return next(shown for shown in _shown() if shown.get("type") == kind)


def _body(*keys: str, without: str = "type") -> dict[str, Any]:
    """The first body with these keys and without that one, as the page shows it."""
    return next(shown for shown in _shown() if without not in shown and set(keys) <= shown.keys())


def assert_alike(shown: dict[str, Any], said: dict[str, Any]) -> None:
    """The same keys in the same order, and values of the same types (None stands for any)."""
    assert list(shown) == list(said)
    for key, value in said.items():
        assert value is None or type(value) is type(shown[key]), key


async def test_the_messages_of_an_upload_are_as_shown(outsider: Outsider) -> None:
    """`ready`, `ack`, `stored` and `error` have the keys of the page, and values of its types."""
    data = content(5000)
    opened = await outsider.open(await outsider.create(size=len(data)))
    await opened.binary(data)
    acked = await opened.acked(len(data))
    receipt = await opened.finish(data)
    failing = await outsider.open(await outsider.create(size=5))
    await failing.end()
    for said in (opened.ready, acked, receipt, await failing.failed("incomplete", 4400)):
        assert_alike(_message(said["type"]), said)


async def test_the_answers_about_an_upload_are_as_shown(outsider: Outsider) -> None:
    """Creating, asking before and asking after give the bodies of the page."""
    created = (await outsider.post_json({"name": "shown.bin", "size": 3, "sha256": None})).json()
    assert_alike(_body("token", "url"), created)
    assert_alike(_body("state", without="token"), await outsider.ask(created["url"]))
    opened = await outsider.open(created["url"])
    await opened.binary(b"abc")
    await opened.finish(b"abc")
    assert_alike(_body("state", "sha256"), await outsider.ask(created["url"]))


async def test_a_refusal_is_as_shown(outsider: Outsider) -> None:
    """The problem document of an unknown upload is the one on the page, word by word."""
    with pytest.raises(Refusal) as refusal:
        await outsider.connect("/upload/unknown")
    assert json.loads(refusal.value.body) == _body_of_problem()


def _body_of_problem() -> dict[str, Any]:
    return next(shown for shown in _shown() if shown.get("type") == "about:blank")


async def test_the_index_is_as_told(outsider: Outsider) -> None:
    """The index in JSON has the keys that the page names."""
    index = (await outsider.get("/")).json()
    assert list(index) == ["service", "version", "handlers"]
    assert list(index["handlers"][0]) == ["name", "path", "description"]
    assert (await outsider.get("/healthz")).json() == {"status": "ok"}
    assert (await outsider.get("/readyz")).json() == {"status": "ready", "not_ready": []}


async def test_pages_of_allowed_origins_may_read_what_the_page_names(outsider: Outsider) -> None:
    """An allowed origin's preflight is answered, and its pages may read every header that the page names."""
    asked = {"Origin": ALLOWED_ORIGIN, "Access-Control-Request-Method": "POST"}
    preflight = await outsider.http("OPTIONS", "/upload", headers=asked)
    assert (preflight.status, preflight.headers["Access-Control-Allow-Origin"]) == (204, ALLOWED_ORIGIN)
    headers = {"Origin": ALLOWED_ORIGIN, "Content-Type": "application/json"}
    created = await outsider.http("POST", "/upload", json.dumps({"name": fresh_name()}).encode(), headers)
    assert created.headers["Access-Control-Allow-Origin"] == ALLOWED_ORIGIN
    exposed = set(created.headers["Access-Control-Expose-Headers"].split(", "))
    assert exposed - set(re.findall(r"[\w-]+", read(PAGE))) == set()


def test_what_a_client_is_shown_to_say_is_understood() -> None:
    """The client's messages on the page are messages to the code."""
    said = _message("end") | {"sha256": "0" * 64}
    assert messages.parse(json.dumps(said)) == messages.End("0" * 64)
    assert messages.parse('{"type": "restart"}') == messages.Restart()
