"""Where things are: each path as it is, and again below `base_path`, which a proxy in front may keep or take away."""

from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler as RequestHandler

from jackfield.app.auth.gate import Gate
from jackfield.app.bodies import Bodies
from jackfield.app.body import wait_for_body
from jackfield.app.handler import Handler


class Routes:
    """Adds to an application."""

    def __init__(self, app: web.Application, base: str, names: dict[str, str], bodies: Bodies) -> None:
        self._app = app
        self._bodies = bodies
        self._names = names  # of handlers, by the paths of their resources
        self._bases = ("", base) if base else ("",)

    def all_of(self, *paths: str) -> list[str]:
        """All paths under which these can be asked for."""
        return [base + path for base in self._bases for path in paths]

    def add(self, route: web.RouteDef) -> None:
        """One of the service's own."""
        for path in self.all_of(route.path):
            self._app.router.add_get(path, route.handler)

    def add_handler(self, path: str, handler: Handler, entry: RequestHandler, gate: Gate) -> None:
        """Its sockets, its plain routes, its page's files; `path` is that of the configuration."""
        routes = list(handler.routes())
        body_routes = [(each, self._bodies.entry(handler, each.answer)) for each in handler.body_routes()]
        for base in self.all_of(path):
            for below in handler.paths:
                self._app.router.add_get(base + below, entry)
            for route in routes:
                self._app.router.add_route(route.method, base + route.path, route.handler)
            for each, taking in body_routes:
                self._app.router.add_route(each.method, base + each.path, taking, expect_handler=wait_for_body)
            for below in {*handler.paths, *(each.path for each in routes), *(each.path for each, _ in body_routes)}:
                self._names[base + below] = handler.name
                if not handler.public and below not in handler.keyed:
                    gate.guard(base + below, handler.name, page=handler.page is not None)
        if handler.page is not None:
            self.add_files(handler.name, handler.page)

    def add_files(self, name: str, folder: Path) -> None:
        """What a page needs."""
        for path in self.all_of(f"/assets/{name}"):
            self._app.router.add_static(path, folder)
