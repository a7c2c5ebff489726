"""Receivers of hooks: a program that writes down what it is told, and an HTTP server that answers as it is told to."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.outsider import STAGING, eventually
from tests.support.service import Service


@dataclass
class Notebook:
    """A folder in which a program writes down each event that it is told: one file a telling."""

    folder: Path

    def command(self, script: str = "") -> list[str]:
        """The command; it goes on with `script`, where $1 is the path, $2 the name and $3 the id."""
        self.folder.mkdir(exist_ok=True)
        write = f'f=$(mktemp {self.folder}/$3.XXXXXX.part) && cat > "$f" && mv "$f" "${{f%.part}}.json" || exit 1\n'
        return ["sh", "-c", write + script, "sh", "{path}", "{name}", "{id}"]

    @property
    def told(self) -> list[dict[str, Any]]:
        """All that was told so far; the order is lost."""
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.folder.glob("*.json"))]

    async def has(self, count: int, deadline: float = 30) -> list[dict[str, Any]]:
        """Wait until so many different events were told."""

        async def enough() -> bool:
            return len({event["id"] for event in self.told}) >= count

        await eventually(enough, deadline)
        return self.told


Answer = Callable[[dict[str, Any]], Awaitable[web.StreamResponse]]


async def taken(_: dict[str, Any]) -> web.StreamResponse:
    """It takes every event."""
    return web.Response(status=204)


@dataclass
class Endpoint:
    """An HTTP server that is told of events; `answer` says what comes back, and may be changed."""

    url: str = ""
    answer: Answer = taken
    told: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)  # headers, body
    statuses: list[int] = field(default_factory=list)  # that were answered
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.StreamResponse:
        """One POST."""
        body = await request.read()
        self.requests.append((dict(request.headers), body))
        self.told.append(json.loads(body))
        self._news.set()
        status = 500
        try:
            answer = await self.answer(self.told[-1])
            status = answer.status
        finally:
            self.statuses.append(status)
        return answer

    async def has(self, count: int, deadline: float = 30) -> None:
        """Wait until it was told so many times."""
        async with asyncio.timeout(deadline):
            while len(self.told) < count:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def endpoint(answer: Answer | None = None, port: int = 0) -> AsyncIterator[Endpoint]:
    """An endpoint for the length of the block."""
    found = Endpoint()
    if answer is not None:
        found.answer = answer
    app = web.Application()
    app.router.add_post("/hook", found.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield found
    finally:
        await runner.cleanup()


def events_left(service: Service) -> list[str]:
    """What is left of events in staging."""
    kinds = ("event", "events", "told", "failed")
    return [path.name for path in (service.directory() / STAGING).iterdir() if path.suffix[1:] in kinds]


async def told_all(service: Service) -> None:
    """Wait until nothing is left of events."""

    async def none_left() -> bool:
        return not events_left(service)

    await eventually(none_left, 90)


def unused_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
