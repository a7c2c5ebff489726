"""Who is let in where there are tokens, or a proxy that names users: over real sockets, by every way of saying it."""

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from jackfield.app.auth import tokens
from jackfield.app.auth.tokens import Token
from jackfield.app.errors import CannotStart
from jackfield.app.handler import Connection, Handler
from jackfield.app.service import reload
from jackfield.testing import JackfieldServer, RunningService
from tests.support.service import upload

SECRET, OTHER, OLD = "s3cret-of-alice", "s3cret-of-bob", "s3cret-that-expired"
BEARER = {"Authorization": f"Bearer {SECRET}"}
CODED = base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("=")


class Named(Handler):
    """Says who has come, by HTTP and on a socket."""

    async def serve(self, connection: Connection) -> None:
        """A name, or an empty text."""
        await connection.send(connection.user or "")

    def routes(self) -> Iterable[web.RouteDef]:
        """The same by POST."""
        return [web.post("", self._post)]

    async def _post(self, request: web.Request) -> web.Response:
        return web.json_response(request["user"])


class Public(Named):
    """For everybody."""

    public = True


SECTIONS = {
    "named": {"use": f"{__name__}:Named", "path": "/named"},
    "public": {"use": f"{__name__}:Public", "path": "/public"},
    "pingpong": {"use": "pingpong", "path": "/pingpong"},
    "upload": upload(),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Alice may use everything, Bob the handler `named` alone, and one has expired."""
    known = [
        Token(name="alice", sha256=tokens.hash_secret(SECRET)),
        Token(name="bob", sha256=tokens.hash_secret(OTHER), handlers=("named",)),
        Token(name="old", sha256=tokens.hash_secret(OLD), expires="2020-01-01T00:00:00Z"),
    ]
    tokens.write(tmp_path / "tokens.yaml", known)
    return tmp_path / "tokens.yaml"


@pytest.fixture
async def gated(file: Path, jackfield_server: JackfieldServer) -> RunningService:
    """A service with that file."""
    return await jackfield_server(SECTIONS, auth={"tokens": str(file)})


async def post(service: RunningService, path: str, headers: Mapping[str, str], **options: Any) -> tuple[int, Any]:
    """Status and JSON of a POST."""
    async with service.session.post(service.url + path, headers=headers, **options) as answer:
        return answer.status, await answer.json(content_type=None)


def basic(secret: str) -> dict[str, str]:
    """As `https://name:secret@host` makes it."""
    return {"Authorization": aiohttp.encode_basic_auth("whoever", secret)}


@pytest.mark.parametrize("headers", [BEARER, basic(SECRET)])
async def test_a_token_opens_every_handler_and_names_its_user(gated: RunningService, headers: dict[str, str]) -> None:
    """By Bearer and by Basic, for HTTP and for sockets; each line of the log says who it was."""
    with capture_logs(processors=[]) as lines:
        assert await post(gated, "/named", headers) == (200, "alice")
        async with gated.ws_connect("/named", headers=headers) as socket:
            assert await socket.receive_str(timeout=5) == "alice"
    assert lines
    status, made = await post(gated, "/upload", headers, json={"name": "a"})
    assert status == 201
    async with gated.session.get(gated.url + made["url"]) as answer:  # its URL is the key, and needs nothing else
        assert answer.status == 200
    async with gated.ws_connect(made["url"]) as socket:
        assert (await socket.receive_json(timeout=5))["type"] == "ready"
    async with gated.session.delete(gated.url + made["url"]) as answer:
        assert answer.status == 204


async def test_a_browsers_socket_says_it_by_a_subprotocol(gated: RunningService) -> None:
    """`bearer` is echoed, the secret never."""
    async with gated.ws_connect("/named", protocols=("bearer", f"bearer.{CODED}")) as socket:
        assert socket.protocol == "bearer"
        assert await socket.receive_str(timeout=5) == "alice"


@pytest.mark.parametrize("path", ["/named", "/upload", "/pingpong"])
@pytest.mark.parametrize("secret", [None, "wrong", OLD, SECRET[:-1]])
async def test_nobody_else_comes_in(gated: RunningService, path: str, secret: str | None) -> None:
    """None, a wrong one and one that has expired: 401 with a challenge, before the upgrade too."""
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await gated.session.ws_connect(gated.url + path, headers=headers)
    assert refused.value.status == 401
    async with gated.session.get(gated.url + path, headers=headers) as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (401, "unauthorized")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        assert ("invalid_token" in answer.headers["WWW-Authenticate"]) is (secret is not None)


async def test_a_token_for_another_handler_is_forbidden(gated: RunningService) -> None:
    """Bob's opens one handler, and neither the others nor the metrics."""
    headers = {"Authorization": f"Bearer {OTHER}"}
    assert await post(gated, "/named", headers) == (200, "bob")
    status, problem = await post(gated, "/upload", headers, json={"name": "a"})
    assert (status, problem["code"]) == (403, "forbidden")
    async with gated.session.get(f"{gated.url}/metrics", headers=headers) as answer:
        assert answer.status == 403


async def test_what_needs_no_token(gated: RunningService) -> None:
    """Pages, their files, the index, the probes, and handlers that say so; metrics need one."""
    html = {"Accept": "text/html"}
    for path, headers, status in (
        ("/upload", html, 200), ("/pingpong", html, 200), ("/", {}, 200), ("/healthz", {}, 200), ("/readyz", {}, 200),
        ("/assets/app/style.css", {}, 200), ("/metrics", {}, 401), ("/metrics", BEARER, 200), ("/nowhere", {}, 404),
    ):  # fmt: skip
        async with gated.session.get(gated.url + path, headers=headers) as answer:
            assert (path, answer.status) == (path, status)
    assert await post(gated, "/public", {}) == (200, None)
    assert await post(gated, "/public", BEARER) == (200, "alice")


async def test_the_file_is_read_again(gated: RunningService, file: Path) -> None:
    """A token that is taken out opens nothing more, what runs goes on; a broken file changes nothing."""
    async with gated.ws_connect("/pingpong", headers=BEARER) as socket:
        assert await socket.receive_str(timeout=5) == "ping"
        file.write_text("- {name: alice", encoding="utf-8")
        with capture_logs() as lines:
            await reload(gated.app)
        assert [line["event"] for line in lines] == ["tokens.refused"]
        assert (await post(gated, "/named", BEARER))[0] == 200
        tokens.write(file, [Token(name="eve", sha256=tokens.hash_secret(OTHER))])
        with capture_logs() as lines:
            await reload(gated.app)
            await reload(gated.app)
        assert [(line["event"], line["count"]) for line in lines] == [("tokens.read", 1)]
        assert (await post(gated, "/named", BEARER))[0] == 401
        assert await post(gated, "/named", {"Authorization": f"Bearer {OTHER}"}) == (200, "eve")
        await socket.send_str("pong")
        assert await socket.receive_str(timeout=5) == "ping"


async def test_a_file_that_cannot_be_used_ends_the_start(file: Path, jackfield_server: JackfieldServer) -> None:
    """One that all may read above all."""
    file.chmod(0o644)
    with pytest.raises(CannotStart, match="may be read by everybody"):
        await jackfield_server(SECTIONS, auth={"tokens": str(file)})


@pytest.mark.parametrize(("trusted", "status"), [(["127.0.0.1"], 200), (["192.0.2.0/24"], 401), ([], 401)])
async def test_a_proxy_that_is_trusted_names_the_user(
    jackfield_server: JackfieldServer, trusted: list[str], status: int
) -> None:
    """Its header is believed from nobody else, and whoever it does not name needs a token."""
    auth = {"proxy_user": "X-Remote-User"}
    service = await jackfield_server(SECTIONS, auth=auth, trusted_proxies=trusted)
    answered, user = await post(service, "/named", {"X-Remote-User": "carol"})
    assert answered == status
    assert status != 200 or user == "carol"
    for headers in ({}, {"X-Remote-User": ""}, {"X-Remote-User": "a" * 201}):
        assert (await post(service, "/named", headers))[0] == 401


async def test_without_tokens_everybody_is_nobody(jackfield_server: JackfieldServer) -> None:
    """A secret that nobody asks for names nobody."""
    service = await jackfield_server(SECTIONS)
    assert await post(service, "/named", BEARER) == (200, None)
    async with service.ws_connect("/named", protocols=("bearer", f"bearer.{CODED}")) as socket:
        assert await socket.receive_str(timeout=5) == ""
