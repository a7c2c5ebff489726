"""A port of TLS: connections are counted when they are accepted, before a handshake that may never end.

An event loop that accepts by itself shows a connection only after its handshake.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
import struct
from typing import Final

from aiohttp import web

from jackfield.app.admission import ADMISSION, Admission
from jackfield.app.runner import Connection, Runner

_AT_ONCE: Final = 64  # connections accepted in one turn of the loop
_PAUSE: Final = 1.0  # seconds until it is tried again where there are no descriptors
_SHORT: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset, and forget it


class TlsSite(web.BaseSite):
    """As aiohttp's `SockSite`, with TLS."""

    def __init__(self, runner: Runner, listening: socket.socket, tls: ssl.SSLContext, backlog: int) -> None:
        super().__init__(runner, ssl_context=tls, backlog=backlog)
        self._listening = listening
        self._tls = tls
        self._application = runner

    @property
    def name(self) -> str:
        """For aiohttp."""
        return f"https://{self._listening.getsockname()}"

    async def start(self) -> None:
        """Accept from now on."""
        await super().start()
        self._listening.setblocking(False)
        self._listening.listen(self._backlog)
        accepting = _Accepting(self._listening, self._application, self._tls)
        self._server = accepting  # type: ignore[assignment]  # what aiohttp asks of one: `close` and `sockets`


class _Accepting:
    def __init__(self, listening: socket.socket, runner: Runner, tls: ssl.SSLContext) -> None:
        self.sockets = (listening,)
        self._listening = listening
        self._runner = runner
        self._admission: Admission = runner.app[ADMISSION]
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        """Accept no more; handshakes that are under way are given up."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()
        for handshake in self._handshakes:
            handshake.cancel()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, peer = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _SHORT:
                    self._rest()
                return  # it has been reset before it was accepted
            who = self._admission.take(peer)
            if who is None:
                _reset(accepted)
                continue
            handshake = self._loop.create_task(self._shake_hands(accepted, who))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    def _rest(self) -> None:
        """There are no descriptors: the socket would be readable without end."""
        self._loop.remove_reader(self._listening)
        self._pause = self._loop.call_later(_PAUSE, self._loop.add_reader, self._listening, self._accept)

    async def _shake_hands(self, accepted: socket.socket, who: str) -> None:
        server = self._runner.server
        assert server is not None
        connection = server()
        assert isinstance(connection, Connection)
        connection.counted_for = who
        accepted.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection, accepted, ssl=self._tls, ssl_handshake_timeout=self._admission.patience
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is one
            self._admission.failed(str(error) or type(error).__name__)
        finally:
            if not connection.begun:
                self._admission.give(who)
                accepted.close()


def _reset(accepted: socket.socket) -> None:
    with contextlib.suppress(OSError):
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    accepted.close()
