"""The protocol of one upload as a table: what comes in which state, what is to be done, what it leads to. Pure."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jackfield.app.errors import BAD_MESSAGE, BAD_REQUEST, TOO_LARGE, Failure, Kind
from jackfield.handlers.upload.wire import messages
from jackfield.handlers.upload.wire.messages import (
    Create,
    End,
    Promise,
    Receipt,
    Restart,
    Resume,
    parse,
    parse_many,
    parse_promise,
)
from jackfield.handlers.upload.wire.one import (
    TRANSITIONS,
    Bytes,
    Effect,
    Event,
    Fail,
    Finish,
    Forget,
    Keep,
    Left,
    State,
    Transfer,
    Write,
)
from jackfield.handlers.upload.wire.words import INCOMPLETE, NO_SPACE

DIGEST = "0123456789abcdef" * 4
FREE = Promise("a")
TEN = Promise("a", size=10)
EMPTY = Promise("a", size=0)
PLAIN = Promise("a", plain=True)
MAX = 100

CLOSED, NO_CODE, AWAY, LOST = Left(1000, True), Left(1005, True), Left(1001, True), Left(1006, False)
INSIDE = Left(1000, False)  # a Close frame inside an unfinished message


def told(effects: tuple[Effect, ...]) -> list[Effect | Kind]:
    """The effects, of a failure only the kind: its words are for people."""
    return [effect.failure.kind if isinstance(effect, Fail) else effect for effect in effects]


@pytest.mark.parametrize(
    ("promise", "offset", "event", "effects", "state"),
    [
        (FREE, 0, Bytes(7), [Write(7)], State.RECEIVING),
        (FREE, 0, Bytes(0), [], State.RECEIVING),
        (FREE, 93, Bytes(7), [Write(7)], State.RECEIVING),
        (FREE, 94, Bytes(7), [Write(6), TOO_LARGE], State.OVER),
        (FREE, 100, Bytes(1), [TOO_LARGE], State.OVER),
        (FREE, 150, Bytes(7), [TOO_LARGE], State.OVER),  # max_size was lowered meanwhile
        (FREE, 150, Bytes(0), [], State.RECEIVING),
        (TEN, 3, Bytes(7), [Write(7)], State.RECEIVING),
        (TEN, 3, Bytes(8), [Write(7), TOO_LARGE], State.OVER),
        (TEN, 10, Bytes(1), [TOO_LARGE], State.OVER),
        (EMPTY, 0, Bytes(1), [TOO_LARGE], State.OVER),
        (FREE, 5, End(), [Finish(None)], State.FINISHING),
        (FREE, 5, End(DIGEST), [Finish(DIGEST)], State.FINISHING),
        (FREE, 0, End(), [Finish(None)], State.FINISHING),
        (EMPTY, 0, End(), [Finish(None)], State.FINISHING),
        (TEN, 10, End(DIGEST), [Finish(DIGEST)], State.FINISHING),
        (TEN, 9, End(), [INCOMPLETE], State.OVER),
        (FREE, 5, Restart(), [Forget()], State.RECEIVING),
        *((FREE, 5, left, [Keep()], State.OVER) for left in (CLOSED, NO_CODE, AWAY, LOST, INSIDE)),
        *((TEN, 10, left, [Keep()], State.OVER) for left in (CLOSED, NO_CODE, AWAY, LOST, INSIDE)),
        *((PLAIN, 5, left, [Finish(None)], State.FINISHING) for left in (CLOSED, NO_CODE)),
        *((PLAIN, 5, left, [Keep()], State.OVER) for left in (AWAY, LOST, INSIDE, Left(3000, True))),
        (PLAIN, 5, End(DIGEST), [Finish(DIGEST)], State.FINISHING),
        (PLAIN, 0, CLOSED, [Finish(None)], State.FINISHING),
    ],
)
def test_what_comes_is_answered(
    promise: Promise, offset: int, event: Event, effects: list[Effect | Kind], state: State
) -> None:
    """While bytes are received every event has its effects, in order, and its next state."""
    transfer = Transfer(promise, offset, MAX)
    assert transfer.state is State.RECEIVING
    assert told(transfer.receive(event)) == effects
    assert transfer.state is state
    written = sum(effect.size for effect in effects if isinstance(effect, Write))
    assert transfer.offset == (0 if effects == [Forget()] else offset + written)


@pytest.mark.parametrize("ended", [End(), LOST, Bytes(101)], ids=["finishing", "left", "failed"])
@pytest.mark.parametrize("event", [Bytes(1), End(), Restart(), CLOSED])
def test_after_the_end_nothing_has_a_place(ended: Event, event: Event) -> None:
    """What is not in the table is illegal: once the end was said, or came, any event is `bad_message`."""
    transfer = Transfer(FREE, 0, MAX)
    transfer.receive(ended)
    assert (transfer.state, type(event)) not in TRANSITIONS
    assert told(transfer.receive(event)) == [BAD_MESSAGE]
    assert transfer.state is State.OVER


@given(promised=st.none() | st.integers(0, 50), events=st.lists(
    st.one_of(st.integers(0, 30).map(Bytes), st.just(Restart()), st.just(End()), st.sampled_from([CLOSED, LOST]))
))  # fmt: skip
def test_no_more_is_written_than_was_promised(promised: int | None, events: list[Event]) -> None:
    """Whatever comes: writes follow each other without a gap, never past the promise or the limit, and an end is
    only let through when a promised size is there."""
    transfer = Transfer(Promise("a", promised), 0, 40)
    limit = 40 if promised is None else promised
    written = 0
    for event in events:
        if transfer.state is not State.RECEIVING:
            break
        for effect in transfer.receive(event):
            if isinstance(effect, Write):
                assert 0 < effect.size <= (event.size if isinstance(event, Bytes) else 0)
                written += effect.size
            elif isinstance(effect, Forget):
                written = 0
            elif isinstance(effect, Finish):
                assert promised is None or written == promised
        assert transfer.offset == written <= limit


# -- messages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type":"end"}', End()),
        ('{"type":"end","sha256":null,"more":1}', End()),
        (f'{{"type":"end","sha256":"{DIGEST}"}}', End(DIGEST)),
        ('{"type":"restart"}', Restart()),
    ],
)
def test_messages_are_read(text: str, message: End | Restart) -> None:
    """On a socket of one upload and on one of many; keys that are not known are passed over."""
    assert parse(text) == parse_many(text) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type":"create","name":"ä/b"}', Create(Promise("ä/b"))),
        (f'{{"type":"create","name":"","size":0,"sha256":"{DIGEST}"}}', Create(Promise("", 0, DIGEST))),
        ('{"type":"create","name":"a","size":null,"sha256":null}', Create(Promise("a"))),
        ('{"type":"resume","token":"t"}', Resume("t")),
    ],
)
def test_messages_of_many_files_are_read(text: str, message: Create | Resume) -> None:
    """Creation and resumption on the socket; where there is one upload they have no meaning."""
    assert parse_many(text) == message
    assert fault(parse, text) is BAD_MESSAGE


BROKEN = [
    "", "null", "[]", "1", '"end"', "{", "{}", '{"type":null}', '{"type":"END"}', '{"type":["end"]}', "[" * 5000,
    '{"type":"end","sha256":1}', '{"type":"end","sha256":""}', f'{{"type":"end","sha256":"{DIGEST.upper()}"}}',
    f'{{"type":"end","sha256":"{DIGEST}\\n"}}', '{"type":"end","sha256":[]}', '{"type":"\\ud800"}',
]  # fmt: skip
NO_PROMISE = [
    '{"type":"create"}', '{"type":"create","name":1}', '{"type":"create","name":null}',
    *(f'{{"type":"create","name":"a","size":{size}}}' for size in ("-1", "1.0", "1.5", "true", '"1"', "[]", "1e3")),
    '{"type":"create","name":"a","sha256":"x"}',
]  # fmt: skip


def fault(read: object, text: str) -> Kind:
    """The kind of failure with which it is refused."""
    assert callable(read)
    with pytest.raises(Failure) as refused:
        read(text)
    return refused.value.kind


@pytest.mark.parametrize("text", [*BROKEN, *NO_PROMISE, '{"type":"resume"}', '{"type":"resume","token":1}'])
def test_what_is_no_message_is_refused(text: str) -> None:
    """`bad_message`, on both kinds of socket, for whatever it is."""
    assert fault(parse, text) is BAD_MESSAGE
    assert fault(parse_many, text) is BAD_MESSAGE


@pytest.mark.parametrize("text", ["", "null", "[]", "{", "{}", *NO_PROMISE])
def test_what_is_no_promise_is_a_bad_request(text: str) -> None:
    """Over HTTP the same faults are `bad_request`."""
    assert fault(parse_promise, text) is BAD_REQUEST


KEYS = st.sampled_from(["type", "name", "size", "sha256", "token"])
SCALARS = st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)).map(json.dumps)


@given(text=st.text() | JSON)
def test_reading_never_fails_otherwise(text: str) -> None:
    """Any text is a message or a Failure, nothing else."""
    for read in (parse, parse_many, parse_promise):
        with contextlib.suppress(Failure):
            read(text)


def test_what_the_server_says() -> None:
    """Its four messages, as the contract writes them, in one line of JSON each."""
    receipt = Receipt("ä", 3, DIGEST)
    said = [
        messages.ready("t", TEN, 0, None, 256, 1024),
        messages.ack(5, 3),
        messages.stored("t", receipt),
        messages.error(Failure(NO_SPACE, "The disk is full.")),
        messages.error(Failure(NO_SPACE, "The disk is full."), "t"),
    ]
    full = {"type": "error", "status": 507, "code": "no_space", "detail": "The disk is full."}
    assert [json.loads(each) for each in said] == [
        {
            "type": "ready", "token": "t", "name": "a", "offset": 0, "size": 10, "sha256": None,
            "message_size": 256, "window": 1024,
        },
        {"type": "ack", "offset": 5, "durable": 3},
        {"type": "stored", "token": "t", "name": "ä", "size": 3, "sha256": DIGEST},
        full,
        {**full, "token": "t"},
    ]  # fmt: skip
    assert not [each for each in said if "\n" in each]
