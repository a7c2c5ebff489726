"""permessage-deflate (RFC 7692), for a handler that asks for it: what clients send is bounded before it is unpacked."""

import asyncio
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jackfield.app.errors import Close
from jackfield.app.service import DISPATCHER
from jackfield.testing import JackfieldServer
from tests.support.handlers import MIB, sections
from tests.support.rawsocket import Closed, Opcode, RawSocket, fragments, frame
from tests.support.wire import Wire

OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate"}
COMPRESSED = 4  # the first reserved bit


def deflated(data: bytes, *, final: bool = False) -> bytes:
    """One message compressed for itself; `final`: with the bit that says that no block follows (RFC 7692, 7.2.3.4)."""
    packer = zlib.compressobj(wbits=-15)
    if final:
        return packer.compress(data) + packer.flush(zlib.Z_FINISH) + b"\0"
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


def compressed(opcode: Opcode, data: bytes, *, parts: int = 1, **how: bool) -> bytes:
    """A message on the wire, compressed, in so many frames."""
    packed = deflated(data, **how)
    size = -(-len(packed) // parts)
    first, *rest = fragments(opcode, [packed[place : place + size] for place in range(0, len(packed), size)])
    return bytes([first[0] | COMPRESSED << 4]) + first[1:] + b"".join(rest)


@given(messages=st.lists(st.tuples(st.binary(max_size=3000), st.booleans(), st.booleans(), st.integers(1, 4))))
async def test_any_mixture_of_messages_is_unpacked(messages: list[tuple[bytes, bool, bool, int]]) -> None:
    """Compressed or not, in fragments or not, the deflate stream ended by a message or not: the same bytes."""
    wire = Wire()
    receiver = wire.messages(deflate=True)
    for data, packed, final, parts in messages:
        if packed:
            wire.feed(compressed(Opcode.BINARY, data, parts=parts, final=final))
        else:
            wire.feed(frame(Opcode.BINARY, data))
        assert receiver.ready() == data


def bombs() -> Iterator[bytes]:
    """A hundred MiB in a hundred KiB: whole, in fragments, and as text."""
    zeros = bytes(100 * MIB)
    yield compressed(Opcode.BINARY, zeros)
    yield compressed(Opcode.BINARY, zeros, parts=50)
    yield compressed(Opcode.TEXT, bytes(MIB))


@pytest.mark.parametrize("bomb", list(bombs()), ids=["whole", "fragments", "text"])
async def test_a_bomb_is_too_big(jackfield_server: JackfieldServer, bomb: bytes) -> None:
    """A small message that would unpack to more than the handler takes is closed 1009, and not unpacked."""
    service = await jackfield_server(sections("deflating"))
    opened = await RawSocket.connect(service.port)
    await opened.upgrade("/deflating", OFFER)
    assert "permessage-deflate" in opened.headers["sec-websocket-extensions"]
    await opened.send(bomb)
    closed = await opened.closed()
    assert (closed.code, closed.reason) == (1009, f"A message of this kind may have {closed.reason.split()[-2]} bytes")
    await opened.dispose()


async def test_a_message_at_the_limit_is_no_bomb() -> None:
    """Exactly as many bytes as are allowed are taken, one more is not."""
    wire = Wire()
    receiver = wire.messages(max_message=1000, deflate=True)
    wire.feed(compressed(Opcode.BINARY, bytes(1000)) + compressed(Opcode.BINARY, bytes(1001)))
    assert receiver.ready() == bytes(1000)
    with pytest.raises(Close) as end:
        receiver.ready()
    assert end.value.code == 1009


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(Opcode.BINARY, b"\xff" * 20, rsv=COMPRESSED), 1007),
        (compressed(Opcode.TEXT, b"\xff\xfe"), 1007),
        (frame(Opcode.BINARY, b"x", fin=False) + frame(Opcode.CONTINUATION, b"x", rsv=COMPRESSED), 1002),
        (frame(Opcode.PING, b"x", rsv=COMPRESSED), 1002),
    ],
    ids=["no deflate", "no text", "in a continuation", "in a ping"],
)
async def test_what_is_not_as_agreed_is_refused(jackfield_server: JackfieldServer, data: bytes, code: int) -> None:
    """Rubbish instead of a deflate stream is 1007 (aiohttp would say 1000, fact 10); a bit out of place 1002."""
    service = await jackfield_server(sections("deflating"))
    opened = await RawSocket.connect(service.port)
    await opened.upgrade("/deflating", OFFER)
    await opened.send(data)
    assert (await opened.closed()).code == code
    await opened.dispose()


async def test_compressed_without_agreement_is_a_protocol_error(jackfield_server: JackfieldServer) -> None:
    """The bit is reserved where nothing was negotiated."""
    service = await jackfield_server(sections("deflating"))
    opened = await RawSocket.connect(service.port)
    await opened.upgrade("/deflating")
    assert "sec-websocket-extensions" not in opened.headers
    await opened.send(compressed(Opcode.BINARY, b"x"))
    assert await opened.closed() == Closed(1002, "Reserved bits are set")
    await opened.dispose()


async def test_closing_in_the_middle_of_a_compressed_message(jackfield_server: JackfieldServer) -> None:
    """A message whose beginning was thrown away with the socket is not unpacked: closing goes on in order."""
    service = await jackfield_server(sections("deflating"))
    opened = await RawSocket.connect(service.port)
    await opened.upgrade("/deflating", OFFER)
    whole = compressed(Opcode.BINARY, bytes(range(256)) * 100, parts=2)
    half = len(whole) // 2
    await opened.send(whole[:half])
    await opened.delivered()
    draining = asyncio.create_task(service.app[DISPATCHER].drain(10))
    assert (await opened.closed()).code == 1012
    await opened.send(whole[half:])
    await opened.close(1012)
    async with asyncio.timeout(3):  # the limit for a peer that does not answer is 5 s
        await draining
    await opened.dispose()
