"""The other end of ping and pong, a process of its own: it answers a server's messages and times the round trips.

Started with PORT PATH CONNECTIONS PAUSE, it says `ready` once it is connected, begins when it is given a line,
stops when its standard input ends, and prints what it saw as JSON. PAUSE is how many seconds a connection waits
before it answers; without any it answers at once, and what is counted is how many round trips there are.
"""

import heapq
import json
import os
import select
import sys
import time
from typing import Final

from benchmarks.wire import TEXT, Link, frame

PONG: Final = frame(TEXT, b"pong")
ANSWER: Final = 6  # bytes of a server's frame with four letters


def connect(port: int, path: str, count: int) -> list[Link]:
    """Open the sockets; where the server speaks first, its word is heard."""
    links = []
    for _ in range(count):
        link = Link(port)
        link.upgrade(path)
        if path == "/pingpong":
            link.receive()
        links.append(link)
    return links


class Pinger:
    """All connections in one thread."""

    def __init__(self, links: list[Link], pause: float) -> None:
        self._sockets = {link.socket.fileno(): link.socket for link in links}
        self._pause = pause
        self._sent: dict[int, float] = {}
        self._due: list[tuple[float, int]] = []
        self.times: list[float] = []  # seconds of each round trip
        self.answered = 0

    def run(self) -> float:
        """Until the standard input ends; how many seconds that took."""
        poll = select.epoll()
        poll.register(sys.stdin.fileno(), select.EPOLLIN | select.EPOLLHUP)
        begun = time.perf_counter()
        for number, fd in enumerate(self._sockets):
            poll.register(fd, select.EPOLLIN)
            self._due.append((begun + self._pause * number / len(self._sockets), fd))  # not all in one moment
        while True:
            self._send_due()
            wait = max(self._due[0][0] - time.perf_counter(), 0) if self._due else -1
            for fd, _ in poll.poll(wait):
                if fd == sys.stdin.fileno():
                    return self._end() - begun
                self._heard(fd)

    def _end(self) -> float:
        """Who has waited in vain until now has waited so long: leaving that out would flatter a server that hangs."""
        now = time.perf_counter()
        self.answered = len(self.times)
        self.times += [now - sent for sent in self._sent.values()]
        return now

    def _send_due(self) -> None:
        now = time.perf_counter()
        while self._due and self._due[0][0] <= now:
            _, fd = heapq.heappop(self._due)
            self._say(fd)

    def _say(self, fd: int) -> None:
        self._sent[fd] = time.perf_counter()
        self._sockets[fd].send(PONG)

    def _heard(self, fd: int) -> None:
        now = time.perf_counter()
        if len(self._sockets[fd].recv(64)) != ANSWER:
            raise ConnectionError("the server said something else")
        self.times.append(now - self._sent.pop(fd))
        if self._pause:
            heapq.heappush(self._due, (now + self._pause, fd))
        else:
            self._say(fd)


def main() -> None:
    """See the module."""
    port, path, count, pause = sys.argv[1:5]
    pinger = Pinger(connect(int(port), path, int(count)), float(pause))
    print("ready", flush=True)
    os.read(sys.stdin.fileno(), 1)
    seconds = pinger.run()
    times = sorted(pinger.times)
    print(json.dumps({
        "rate": pinger.answered / seconds, "p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100],
        "max": times[-1],
    }))  # fmt: skip


if __name__ == "__main__":
    main()
