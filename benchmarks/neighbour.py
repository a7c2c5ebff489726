"""A bad neighbour, a process of its own: one socket that sends the smallest of frames, as fast as they are taken.

Started with PORT PLACE KIND, it says `ready` once it is connected. Where the service ends its socket it opens another
one. It reads what comes and throws it away, and goes on until it is killed.
"""

import contextlib
import json
import select
import sys
from typing import Final

from benchmarks.wire import BINARY, CONTINUATION, PING, TEXT, Link, frame, header

EMPTY, ONE_BYTE, PINGS, MESSAGES = KINDS = "empty frames", "frames of 1 byte", "pings", "tiny messages"
PINGPONG, ECHO, MANY, UPLOAD = PLACES = "/pingpong", "/echo", "/upload", "an upload's URL"

_TINY: Final = {
    PINGPONG: b"pong", ECHO: b"x", MANY: b'{"type":"resume","token":"aaaaaaaaaaaaaaaaaaaaaaaa"}',
    UPLOAD: b'{"type":"restart"}',
}  # fmt: skip
"""A text that each place understands, and to which it has an answer."""

_AT_ONCE: Final = 64 * 1024  # bytes


def first_and_rest(kind: str, place: str) -> tuple[bytes, bytes]:
    """What is sent once, and what is sent for ever."""
    key = b"\1\2\3\4"
    begin = header(BINARY, 0, key, fin=False)
    if kind == EMPTY:
        return begin, header(CONTINUATION, 0, key, fin=False)
    if kind == ONE_BYTE:
        return begin, header(CONTINUATION, 1, key, fin=False) + b"x"
    return b"", frame(PING, b"") if kind == PINGS else frame(TEXT, _TINY[place])


def opened(port: int, place: str) -> Link:
    """A socket at the place."""
    link = Link(port)
    path = place
    if place == UPLOAD:
        promise = json.dumps({"name": "neighbour.bin"}).encode()
        link.request(
            "POST", "/upload", {"Content-Type": "application/json", "Content-Length": str(len(promise))}, promise
        )
        _, body = link.response(201)
        path = json.loads(body)["url"]
    link.upgrade(path)
    return link


def pester(link: Link, first: bytes, rest: bytes) -> None:
    """Until the service has had enough."""
    block = rest * (_AT_ONCE // len(rest))
    left = memoryview(first + block)
    link.socket.setblocking(False)
    while True:
        readable, writable, _ = select.select([link.socket], [link.socket], [])
        if readable and not link.socket.recv(_AT_ONCE):
            return
        if writable:
            left = left[link.socket.send(left) :] or memoryview(block)


def main() -> None:
    """See the module."""
    port, place, kind = sys.argv[1:4]
    told = False
    while True:
        link = opened(int(port), place)
        if not told:
            print("ready", flush=True)
            told = True
        with contextlib.suppress(OSError):  # cut off: another one
            pester(link, *first_and_rest(kind, place))
        link.close()


if __name__ == "__main__":
    main()
