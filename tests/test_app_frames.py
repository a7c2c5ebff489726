"""Frames of RFC 6455: headers are read as they are written, masks taken off as a naive reader would, rules kept."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jackfield.app.errors import Close
from jackfield.app.socket import frames
from jackfield.app.socket.buffers import Slab
from jackfield.app.socket.frames import check_close_code, masked_close, parse_close, parse_header, unmask, whole_frame
from tests.support.rawsocket import close_payload, frame, header

keys = st.binary(min_size=4, max_size=4)
opcodes = st.sampled_from(sorted(frames._OPCODES))
lengths = st.one_of(st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, 2**63 - 1]), st.integers(0, 2**63 - 1))


def naive(payload: bytes, key: bytes, phase: int) -> bytes:
    """RFC 6455, 5.3, letter by letter."""
    return bytes(octet ^ key[(phase + place) % 4] for place, octet in enumerate(payload))


def verdict(data: bytes) -> int:
    """The code of the Close that reading a header from it raises."""
    with pytest.raises(Close) as refused:
        parse_header(memoryview(data))
    return refused.value.code


# -- headers


@given(opcode=opcodes, length=lengths, key=keys, fin=st.booleans())
def test_a_header_is_read_as_it_was_written(opcode: int, length: int, key: bytes, fin: bool) -> None:
    """Every length in its shortest form, with whatever stands behind it; and no part of it is taken for the whole."""
    if opcode >= frames.CLOSE:
        length, fin = length % 126, True
    data = header(opcode, length, fin=fin, key=key)
    found = parse_header(memoryview(data + b"payload"))
    assert found == (fin, opcode, key, length, len(data), False)
    assert all(parse_header(memoryview(data[:size])) is None for size in range(len(data)))


@given(data=st.binary(max_size=frames.LONGEST_HEADER))
@example(b"\x81\xff" + b"\xff" * 12)
def test_reading_a_header_never_fails_otherwise(data: bytes) -> None:
    """Any bytes are a header, the beginning of one, or a Close 1002."""
    try:
        found = parse_header(memoryview(data))
    except Close:
        assert verdict(data) == 1002
    else:
        assert found is None or found.size <= len(data) <= frames.LONGEST_HEADER


@pytest.mark.parametrize(
    "broken",
    [
        frame(0x2, b"x", rsv=1),
        frame(0x2, b"x", rsv=2),
        frame(0x8, rsv=4),
        frame(0x0, b"x", rsv=4),
        *(frame(opcode) for opcode in (*range(0x3, 0x8), *range(0xB, 0x10))),
        frame(0x2, b"x", masked=False),
        frame(0x9, b"x", fin=False),
        frame(0x8, bytes(126)),
        frame(0x2, b"x", form=16),
        frame(0x2, b"x", form=64),
        header(0x2, 65535, key=b"\0\0\0\0", form=64),
        b"\x82\xff\x80" + bytes(11),
    ],
    ids=itertools.count(),  # the masks are random: as names they would differ between two workers
)
def test_what_the_rfc_forbids_is_refused(broken: bytes) -> None:
    """Reserved bits and opcodes, unmasked frames, control frames that are long or cut, lengths that are not minimal."""
    assert verdict(broken) == 1002


def test_the_first_reserved_bit_is_only_reported() -> None:
    """It says that a message is compressed; whether that was agreed to, the receiver knows."""
    found = parse_header(memoryview(frame(0x2, b"x", rsv=4)))
    assert found is not None
    assert found.compressed


# -- masks


@given(payload=st.binary(max_size=2000), key=keys, phase=st.integers(0, 2**40))
@example(b"x" * 511, b"abcd", 3)
@example(b"x" * 512, b"abcd", 3)
@example(b"x" * 515, b"abcd", 2)
def test_a_mask_is_taken_off_a_copy(payload: bytes, key: bytes, phase: int) -> None:
    """By integers or by bitarray, at any place of the payload: as the naive reader says."""
    assert unmask(memoryview(payload), key, phase) == naive(payload, key, phase)


@given(data=st.binary(min_size=1, max_size=300), key=keys, phase=st.integers(0, 2**40), cuts=st.tuples(
    st.integers(0, 300), st.integers(0, 300)))  # fmt: skip
@example(bytes(64), b"abcd", 0, (0, 64))
@example(bytes(64), b"abcd", 1, (7, 9))
def test_a_mask_is_taken_off_in_place(data: bytes, key: bytes, phase: int, cuts: tuple[int, int]) -> None:
    """In a slab exactly the bytes of the payload change, and as the naive reader says."""
    start, stop = sorted(min(cut, len(data)) for cut in cuts)
    slab = Slab(len(data))
    slab.view[:] = data
    slab.unmask(start, stop, key, phase)
    assert bytes(slab.view) == data[:start] + naive(data[start:stop], key, phase) + data[stop:]


# -- closing


def test_a_close_code_is_one_of_those_allowed() -> None:
    """RFC 6455, 7.4, and IANA's registry: 1000-1003, 1007-1014 and 3000-4999 may stand on the wire, no other."""
    refused = set()
    for code in range(2**16):
        try:
            check_close_code(code)
        except Close:
            refused.add(code)
    assert set(range(2**16)) - refused == {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}


@given(code=st.sampled_from([1000, 1014, 3000, 4999]), reason=st.text(max_size=30))
def test_a_close_frame_is_read_as_it_was_written(code: int, reason: str) -> None:
    """Code and reason; none is 1005, which is never on the wire."""
    payload = close_payload(code, reason.encode())
    assert parse_close(payload) == (code, reason)
    assert parse_close(b"") == (1005, "")
    found = parse_header(memoryview(masked_close(payload)))
    assert found is not None
    assert unmask(memoryview(masked_close(payload))[found.size :], found.mask, 0) == payload


@pytest.mark.parametrize(("payload", "code"), [(b"\x03", 1002), (b"\x03\xed", 1002), (b"\x03\xe8\xff", 1007)])
def test_a_close_frame_that_breaks_the_rules_is_refused(payload: bytes, code: int) -> None:
    """One byte, a code that is only for ourselves, a reason that is not UTF-8."""
    with pytest.raises(Close) as refused:
        parse_close(payload)
    assert refused.value.code == code


@given(opcode=st.sampled_from([frames.TEXT, frames.BINARY]), size=st.sampled_from([0, 1, 125, 126, 65535, 65536]))
def test_a_servers_frame_has_the_shortest_header(opcode: int, size: int) -> None:
    """As a client's of the same length would be, but without a mask."""
    payload = bytes(size)
    assert whole_frame(opcode, payload) == header(opcode, size, key=None) + payload
