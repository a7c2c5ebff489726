"""Text that is not UTF-8 is refused at the first byte that makes it so, wherever frames and segments end."""

import codecs

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jackfield.app.errors import Close
from jackfield.app.socket.buffers import Buffers
from jackfield.app.socket.receiver import Receiver
from jackfield.testing import JackfieldServer
from tests.support.handlers import raw, sections
from tests.support.rawsocket import Opcode, frame, header, mask
from tests.support.wire import Wire

KEY = b"abcd"
GOOD = "κόσμε".encode()


def receivers() -> list[tuple[Wire, Receiver]]:
    """Both ways of receiving."""
    wires = Wire(), Wire()
    return [(wires[0], wires[0].messages()), (wires[1], wires[1].stream(Buffers(2**20)))]


def impossible(text: bytes) -> int | None:
    """How many bytes stand before the first one with which it cannot be UTF-8 any more, as a naive reader says."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for place in range(len(text)):
        try:
            decoder.decode(text[place : place + 1])
        except UnicodeDecodeError:
            return place
    return None


@given(
    text=st.one_of(
        st.binary(min_size=1, max_size=40), st.text(max_size=10).map(str.encode).map(lambda one: one + b"\xff")
    ),
    fragmented=st.booleans(),
)
@example(GOOD + b"\xf4\x90\x80\x80" + b"edited", False)
@example(GOOD + b"\xf4\x90\x80\x80" + b"edited", True)
@example(b"\xed\xa0\x80", True)
async def test_the_first_impossible_byte_ends_it(text: bytes, fragmented: bool) -> None:
    """Byte by byte, in one frame or each in a frame of its own: neither sooner nor later than the naive reader."""
    place = impossible(text)
    for wire, receiver in receivers():
        if not fragmented:
            wire.feed(header(Opcode.TEXT, len(text) + 1, key=KEY))
        for number, octet in enumerate(mask(text, KEY)):
            assert receiver.broken == (place is not None and number > place)
            one = bytes([octet])
            if fragmented:
                opcode = Opcode.CONTINUATION if number else Opcode.TEXT
                one = header(opcode, 1, key=KEY, fin=False) + mask(text[number : number + 1], KEY)
            wire.feed(one)
        assert receiver.broken == (place is not None)
        if place is not None:
            assert isinstance(receiver.end, Close)
            assert receiver.end.code == 1007


@pytest.mark.parametrize("path", ["/echo", "/bulk"])
async def test_the_service_closes_when_the_byte_comes(jackfield_server: JackfieldServer, path: str) -> None:
    """1007 is said though neither the frame nor the message has ended; a character that is cut is waited for."""
    service = await jackfield_server(sections("echo", "bulk"))
    async with raw(service, path) as opened:
        await opened.send(frame(Opcode.TEXT, GOOD[:3], fin=False))
        await opened.send(frame(Opcode.CONTINUATION, GOOD[3:]))
        assert str(await opened.next()).startswith(GOOD.decode())
        await opened.send(frame(Opcode.TEXT, GOOD, fin=False))
        await opened.send(header(Opcode.CONTINUATION, 100, key=KEY, fin=False) + mask(b"\xf4\x90", KEY))
        assert (await opened.closed()).code == 1007
