"""The protocol of one upload as a table: what comes in which state, what is to be done, what it leads to. Pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jackfield.app.errors import BAD_MESSAGE, TOO_LARGE, Kind
from jackfield.handlers.upload.wire.messages import End, Promise, Restart
from jackfield.handlers.upload.wire.one import (
    TRANSITIONS,
    Action,
    Bytes,
    Conversation,
    Effect,
    Event,
    Fail,
    Finish,
    Input,
    Left,
    Reset,
    State,
    Suspend,
    Write,
)
from jackfield.handlers.upload.wire.words import INCOMPLETE

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
        (FREE, 5, Restart(), [Reset()], State.RECEIVING),
        *((FREE, 5, left, [Suspend()], State.OVER) for left in (CLOSED, NO_CODE, AWAY, LOST, INSIDE)),
        *((TEN, 10, left, [Suspend()], State.OVER) for left in (CLOSED, NO_CODE, AWAY, LOST, INSIDE)),
        *((PLAIN, 5, left, [Finish(None)], State.FINISHING) for left in (CLOSED, NO_CODE)),
        *((PLAIN, 5, left, [Suspend()], State.OVER) for left in (AWAY, LOST, INSIDE, Left(3000, True))),
        (PLAIN, 5, End(DIGEST), [Finish(DIGEST)], State.FINISHING),
        (PLAIN, 0, CLOSED, [Finish(None)], State.FINISHING),
    ],
)
def test_what_comes_is_answered(
    promise: Promise, offset: int, event: Event, effects: list[Effect | Kind], state: State
) -> None:
    """While bytes are received every event has its effects, in order, and its next state."""
    conversation = Conversation(promise, offset, MAX)
    assert conversation.state is State.RECEIVING
    assert told(conversation.receive(event)) == effects
    assert conversation.state is state
    written = sum(effect.size for effect in effects if isinstance(effect, Write))
    assert conversation.offset == (0 if effects == [Reset()] else offset + written)


@pytest.mark.parametrize("ended", [End(), LOST, Bytes(101)], ids=["finishing", "left", "failed"])
@pytest.mark.parametrize("event", [Bytes(1), End(), Restart(), CLOSED])
def test_after_the_end_nothing_has_a_place(ended: Event, event: Event) -> None:
    """What is not in the table is illegal: once the end was said, or came, any event is `bad_message`."""
    conversation = Conversation(FREE, 0, MAX)
    conversation.receive(ended)
    assert conversation.state not in {state for state, _ in TRANSITIONS}
    assert told(conversation.receive(event)) == [BAD_MESSAGE]
    assert conversation.state is State.OVER


def test_every_row_of_the_table_is_reached() -> None:
    """While bytes are received whatever may come has its row, and each is reached by the examples above."""
    assert {event for state, event in TRANSITIONS if state is State.RECEIVING} == set(Input)
    assert {to for to, _ in TRANSITIONS.values()} == set(State)
    assert {action for _, action in TRANSITIONS.values()} == set(Action)


@given(promised=st.none() | st.integers(0, 50), events=st.lists(
    st.one_of(st.integers(0, 30).map(Bytes), st.just(Restart()), st.just(End()), st.sampled_from([CLOSED, LOST]))
))  # fmt: skip
def test_no_more_is_written_than_was_promised(promised: int | None, events: list[Event]) -> None:
    """Whatever comes: writes follow each other without a gap, never past the promise or the limit, and an end is
    only let through when a promised size is there."""
    conversation = Conversation(Promise("a", promised), 0, 40)
    limit = 40 if promised is None else promised
    written = 0
    for event in events:
        if conversation.state is not State.RECEIVING:
            break
        for effect in conversation.receive(event):
            if isinstance(effect, Write):
                assert 0 < effect.size <= (event.size if isinstance(event, Bytes) else 0)
                written += effect.size
            elif isinstance(effect, Reset):
                written = 0
            elif isinstance(effect, Finish):
                assert promised is None or written == promised
        assert conversation.offset == written <= limit
