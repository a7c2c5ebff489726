"""A reverse proxy that lets no WebSocket through: it collects each request, and passes it on without `Upgrade`."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import aiohttp
from aiohttp import web
from yarl import URL

from tests.support.loopback import serving

_HOP_BY_HOP = {"connection", "upgrade", "keep-alive", "transfer-encoding", "content-length", "expect"}


class Stripping:
    """`most` is how many bytes a request may have, `requests` what came: method and path."""

    def __init__(self, target: str) -> None:
        self.url = ""
        self.most = 2**30
        self.brought = 0  # bytes of all PATCHes
        self.requests: list[tuple[str, str]] = []
        self.lost: set[int] = set()  # of the PATCHes, by their numbers: those whose answer is lost
        self.refusal = 0  # the status with which an upgrade is refused; 0: it is stripped
        self._target = URL(target)
        self._session: aiohttp.ClientSession | None = None

    async def pass_on(self, request: web.Request) -> web.Response:
        """One request and its answer."""
        self.requests.append((request.method, request.path))
        if self.refusal and "Upgrade" in request.headers:
            return web.Response(status=self.refusal, text="<h1>No</h1>", content_type="text/html")
        body = await request.read()
        self.brought += len(body) if request.method == "PATCH" else 0
        if len(body) > self.most:
            return web.Response(status=413, text="<h1>Too large</h1>", content_type="text/html")
        answer = await self._ask(request, body)
        if request.method == "PATCH" and self.count("PATCH") in self.lost:
            assert request.transport is not None
            request.transport.abort()
        return answer

    async def _ask(self, request: web.Request, body: bytes) -> web.Response:
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        target = self._target.join(URL(request.raw_path, encoded=True))
        async with self._session.request(
            request.method, target, data=io.BytesIO(body) if body else None, headers=headers
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    def count(self, method: str) -> int:
        """How many requests by this method have come."""
        return sum(1 for found, _ in self.requests if found == method)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Stripping"]:
        """It listens in the block."""
        application = web.Application(client_max_size=2**30)
        application.router.add_route("*", "/{path:.*}", self.pass_on)
        async with (
            aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as self._session,
            serving(application) as port,
        ):
            self.url = f"http://127.0.0.1:{port}"
            yield self


@contextmanager
def stripping(target: str) -> Iterator[Stripping]:
    """The same beside a test that has no event loop."""
    loop, proxy = asyncio.new_event_loop(), Stripping(target)
    ready, over = threading.Event(), asyncio.Event()

    async def run() -> None:
        async with proxy.running():
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert ready.wait(30)
        yield proxy
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
