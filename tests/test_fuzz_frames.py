"""Frames of every kind, well formed and broken, whole and cut, on every kind of socket of a service that runs."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fuzz import MAX_MESSAGE, MAX_TEXT, Fuzzing, Sequence, fuzzing, sequences
from tests.support.judge import Verdict, judge
from tests.support.outsider import Outsider, UploadSocket
from tests.support.rawsocket import Closed, Opcode, RawSocket, frame

OF_OURS = {
    "/endless": {1000, 1003},
    "/upload": {4400},
    "one": {1000, 4400, 4413},
    "plain": {1000, 4400, 4413},
}
"""Codes with which the handler on this path may end a socket for what its messages say."""


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzing]:
    """A service for this module."""
    with fuzzing(tmp_path_factory.mktemp("fuzz")) as running:
        yield running


async def _end(opened: RawSocket, verdict: Verdict) -> Closed | None:
    """Leave as the state of the link allows: with a Close frame, or without; the service's Close, None for none."""
    if verdict.code is None and verdict.whole:
        await opened.close()
    elif verdict.code is None:
        opened.half_close()
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            if isinstance(found := await opened.next(), Closed):
                return found
    return None


# -- the echo, which says what was understood


async def _echo(fuzzed: Fuzzing, sequence: Sequence) -> None:
    verdict = judge(sequence.data, MAX_TEXT, MAX_MESSAGE)
    opened = await (await RawSocket.connect(fuzzed.service.port)).upgrade("/echo")
    heard: list[str | bytes] = []
    pongs: list[bytes] = []
    found: str | bytes | Closed = ""
    try:
        await sequence.send(opened)
        if verdict.code is None:
            await opened.send(frame(Opcode.TEXT, b"over"))
        while not isinstance(found := await _next(opened, pongs), Closed) and found != "over":
            heard.append(found)
    except (ConnectionError, asyncio.IncompleteReadError):
        assert verdict.left
    finally:
        await opened.dispose()
    assert pongs == verdict.pings[: len(pongs)]
    assert heard == verdict.messages[: len(heard)]
    if verdict.code is None:
        assert (heard, pongs) == (verdict.messages, verdict.pings)
    elif isinstance(found, Closed) or not verdict.left:
        assert isinstance(found, Closed)
        assert found.code == verdict.code


async def _next(opened: RawSocket, pongs: list[bytes]) -> str | bytes | Closed:
    """The next message or Close; the payloads of pongs are kept."""
    while (found := await opened.frame()).opcode == Opcode.PONG:
        pongs.append(found.payload)
    if found.opcode == Opcode.CLOSE:
        return Closed(int.from_bytes(found.payload[:2], "big"), found.payload[2:].decode())
    return found.payload.decode() if found.opcode == Opcode.TEXT else found.payload


def _plays_echo(fuzzed: Fuzzing, sequence: Sequence) -> None:
    if not judge(sequence.data, MAX_TEXT, MAX_MESSAGE).whole:
        return  # see below
    fuzzed.play(_echo(fuzzed, sequence))


# -- the others, which end in a defined way


async def _ends(fuzzed: Fuzzing, path: str, sequence: Sequence) -> None:
    verdict = judge(sequence.data, 2**16, 2**22 if path == "/endless" else 2**63)
    async with Outsider(fuzzed.service) as client:
        url = path
        if path == "one":
            url = await client.create()
        elif path == "plain":
            url = await client.create_plain()
        opened: RawSocket = await client.unread(url)
        await sequence.send(opened)
        found = await _end(opened, verdict)
    if found is None:
        assert not verdict.whole or verdict.left  # who shuts its side in the middle of a frame is told nothing
    else:
        assert found.code in {1000 if verdict.code is None else verdict.code, *OF_OURS[path]}, found


def _plays_ends(fuzzed: Fuzzing, path: str, sequence: Sequence) -> None:
    fuzzed.play(_ends(fuzzed, path, sequence))


# -- an upload: whatever stands between its bytes, what is stored is what was sent


@st.composite
def _pieces(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Bytes, and the frames that carry them, pings and empty ones among them."""
    data = draw(st.binary(max_size=3000))
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    parts = [data[start:stop] for start, stop in zip([0, *places], [*places, len(data)], strict=True)]
    framed, inside = b"", False
    for number, part in enumerate(parts):
        fin = number == len(parts) - 1 or draw(st.booleans())
        framed += frame(0 if inside else Opcode.BINARY, part, fin=fin)
        inside = not fin
        framed += frame(Opcode.PING, part[:125]) if draw(st.booleans()) else b""
    return data, framed


async def _upload(fuzzed: Fuzzing, pieces: tuple[bytes, bytes], cuts: list[int]) -> None:
    data, framed = pieces
    async with Outsider(fuzzed.service) as client:
        opened: UploadSocket = await client.open(await client.create())
        await Sequence([], framed, cuts).send(opened)
        receipt = await opened.finish(data)
        assert client.stored(receipt) == data


def _plays_upload(fuzzed: Fuzzing, pieces: tuple[bytes, bytes], cuts: list[int]) -> None:
    fuzzed.play(_upload(fuzzed, pieces, cuts))


ECHOED = given(sequence=sequences())
ENDED = given(sequence=sequences())
UPLOADED = given(pieces=_pieces(), cuts=st.lists(st.integers(0, 4000), max_size=8))
PATHS = pytest.mark.parametrize("path", OF_OURS)


@settings(max_examples=120)
@ECHOED
def test_what_is_well_formed_is_understood(fuzzed: Fuzzing, sequence: Sequence) -> None:
    """Messages and pings before the first fault are answered as they are; a fault closes with the code of its kind."""
    _plays_echo(fuzzed, sequence)


@PATHS
@settings(max_examples=50)
@ENDED
def test_every_socket_ends(fuzzed: Fuzzing, path: str, sequence: Sequence) -> None:
    """Whatever the frames, a socket ends with the code of the fault, or one of its handler's, and is never mute."""
    _plays_ends(fuzzed, path, sequence)


@settings(max_examples=60)
@UPLOADED
def test_an_upload_is_stored_however_it_is_framed(
    fuzzed: Fuzzing, pieces: tuple[bytes, bytes], cuts: list[int]
) -> None:
    """In any frames, with pings between them, cut into any segments: the bytes are those that were sent."""
    _plays_upload(fuzzed, pieces, cuts)


@pytest.mark.torture
@pytest.mark.timeout(3600)
@settings(max_examples=10_000)
@ECHOED
def test_what_is_well_formed_is_understood_long(fuzzed: Fuzzing, sequence: Sequence) -> None:
    """See above."""
    _plays_echo(fuzzed, sequence)


@pytest.mark.torture
@pytest.mark.timeout(3600)
@PATHS
@settings(max_examples=5_000)
@ENDED
def test_every_socket_ends_long(fuzzed: Fuzzing, path: str, sequence: Sequence) -> None:
    """See above."""
    _plays_ends(fuzzed, path, sequence)


@pytest.mark.torture
@pytest.mark.timeout(3600)
@settings(max_examples=5_000)
@UPLOADED
def test_an_upload_is_stored_however_it_is_framed_long(
    fuzzed: Fuzzing, pieces: tuple[bytes, bytes], cuts: list[int]
) -> None:
    """See above."""
    _plays_upload(fuzzed, pieces, cuts)
