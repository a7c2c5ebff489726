"""The contract, "Every path": plain HTTP, refusals, origins and the opening handshake."""

import json

import pytest

from tests.conftest import ALLOWED_ORIGIN
from tests.support.outsider import Outsider
from tests.support.rawsocket import RawSocket, Refusal

FOREIGN = "https://elsewhere.example"


@pytest.mark.parametrize("path", ["/nowhere", "/upload/a/b", "/pingpong/more", "/metrics2"])
async def test_an_unknown_path_is_not_found(outsider: Outsider, path: str) -> None:
    """A path nothing stands on is 404 with a problem document, plain or as an upgrade."""
    assert (await outsider.get(path)).problem() == "not_found"
    with pytest.raises(Refusal) as refusal:
        await outsider.connect(path)
    assert (refusal.value.status, refusal.value.code) == (404, "not_found")


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics"])
async def test_an_upgrade_beside_the_handlers_is_not_found(outsider: Outsider, path: str) -> None:
    """A WebSocket upgrade on a path that is no handler's gets 404, though a page stands there."""
    with pytest.raises(Refusal) as refusal:
        await outsider.connect(path)
    assert refusal.value.status == 404


@pytest.mark.parametrize("path", ["/pingpong", "/upload"])
@pytest.mark.parametrize("accept", [None, "*/*", "application/json"])
async def test_a_handlers_path_wants_an_upgrade(outsider: Outsider, path: str, accept: str | None) -> None:
    """A GET that does not name text/html is 426 and says which protocol to upgrade to."""
    answer = await outsider.http("GET", path, headers={"Accept": accept} if accept else {})
    assert (answer.status, answer.problem()) == (426, "upgrade_required")
    assert answer.headers["Upgrade"].lower() == "websocket"
    assert "upgrade" in answer.headers["Connection"].lower(), "RFC 9110, 7.8"


@pytest.mark.parametrize("path", ["/pingpong", "/upload", ""], ids=["pingpong", "upload", "an upload"])
async def test_a_handlers_page_is_html(outsider: Outsider, path: str) -> None:
    """A GET whose Accept names text/html gets the handler's page."""
    answer = await outsider.get(path or await outsider.create(), accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert b"<html" in answer.body.lower()


@pytest.mark.parametrize("path", ["/", "/index"])
async def test_the_index_says_what_runs_here(outsider: Outsider, path: str) -> None:
    """The index is HTML, JSON or plain text by Accept, and each names the handlers' paths."""
    kinds = {"text/html": "text/html", "application/json": "application/json", "text/plain": "text/plain"}
    for accept, kind in kinds.items():
        answer = await outsider.get(path, accept=accept)
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith(kind)
        assert b"/pingpong" in answer.body
        assert b"/upload" in answer.body
    json.loads((await outsider.get(path, accept="text/plain;q=0.2, application/json")).body)


async def test_the_probes_answer(outsider: Outsider) -> None:
    """Alive and ready are 200 while the service runs and does not drain."""
    assert (await outsider.get("/healthz")).status == 200
    assert (await outsider.get("/readyz")).status == 200


async def test_metrics_are_prometheus_text(outsider: Outsider) -> None:
    """The metrics are in the text format, typed."""
    answer = await outsider.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert b"\n# TYPE " in answer.body


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/pingpong", {"GET"}), ("POST", "/healthz", {"GET"}),
        ("PUT", "/upload", {"GET", "POST"}), ("DELETE", "/upload", {"GET", "POST"}),
        ("PURGE", "/upload/sometoken", {"GET", "HEAD", "DELETE", "PATCH"}),
    ],
)  # fmt: skip
async def test_another_method_is_not_allowed(outsider: Outsider, method: str, path: str, allowed: set[str]) -> None:
    """A method a path does not have is 405, and Allow names those it has."""
    answer = await outsider.http(method, path)
    assert (answer.status, answer.problem()) == (405, "method_not_allowed")
    assert allowed <= {word.strip() for word in answer.headers["Allow"].split(",")}


async def test_a_foreign_origin_reaches_no_handler(outsider: Outsider) -> None:
    """An Origin that is neither this host nor allowed is 403 for pages, creation, cancelling and sockets."""
    url = await outsider.create()
    for method, path in (
        ("GET", "/"),
        ("GET", "/pingpong"),
        ("POST", "/upload"),
        ("DELETE", url),
        ("GET", url),
    ):
        answer = await outsider.http(method, path, headers={"Origin": FOREIGN})
        assert (answer.status, answer.problem()) == (403, "forbidden_origin"), (method, path)
    assert (await outsider.ask(url))["state"] == "open"


@pytest.mark.parametrize("path", ["/pingpong", "/upload", "/nowhere"])
@pytest.mark.parametrize(
    "origin", [FOREIGN, "null", "http://127.0.0.1", "http://127.0.0.1:1", "https://app.example.org"]
)
async def test_a_foreign_origin_opens_no_socket(outsider: Outsider, path: str, origin: str) -> None:
    """Another host, another port and an opaque origin are all foreign."""
    with pytest.raises(Refusal) as refusal:
        await outsider.connect(path, {"Origin": origin})
    assert (refusal.value.status, refusal.value.code) == (403, "forbidden_origin")


async def test_this_host_and_allowed_origins_are_let_through(outsider: Outsider) -> None:
    """Host and port are compared, the scheme is not; `allowed_origins` adds others; no Origin is fine."""
    port = outsider.service.port
    ours: list[dict[str, str | None]] = [
        {"Origin": f"http://127.0.0.1:{port}"}, {"Origin": f"https://127.0.0.1:{port}"},
        {"Origin": "https://panel.example:8443", "Host": "panel.example:8443"},
        {"Origin": "http://panel.example", "Host": "panel.example"},
        {"Origin": ALLOWED_ORIGIN}, {},
    ]  # fmt: skip
    for headers in ours:
        assert await (await outsider.connect("/pingpong", headers)).next() == "ping"


async def test_compression_is_never_negotiated(outsider: Outsider) -> None:
    """An offer of permessage-deflate is passed over on every socket."""
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    for path in ("/pingpong", await outsider.create()):
        assert "sec-websocket-extensions" not in (await outsider.connect(path, offer)).headers


async def test_the_subprotocol_is_agreed_to_when_offered(outsider: Outsider) -> None:
    """`upload.v1` is echoed when it is among the offers, and nothing is when it is not."""
    url = await outsider.create()
    for offer, agreed in (
        ("upload.v1", "upload.v1"),
        ("other, upload.v1", "upload.v1"),
        ("other", None),
        (None, None),
    ):
        opened = await outsider.open(url, {"Sec-WebSocket-Protocol": offer})
        assert opened.headers.get("sec-websocket-protocol") == agreed


@pytest.mark.parametrize(
    "headers",
    [{"Sec-WebSocket-Version": "12"}, {"Sec-WebSocket-Version": None}, {"Sec-WebSocket-Key": None},
     {"Sec-WebSocket-Key": "dG9vIHNob3J0"}],
)  # fmt: skip
async def test_a_broken_handshake_is_refused(outsider: Outsider, headers: dict[str, str | None]) -> None:
    """Another version, no version and a missing or malformed key are refused with a problem document."""
    for path in ("/pingpong", await outsider.create()):
        with pytest.raises(Refusal) as refusal:
            await outsider.connect(path, headers)
        assert refusal.value.status in (400, 426)
        assert refusal.value.code


async def test_another_version_is_told_ours(outsider: Outsider) -> None:
    """The answer to an unknown version names version 13 (RFC 6455, 4.4)."""
    with pytest.raises(Refusal) as refusal:
        await outsider.connect("/pingpong", {"Sec-WebSocket-Version": "12"})
    assert refusal.value.headers["sec-websocket-version"] == "13"


async def test_a_request_that_is_not_http_is_refused(outsider: Outsider) -> None:
    """Garbage instead of a request is answered 400 or dropped, and the service lives on."""
    opened: RawSocket = await outsider.tcp()
    await opened.send(b"\x16\x03\x01\x02\x00garbage\r\n\r\n")
    await opened.ended()
    assert (await outsider.get("/healthz")).status == 200
