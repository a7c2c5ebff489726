"""Pages of allowed origins, as their browsers ask."""

from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from jackfield.app.config import build
from jackfield.app.service import create_app

PAGE = "https://pages.example"


async def _client(aiohttp_client: AiohttpClient) -> TestClient[web.Request, web.Application]:
    return await aiohttp_client(create_app(build({"server": {"allowed_origins": [PAGE]}}, Path())))


async def test_a_preflight_of_an_allowed_origin_is_answered(aiohttp_client: AiohttpClient) -> None:
    """A browser asks first whether the page may send JSON, and is told that it may."""
    client = await _client(aiohttp_client)
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    answer = await client.options("/healthz", headers=asked)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "Content-Type" in answer.headers["Access-Control-Allow-Headers"]


async def test_the_page_of_an_allowed_origin_may_read_the_answer(aiohttp_client: AiohttpClient) -> None:
    """Answers and failures alike name the origin, and the headers that a page may read."""
    client = await _client(aiohttp_client)
    for path, status in (("/healthz", 200), ("/nowhere", 404)):
        answer = await client.get(path, headers={"Origin": PAGE})
        assert answer.status == status
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert "Upload-Offset" in answer.headers["Access-Control-Expose-Headers"]
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
