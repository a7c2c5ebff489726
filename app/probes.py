"""The service's own HTTP: the index `/`, `/healthz`, `/readyz`, `/metrics`."""

import asyncio
import html
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from jackfield.app.accept import accepts
from jackfield.app.dispatcher import Dispatcher
from jackfield.app.handler import Handler
from jackfield.app.logs import QUIET
from jackfield.app.metrics import Metrics
from jackfield.app.page import page_headers
from jackfield.app.tasks import supervised

_READY_LIMIT: Final = 0.8  # seconds; the answer is promised within one

PROBES: Final = ("/healthz", "/readyz", "/metrics")

PAGES: Final = Path(__file__).parent / "pages"

_ROW: Final = Template((PAGES / "row.html").read_text(encoding="utf-8"))
_INDEX: Final = Template((PAGES / "index.html").read_text(encoding="utf-8"))


class Probes:
    """The service's own answers over plain HTTP."""

    def __init__(self, handlers: Sequence[Handler], dispatcher: Dispatcher, metrics: Metrics, base: str) -> None:
        self._handlers = handlers
        self._dispatcher = dispatcher
        self._metrics = metrics
        self.base = base  # before every path in the URLs that are given
        self._asking: dict[str, asyncio.Task[bool]] = {}  # calls of `ready` that have not ended, by the handler's name

    def routes(self) -> list[web.RouteDef]:
        """For everybody: what runs here."""
        return [web.get("/", self.index), web.get("/index", self.index)]

    def watching(self) -> list[web.RouteDef]:
        """For those who watch the service."""
        answers = (self.health, self.readiness, self.metrics)
        return [web.get(path, answer) for path, answer in zip(PROBES, answers, strict=True)]

    def close(self) -> None:
        """Cancel calls of `ready` that have not ended."""
        for task in self._asking.values():
            task.cancel()

    async def index(self, request: web.Request) -> web.Response:
        """What runs here, as HTML, JSON or plain text: the first of these that `Accept` names, else JSON."""
        rows = [(handler.name, handler.path, _summary(handler)) for handler in self._handlers]
        if accepts(request, "text/html"):
            text = _index_page(rows, self.base)
            return web.Response(text=text, content_type="text/html", headers=page_headers(request))
        if accepts(request, "text/plain") and not accepts(request, "application/json"):
            lines = "".join(f"{path}  {name}: {text}\n" for name, path, text in rows)
            return web.Response(text=f"jackfield {version('jackfield')}\n{lines}", headers={"Vary": "Accept"})
        listed = [{"name": name, "path": path, "description": text} for name, path, text in rows]
        body = {"service": "jackfield", "version": version("jackfield"), "handlers": listed}
        return web.json_response(body, headers={"Vary": "Accept"})

    async def health(self, request: web.Request) -> web.Response:
        """200 while the process lives."""
        request[QUIET] = True
        return web.json_response({"status": "ok"}, headers={"Cache-Control": "no-store"})

    async def readiness(self, request: web.Request) -> web.Response:
        """503 while the service drains, or a handler is not ready or does not say within a second."""
        request[QUIET] = True
        draining = self._dispatcher.draining
        waiting = [] if draining else await self._not_ready()
        status = "draining" if draining else "not ready" if waiting else "ready"
        return web.json_response(
            {"status": status, "not_ready": waiting},
            status=503 if draining or waiting else 200,
            headers={"Cache-Control": "no-store"},
        )

    async def _not_ready(self) -> list[str]:
        """Ask all handlers at once; one that has not answered an earlier call is not asked a second time."""
        for handler in self._handlers:
            if handler.name not in self._asking:
                self._asking[handler.name] = asyncio.create_task(self._ask(handler))
        asked = dict(self._asking)
        if asked:
            await asyncio.wait(asked.values(), timeout=_READY_LIMIT)
        return [name for name, task in asked.items() if not task.done() or not task.result()]

    async def _ask(self, handler: Handler) -> bool:
        """Call the handler's `ready`; False where that raises."""
        answer = False

        async def ask() -> None:
            nonlocal answer
            answer = await handler.ready()

        try:
            await supervised("ready", ask)
        finally:
            del self._asking[handler.name]
        return answer

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus' text format."""
        request[QUIET] = True
        body = generate_latest(self._metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _index_page(rows: list[tuple[str, str, str]], base: str) -> str:
    cells = [
        _ROW.safe_substitute(name=html.escape(name), path=html.escape(path), description=html.escape(text))
        for name, path, text in rows
    ]
    return _INDEX.safe_substitute(
        rows="".join(cells), base=base, shared=f"{base}/assets/app", version=version("jackfield")
    )


def _summary(handler: Handler) -> str:
    """The first sentence of the handler's own description."""
    return (type(handler).__doc__ or "").strip().partition("\n")[0]
