"""A relay before a service: it lets so many bytes through from a client, and holds the next."""

import contextlib
import socket
import threading
from collections.abc import Iterator

_PIECE = 16 * 1024


class Relay:
    """Listens on a free port of the loopback and passes everything on to `port`.

    `passed` counts the bytes that clients have sent through it.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._news = threading.Condition()
        self._limit: int | None = None
        self._cut_at: int | None = None  # `passed` at which everything is cut, once
        self._servers: set[socket.socket] = set()  # the far ends of the connections that live
        self._mute: set[socket.socket] = set()  # of those on which nothing comes through any more
        self._muting = False  # whether new connections are such
        self.passed = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def hold_after(self, count: int | None) -> None:
        """Let `count` bytes from the client through on each connection, None: all of them."""
        with self._news:
            self._limit = count
            self._news.notify_all()

    def freeze(self) -> None:
        """From now on nothing comes through on any connection, old or new; all stay open."""
        with self._news:
            self._mute |= self._servers
            self._muting = True

    def heal(self) -> None:
        """New connections work; on those that were frozen nothing will ever come through."""
        with self._news:
            self._muting = False

    def cut_after(self, count: int) -> None:
        """Cut every connection as soon as `count` more bytes from clients have passed."""
        self._cut_at = self.passed + count

    def cut(self) -> None:
        """End every connection, and what it held is lost; later ones pass everything on."""
        with self._news:
            self._limit = None
            while self._servers:
                _shut(self._servers.pop())
            self._news.notify_all()

    def close(self) -> None:
        """Accept no more, and end what there is."""
        _shut(self._listener)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client = self._listener.accept()[0]
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target)
        except OSError:  # the service is down: the client is to see that
            client.close()
            return
        with self._news:
            self._servers.add(server)
            if self._muting:
                self._mute.add(server)
        back = threading.Thread(target=self._back, args=(server, client), daemon=True)
        back.start()
        with contextlib.suppress(OSError):
            self._forward(client, server)
        _shut(server)
        back.join()
        client.close()
        server.close()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        sent = 0
        while data := client.recv(_PIECE):
            sent += len(data)
            self._wait_for_room(sent, server)
            server.sendall(data)
            self.passed += len(data)
            if self._cut_at is not None and self.passed >= self._cut_at:
                self._cut_at = None
                self.cut()

    def _wait_for_room(self, count: int, server: socket.socket) -> None:
        with self._news:
            self._news.wait_for(lambda: server not in self._servers or self._passes(server, count))

    def _passes(self, server: socket.socket, count: int) -> bool:
        return server not in self._mute and (self._limit is None or count <= self._limit)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        """From the service to the client; nothing is held here but by a frozen link. Its end is the client's end."""
        with contextlib.suppress(OSError):
            while data := server.recv(_PIECE):
                self._wait_for_room(0, server)
                client.sendall(data)
        _shut(client)
        with self._news:
            self._servers.discard(server)
            self._news.notify_all()


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def relay_to(port: int) -> Iterator[Relay]:
    """A relay for the length of the block."""
    relay = Relay(port)
    try:
        yield relay
    finally:
        relay.close()
