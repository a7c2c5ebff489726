"""The contract, "Every path": frames that break RFC 6455, on a socket of text and on one of an upload."""

from collections.abc import Awaitable, Callable

import pytest

from tests.support.outsider import Outsider
from tests.support.rawsocket import Closed, Opcode, RawSocket, close_payload, fragments, frame, header

Opener = Callable[[], Awaitable[RawSocket]]
KEY = bytes(4)
BROKEN: dict[str, bytes] = {
    **{f"rsv{rsv}": frame(Opcode.TEXT, b"pong", rsv=rsv) for rsv in (1, 2, 4, 7)},
    **{f"rsv{rsv} in binary": frame(Opcode.BINARY, b"pong", rsv=rsv) for rsv in (1, 4)},
    **{f"rsv{rsv} in ping": frame(Opcode.PING, b"", rsv=rsv) for rsv in (1, 4)},
    **{f"opcode {opcode}": frame(opcode, b"pong") for opcode in (3, 7, 11, 15)},
    "fragmented ping": frame(Opcode.PING, b"", fin=False),
    "fragmented close": frame(Opcode.CLOSE, close_payload(1000), fin=False),
    "long ping": frame(Opcode.PING, bytes(126)),
    "long close": frame(Opcode.CLOSE, close_payload(1000, b"x" * 124)),
    "lone continuation": frame(Opcode.CONTINUATION, b"pong"),
    "lone unfinished continuation": frame(Opcode.CONTINUATION, b"pong", fin=False),
    "text inside text": frame(Opcode.TEXT, b"po", fin=False) + frame(Opcode.TEXT, b"ng"),
    "text inside binary": frame(Opcode.BINARY, b"po", fin=False) + frame(Opcode.TEXT, b"ng"),
    "binary inside binary": frame(Opcode.BINARY, b"po", fin=False) + frame(Opcode.BINARY, b"ng"),
    "binary inside text": frame(Opcode.TEXT, b"po", fin=False) + frame(Opcode.BINARY, b"ng"),
    "text of 2**63 bytes": header(Opcode.TEXT, 2**63, key=KEY),
    "binary of 2**63 bytes": header(Opcode.BINARY, 2**63, key=KEY),
    "16 bits for 4": header(Opcode.TEXT, 4, key=KEY, form=16) + b"pong",
    "64 bits for 4": header(Opcode.TEXT, 4, key=KEY, form=64) + b"pong",
    "64 bits for 4 in binary": header(Opcode.BINARY, 4, key=KEY, form=64) + b"pong",
    "16 bits in ping": header(Opcode.PING, 4, key=KEY, form=16) + b"ping",
    "close of one byte": frame(Opcode.CLOSE, b"\x03"),
}
CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
REJECTED_TEXT = {
    "stray byte": [b"\xff"], "overlong": [b"\xc0\xaf"], "surrogate": [b"\xed\xa0\x80"],
    "cut short": [b"p\xe2\x82"], "cut between frames": [b"\xe2\x82", b"po", b"ng"],
    "past the last plane": [b"\xf4\x90\x80\x80"],
}  # fmt: skip


@pytest.fixture(params=["pingpong", "upload"])
def opener(request: pytest.FixtureRequest, outsider: Outsider) -> Opener:
    """Opens a socket of each kind, what the service says first already read."""

    async def pingpong() -> RawSocket:
        opened = await outsider.connect("/patient")
        assert await opened.next() == "ping"
        return opened

    async def upload() -> RawSocket:
        return await outsider.open(await outsider.create())

    return pingpong if request.param == "pingpong" else upload


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_a_frame_that_breaks_the_rules_is_a_protocol_error(opener: Opener, broken: bytes) -> None:
    """Reserved bits and opcodes, misplaced, oversized and impossible frames close 1002."""
    opened = await opener()
    await opened.send(broken)
    assert (await opened.closed()).code == 1002


@pytest.mark.parametrize("code", CODES)
async def test_a_close_code_not_allowed_on_the_wire_is_a_protocol_error(opener: Opener, code: int) -> None:
    """A Close frame with a reserved or unassigned code is answered 1002."""
    opened = await opener()
    await opened.close(code)
    assert (await opened.closed()).code == 1002


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1008, 1011, 1012, 1014, 3000, 3999, 4000, 4999])
async def test_a_close_code_that_is_allowed_is_answered(opener: Opener, code: int) -> None:
    """A Close frame with a registered or private code is answered with a Close that is no error."""
    opened = await opener()
    await opened.close(code, "auf Wiederseh’n".encode())
    assert (await opened.closed()).code in (code, 1000)
    await opened.ended()


async def test_a_close_without_a_code_is_answered(opener: Opener) -> None:
    """An empty Close frame is answered by a Close frame, empty or 1000."""
    opened = await opener()
    await opened.close(None)
    assert (await opened.closed()).code in (1000, 1005)
    await opened.ended()


@pytest.mark.parametrize("parts", REJECTED_TEXT.values(), ids=REJECTED_TEXT)
async def test_text_that_is_not_utf_8_is_refused(opener: Opener, parts: list[bytes]) -> None:
    """Malformed UTF-8 in a text message, whole or in fragments, closes 1007."""
    opened = await opener()
    await opened.send(b"".join(fragments(Opcode.TEXT, parts)))
    assert (await opened.closed()).code == 1007


async def test_a_reason_that_is_not_utf_8_is_refused(opener: Opener) -> None:
    """Malformed UTF-8 in a close reason is answered 1007 or 1002, never with a normal close."""
    opened = await opener()
    await opened.close(1000, b"\xff\xfe")
    assert (await opened.closed()).code in (1002, 1007)


@pytest.mark.parametrize("parts", [[65537], [65536, 1], [1] * 3 + [65536], [40000, 40000], [2**20]])
async def test_a_text_over_64_kib_is_too_big(opener: Opener, parts: list[int]) -> None:
    """More than 65,536 bytes of text close 1009, in one frame or in many."""
    opened = await opener()
    await opened.send(b"".join(fragments(Opcode.TEXT, [b"x" * part for part in parts])))
    assert (await opened.closed()).code == 1009


@pytest.mark.parametrize("broken", [frame(3), frame(Opcode.CLOSE, close_payload(1006))], ids=["opcode", "close"])
async def test_after_a_protocol_error_tcp_is_closed(opener: Opener, broken: bytes) -> None:
    """A connection that failed is not kept waiting for an answering Close (RFC 6455, 7.1.7)."""
    opened = await opener()
    await opened.send(broken)
    assert (await opened.closed()).code == 1002
    await opened.ended(3)


async def test_an_unmasked_frame_on_an_upload_is_a_protocol_error(outsider: Outsider) -> None:
    """Unmasked data, text and control frames close 1002 on a socket that carries an upload."""
    for opcode, payload in ((Opcode.BINARY, b"data"), (Opcode.TEXT, b'{"type":"end"}'), (Opcode.PING, b"")):
        opened = await outsider.open(await outsider.create())
        await opened.send(frame(opcode, payload, masked=False))
        assert (await opened.closed()).code == 1002


async def test_what_came_before_a_broken_frame_is_kept(outsider: Outsider) -> None:
    """A protocol error ends the socket, not the upload: it goes on behind the last good byte."""
    url = await outsider.create()
    opened = await outsider.open(url)
    await opened.send(frame(Opcode.BINARY, b"good") + frame(3, b"bad"))
    assert (await opened.closed()).code == 1002
    again = await outsider.open(url)
    assert again.ready["offset"] == 4
    await again.binary(b" bytes")
    await again.finish(b"good bytes")


async def test_frames_after_the_clients_close_are_not_read(outsider: Outsider) -> None:
    """Bytes behind a Close frame belong to nothing: they are neither stored nor answered."""
    url = await outsider.create()
    opened = await outsider.open(url)
    await opened.send(
        frame(Opcode.BINARY, b"four") + frame(Opcode.CLOSE, close_payload(1000)) + frame(Opcode.BINARY, b"more")
    )
    assert isinstance(await opened.closed(), Closed)
    assert (await outsider.ask(url))["offset"] == 4
