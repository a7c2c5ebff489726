"""What the files look like: prefix, accepted names, permissions, time of modification, whatever way they come."""

import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from jackfield.app.config import ConfigError, build
from tests.support.outsider import Outsider
from tests.support.receivers import Notebook
from tests.support.service import Service, configuration, running_service, upload

TOKEN = "a-token-of-the-clients-own-0123456789"
MTIME = "2001-09-09T01:46:40.123456789Z"
NANOSECONDS = 1_000_000_000_123_456_789
ALICE = {"X-Remote-User": "alice"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose proxy names the users, with a handler for each of these settings."""
    folder = tmp_path_factory.mktemp("service")
    book = Notebook(folder / "told")
    handlers = {
        "dated": upload("/dated", prefix="{user}/{date}/", on_stored={"command": book.command()}),
        "single": upload("/single", prefix="{id}"),
        "csv": upload("/csv", accept=["*.csv", "scans/*"], file_mode="0640", keep_mtime=False),
    }
    server = {"trusted_proxies": ["127.0.0.1"], "auth": {"proxy_user": "X-Remote-User"}}
    with running_service(folder, server=server, pingpong=None, upload=None, **handlers) as service:
        yield service


@pytest.fixture
async def client(running: Service) -> AsyncIterator[Outsider]:
    """A client of it."""
    async with Outsider(running) as outsider:
        yield outsider


async def create(client: Outsider, at: str, user: str = "alice", **fields: Any) -> tuple[int, dict[str, Any]]:
    """Ask for an upload; the status and the JSON."""
    headers = {"Content-Type": "application/json", "X-Remote-User": user}
    answer = await client.http("POST", at, json.dumps(fields).encode(), headers)
    return answer.status, json.loads(answer.body)


async def send(client: Outsider, url: str) -> dict[str, Any]:
    """Send four bytes; the receipt."""
    opened = await client.open(url)
    await opened.binary(b"data")
    return await opened.finish(b"data")


async def test_the_prefix_is_put_before_every_name(client: Outsider, running: Service) -> None:
    """User and day; the receipt has it, the event too, and a creation that is repeated finds the upload again."""
    status, made = await create(client, "/dated", name="in/a.bin", token=TOKEN, mtime=MTIME)
    assert (status, made["name"]) == (201, "in/a.bin")
    assert (await create(client, "/dated", name="in/a.bin", token=TOKEN))[0] == 200
    receipt = await send(client, made["url"])
    assert re.fullmatch(r"alice/\d{4}-\d\d-\d\d/in/a\.bin", receipt["name"])
    stored = running.directory("dated") / receipt["name"]
    assert stored.read_bytes() == b"data"
    assert stored.stat().st_mtime_ns == NANOSECONDS
    status, again = await create(client, "/dated", name="in/a.bin", token=TOKEN)
    assert (status, again["name"]) == (200, receipt["name"])
    (event,) = await Notebook(running.folder / "told").has(1)
    assert (event["data"]["user"], event["data"]["mtime"], event["data"]["path"]) == ("alice", MTIME, str(stored))
    for user in ("a/b", ".hidden", ".."):
        assert (await create(client, "/dated", user=user, name="a.bin"))[1]["code"] == "invalid_name", user


async def test_the_prefix_may_be_the_uploads_own(client: Outsider) -> None:
    """`{id}` is the beginning of the token's hash; so no two files are in one folder."""
    _, made = await create(client, "/single", name="a.bin", token=TOKEN)
    receipt = await send(client, made["url"])
    assert receipt["name"] == f"{hashlib.sha256(TOKEN.encode()).hexdigest()[:32]}/a.bin"


async def test_only_accepted_names_are_taken(client: Outsider, running: Service) -> None:
    """Compared whole, and in their case; refused on every way, and a socket of many goes on."""
    for name in ("a.txt", "a.CSV", "a.csv.txt", "in/scans/a"):
        status, problem = await create(client, "/csv", name=name)
        assert (status, problem["code"]) == (403, "refused"), name
    put = await client.http("PUT", "/csv/a.txt", b"data", ALICE)
    assert (put.status, put.problem()) == (403, "refused")
    opened = await client.unread("/csv", ALICE)
    await opened.json(type="create", name="a.txt")
    assert (await opened.message("error"))["code"] == "refused"
    await opened.json(type="create", name="scans/of/a.csv", mtime=MTIME)
    await opened.message("ready")
    await opened.binary(b"data")
    await opened.end()
    await opened.message("stored")
    found = (running.directory("csv") / "scans/of/a.csv").stat()
    assert found.st_mode & 0o7777 == 0o640
    assert found.st_mtime_ns != NANOSECONDS


async def test_a_time_of_modification_comes_by_each_way(client: Outsider, running: Service) -> None:
    """A creation on a socket, and Last-Modified of a PUT; what is no moment is refused."""
    opened = await client.unread("/single", ALICE)
    await opened.json(type="create", name="socket.bin", mtime=MTIME)
    await opened.message("ready")
    await opened.binary(b"data")
    await opened.end()
    receipt = await opened.message("stored")
    assert (running.directory("single") / receipt["name"]).stat().st_mtime_ns == NANOSECONDS
    date = {"Last-Modified": "Sun, 09 Sep 2001 01:46:40 GMT"}
    put = await client.http("PUT", "/single/put.bin", b"data", ALICE | date)
    name = put.body.decode().split(None, 1)[1].strip()
    assert (running.directory("single") / name).stat().st_mtime == 1_000_000_000
    refused = await client.http("PUT", "/single/put.bin", b"data", ALICE | {"Last-Modified": "yesterday"})
    assert (refused.status, refused.problem()) == (400, "bad_request")
    for wrong in (7, "yesterday", "2001-09-09"):
        status, problem = await create(client, "/single", name="a", mtime=wrong)
        assert (status, problem["code"]) == (400, "bad_request"), wrong


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"prefix": "{who}"}, "{who} is none of {user}, {date}, {name} and {id}"),
        ({"prefix": "../up"}, "begins with a full stop"),
        ({"prefix": "/abs"}, "empty part"),
        ({"file_mode": 416}, "octal digits"),
        ({"file_mode": "rw-r--r--"}, "octal digits"),
        ({"on_stored": {"command": ["a"], "url": "http://a/"}}, "not both"),
        ({"on_create": {}}, "expected a command or a url"),
        ({"on_stored": {"url": "ftp://a/"}}, "expected a URL"),
        ({"on_stored": {"command": []}}, "on_stored.command"),
        ({"on_stored": {"url": "http://a/", "secret_file": "missing"}}, "there is no file"),
    ],
)
def test_what_cannot_be_is_an_error(tmp_path: Path, options: dict[str, Any], problem: str) -> None:
    """With the path of the setting."""
    settings = configuration(pingpong=None, upload=upload(**options))
    with pytest.raises(ConfigError) as refusal:
        build(settings, tmp_path)
    assert f"handlers.upload.{next(iter(options))}" in str(refusal.value)
    assert problem in str(refusal.value)
