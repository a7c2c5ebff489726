"""`jackfield healthcheck`: ask the service of a configuration whether it lives, as a container's health check does."""

import http.client
import socket
import ssl
from pathlib import Path
from typing import Final

from jackfield.app.config.settings import ServerSettings
from jackfield.app.errors import CannotStart

_LIMIT: Final = 5.0  # seconds
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - who listens on all is asked on the loopback one


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_LIMIT)
        self._path = path

    def connect(self) -> None:
        """See the class above."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(server: ServerSettings) -> None:
    """Returns where `/healthz` answers 200; raises CannotStart otherwise, with the reason."""
    connection = _connection(server)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise CannotStart(f"the service does not answer: {error}") from error
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        raise CannotStart(f"the service answers {status}")


def _connection(server: ServerSettings) -> http.client.HTTPConnection:
    if server.admin is not None:
        return _tcp(server.admin.host, server.admin.port, secure=False)
    if server.port is not None:
        return _tcp(server.host, server.port, secure=server.tls is not None)
    if server.unix_socket is not None:
        return _UnixConnection(server.unix_socket)
    raise CannotStart("the configuration does not say where the service listens")


def _tcp(host: str, port: int, *, secure: bool) -> http.client.HTTPConnection:
    host = _ANY.get(host, host)
    if not secure:
        return http.client.HTTPConnection(host, port, timeout=_LIMIT)
    context = ssl.create_default_context()
    context.check_hostname = False  # the certificate is for the public name, and this is our own machine
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=_LIMIT, context=context)
