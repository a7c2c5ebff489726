"""What runs here, and how it is: `/`, `/healthz`, `/readyz`, `/metrics`."""

import html
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from jackfield.app.accept import preferred
from jackfield.app.dispatcher import PAGE_HEADERS, Dispatcher
from jackfield.app.handler import Handler
from jackfield.app.metrics import Metrics

PAGES: Final = Path(__file__).parent / "pages"


class Probes:
    """The service's own answers over plain HTTP."""

    def __init__(self, handlers: Sequence[Handler], dispatcher: Dispatcher, metrics: Metrics) -> None:
        self._handlers = handlers
        self._dispatcher = dispatcher
        self._metrics = metrics

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [
            web.get("/", self.index),
            web.get("/index", self.index),
            web.get("/healthz", self.health),
            web.get("/readyz", self.readiness),
            web.get("/metrics", self.metrics),
        ]

    async def index(self, request: web.Request) -> web.Response:
        """What runs here, as HTML, JSON or plain text by `Accept`."""
        rows = [(handler.name, handler.path, _summary(handler)) for handler in self._handlers]
        kind = preferred(request, ("application/json", "text/html", "text/plain"))
        if kind == "text/html":
            return self._index_page(rows)
        if kind == "text/plain":
            lines = "".join(f"{path}  {name}: {text}\n" for name, path, text in rows)
            return web.Response(text=f"jackfield {version('jackfield')}\n{lines}", headers={"Vary": "Accept"})
        listed = [{"name": name, "path": path, "description": text} for name, path, text in rows]
        body = {"service": "jackfield", "version": version("jackfield"), "handlers": listed}
        return web.json_response(body, headers={"Vary": "Accept"})

    def _index_page(self, rows: list[tuple[str, str, str]]) -> web.Response:
        row = Template((PAGES / "row.html").read_text(encoding="utf-8"))
        cells = [
            row.safe_substitute(name=html.escape(name), path=html.escape(path), description=html.escape(text))
            for name, path, text in rows
        ]
        page = Template((PAGES / "index.html").read_text(encoding="utf-8"))
        body = page.safe_substitute(rows="".join(cells), shared="/assets/app", version=version("jackfield"))
        return web.Response(text=body, content_type="text/html", headers=PAGE_HEADERS)

    async def health(self, request: web.Request) -> web.Response:
        """200 while the process lives."""
        return web.json_response({"status": "ok"}, headers={"Cache-Control": "no-store"})

    async def readiness(self, request: web.Request) -> web.Response:
        """503 while the service drains, or a handler says that it is not ready."""
        waiting = [handler.name for handler in self._handlers if not await handler.ready()]
        draining = self._dispatcher.draining
        status = "draining" if draining else "not ready" if waiting else "ready"
        return web.json_response(
            {"status": status, "not_ready": waiting},
            status=503 if draining or waiting else 200,
            headers={"Cache-Control": "no-store"},
        )

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus' text format."""
        body = generate_latest(self._metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _summary(handler: Handler) -> str:
    """The first sentence of the handler's own description."""
    return (type(handler).__doc__ or "").strip().partition("\n")[0]
