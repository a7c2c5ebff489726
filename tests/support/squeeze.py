"""A kernel that takes little for a client that does not read, so that what waits does so in the service."""

import socket

import pytest

from jackfield.app.handler import Connection
from jackfield.handlers.upload.handler import Upload


def squeeze(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sockets of the upload handler have the smallest buffer for sending."""
    serve = Upload.serve

    async def squeezed(self: Upload, connection: Connection) -> None:
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        await serve(self, connection)

    monkeypatch.setattr(Upload, "serve", squeezed)
