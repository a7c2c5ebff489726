"""Pages of allowed origins, as their browsers ask."""

from collections.abc import Iterable
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient
from structlog.testing import capture_logs

from jackfield.app.config import build
from jackfield.app.handler import Connection, Handler
from jackfield.app.service import create_app

PAGE = "https://pages.example"


class Rooms(Handler):
    """A handler with a route and headers of its own."""

    request_headers = ("X-Door",)
    exposed_headers = ("X-Room",)

    def routes(self) -> Iterable[web.RouteDef]:
        """One that nobody asks."""
        return [web.patch("/door", self.get)]

    async def serve(self, connection: Connection) -> None:
        """Nobody comes."""


async def _client(aiohttp_client: AiohttpClient) -> TestClient[web.Request, web.Application]:
    rooms = {"use": f"{__name__}:Rooms", "path": "/rooms"}
    settings = build({"server": {"allowed_origins": [PAGE]}, "handlers": {"rooms": rooms}}, Path())
    return await aiohttp_client(create_app(settings))


async def test_a_preflight_of_an_allowed_origin_is_answered(aiohttp_client: AiohttpClient) -> None:
    """A browser asks first: it is told the methods of all routes, and the headers that the handlers name."""
    client = await _client(aiohttp_client)
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    answer = await client.options("/healthz", headers=asked)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, PATCH"
    assert answer.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type, X-Door"


async def test_the_page_of_an_allowed_origin_may_read_the_answer(aiohttp_client: AiohttpClient) -> None:
    """Answers and failures alike name the origin, and the headers that a page may read."""
    client = await _client(aiohttp_client)
    for path, status in (("/healthz", 200), ("/nowhere", 404)):
        answer = await client.get(path, headers={"Origin": PAGE})
        assert answer.status == status
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert answer.headers["Access-Control-Expose-Headers"] == "Location, Retry-After, X-Room"
        assert "Origin" in answer.headers.getall("Vary")


async def test_other_origins_are_told_nothing(aiohttp_client: AiohttpClient) -> None:
    """An origin that is not allowed gets 403, a preflight too, and no header that lets its page read anything."""
    client = await _client(aiohttp_client)
    asked = {"Origin": "https://other.example", "Access-Control-Request-Method": "POST"}
    for answer in (await client.options("/healthz", headers=asked), await client.get("/healthz", headers=asked)):
        assert answer.status == 403
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_without_an_origin_nothing_is_added(aiohttp_client: AiohttpClient) -> None:
    """Programs that are no browser see no CORS."""
    client = await _client(aiohttp_client)
    assert "Access-Control-Allow-Origin" not in (await client.get("/healthz")).headers


async def test_one_foreign_origin_beside_an_allowed_one_is_refused(aiohttp_client: AiohttpClient) -> None:
    """No browser sends two: whichever comes first, nobody is let in by the other."""
    client = await _client(aiohttp_client)
    own = f"http://{client.host}:{client.port}"
    for two in ((PAGE, "https://other.example"), ("https://other.example", PAGE), (own, PAGE), (own, own)):
        answer = await client.get("/healthz", headers=[("Origin", origin) for origin in two])
        assert (answer.status, (await answer.json())["code"]) == (403, "forbidden_origin")


async def test_a_refused_origin_is_told_how_to_be_let_in(aiohttp_client: AiohttpClient) -> None:
    """Behind a proxy that changes `Host` the service's own page is foreign: both values and both remedies are said,
    and the log has them once."""
    client = await _client(aiohttp_client)
    asked = {"Origin": "https://files.example", "Host": "127.0.0.1:8080"}
    with capture_logs() as log:
        for _ in range(3):
            detail = (await (await client.get("/healthz", headers=asked)).json())["detail"]
            for words in (*asked.values(), "Host", "server.allowed_origins"):
                assert words in detail
    (line,) = [line for line in log if line["event"] == "origin.refused"]
    assert line["log_level"] == "warning"
    assert (line["origin"], line["host"]) == tuple(asked.values())


async def test_made_up_origins_do_not_fill_the_log(aiohttp_client: AiohttpClient) -> None:
    """Anybody may name any origin, of any length: a hundred are logged, each cut."""
    client = await _client(aiohttp_client)
    with capture_logs() as log:
        for number in range(150):
            await client.get("/healthz", headers={"Origin": f"https://{number}{'x' * 1000}.example"})
    refused = [line for line in log if line["event"] == "origin.refused"]
    assert len(refused) == 100
    assert max(len(line["origin"]) for line in refused) == 100
