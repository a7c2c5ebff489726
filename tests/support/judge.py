"""What RFC 6455 says of the bytes that a client sent: a reader of its own, to hold the service's against."""

from dataclasses import dataclass, field
from typing import NamedTuple

from tests.support.rawsocket import Frame, Opcode, closed, mask


@dataclass
class Verdict:
    """What the bytes are: whole messages, then the code of what breaks them, or of the peer's Close; or None.

    `whole` says that no frame and no message is unfinished at the end, `left` that a Close frame was answered: what
    is sent behind it may reset the link.
    """

    messages: list[str | bytes] = field(default_factory=list)
    pings: list[bytes] = field(default_factory=list)
    code: int | None = None
    whole: bool = True
    left: bool = False


class Head(NamedTuple):
    """A frame's header: `payload` is where its payload begins."""

    fin: bool
    reserved: int
    opcode: int
    length: int
    key: bytes
    payload: int


class Broken(Exception):
    """The bytes break the protocol; the close code is its argument."""


def judge(data: bytes, max_text: int = 2**63, max_message: int = 2**63) -> Verdict:
    """Read frames as the RFC has them, with a receiver's limits; nothing behind the first fault counts."""
    verdict = Verdict()
    try:
        verdict.whole = _read(data, verdict, max_text, max_message)
    except Broken as broken:
        verdict.code = broken.args[0]
    return verdict


def _read(data: bytes, verdict: Verdict, max_text: int, max_message: int) -> bool:
    message, kind, place = b"", 0, 0
    while verdict.code is None and place < len(data):
        head = _head(data, place)
        if head is None:
            return False
        kind = _check_place(head, kind)
        if head.opcode < Opcode.CLOSE and len(message) + head.length > (max_text if kind == 1 else max_message):
            raise Broken(1009)
        place = head.payload + head.length
        if place > len(data):
            return False
        frame = Frame(head.opcode, mask(data[head.payload : place], head.key))
        if frame.opcode >= Opcode.CLOSE:
            _control(verdict, frame)
            continue
        message += frame.payload
        if head.fin:
            verdict.messages.append(_message(kind, message))
            message, kind = b"", 0
    return not kind


def _head(data: bytes, start: int) -> Head | None:
    if len(data) - start < 2:
        return None
    first, second = data[start], data[start + 1]
    fin, reserved, opcode, length = bool(first & 0x80), first >> 4 & 7, first & 0x0F, second & 0x7F
    if opcode not in set(Opcode) or not second & 0x80 or reserved & 3 or (reserved and opcode not in (1, 2)):
        raise Broken(1002)
    if opcode >= Opcode.CLOSE and (length > 125 or not fin):
        raise Broken(1002)
    wide = {126: 2, 127: 8}.get(length, 0)
    key = start + 2 + wide
    if wide and len(data) >= key:
        length = int.from_bytes(data[start + 2 : key], "big")
        if not (126 if wide == 2 else 65536) <= length < 2**63:
            raise Broken(1002)
    if len(data) < key + 4:
        return None
    return Head(fin, reserved, opcode, length, data[key : key + 4], key + 4)


def _check_place(head: Head, kind: int) -> int:
    """The opcode of the message that the frame belongs to."""
    if head.opcode >= Opcode.CLOSE:
        return kind
    if head.reserved or bool(kind) == bool(head.opcode):
        raise Broken(1002)
    return kind or head.opcode


def _control(verdict: Verdict, frame: Frame) -> None:
    if frame.opcode == Opcode.PING:
        verdict.pings.append(frame.payload)
    elif frame.opcode == Opcode.CLOSE:
        verdict.code = _answer(frame)
        verdict.left = True


def _answer(frame: Frame) -> int:
    """The code with which a Close frame is answered; raises Broken where it is none."""
    if not frame.payload:
        return 1000
    code = int.from_bytes(frame.payload[:2], "big")
    if len(frame.payload) == 1 or not (code in {*range(1000, 1004), *range(1007, 1015)} or 3000 <= code <= 4999):
        raise Broken(1002)
    try:
        return closed(frame).code
    except UnicodeDecodeError:
        raise Broken(1007) from None


def _message(kind: int, message: bytes) -> str | bytes:
    try:
        return message.decode() if kind == Opcode.TEXT else message
    except UnicodeDecodeError:
        raise Broken(1007) from None
