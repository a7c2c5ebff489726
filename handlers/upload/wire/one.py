"""One upload on one socket, as a state machine: events in, effects out. Pure: it never waits.

The table is the protocol ("Send" in docs/protocol.md): what is not in it is illegal and answered
`bad_message`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from jackfield.app.errors import BAD_MESSAGE, NO_CODE, NORMAL, TOO_LARGE, Failure
from jackfield.handlers.upload.wire.messages import End, Promise, Restart
from jackfield.handlers.upload.wire.words import INCOMPLETE


class State(Enum):
    """Where the conversation stands."""

    RECEIVING = auto()  # `ready` was sent; bytes, `end` and `restart` are welcome
    FINISHING = auto()  # `end` has come; the store publishes
    OVER = auto()  # failed or left: events are ignored


@dataclass(frozen=True, slots=True)
class Bytes:
    """`size` bytes of the file came."""

    size: int


@dataclass(frozen=True, slots=True)
class Left:
    """The client ended the socket; `clean` where a Close frame stood between messages."""

    code: int
    clean: bool


Event = Bytes | End | Restart | Left


@dataclass(frozen=True, slots=True)
class Write:
    """Append the first `size` of the bytes that came."""

    size: int


@dataclass(frozen=True, slots=True)
class Reset:
    """Throw the bytes away, and say `ready` again."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Verify, store, and send the receipt. `sha256` is what the end promised."""

    sha256: str | None


@dataclass(frozen=True, slots=True)
class Fail:
    """Close with this failure; what was written is kept."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Suspend:
    """The client is gone without an end: keep what has come."""


Effect = Write | Reset | Finish | Fail | Suspend
Effects = tuple[Effect, ...]


class Conversation:
    """The state machine. `offset` counts the bytes it has let through, `limit` is what may come at most."""

    def __init__(self, promise: Promise, offset: int, max_size: int) -> None:
        self.state = State.RECEIVING
        self.offset = offset
        self._promise = promise
        self._limit = max_size if promise.size is None else promise.size

    def receive(self, event: Event) -> Effects:
        """Take what came, move on, and say what is to be done, in order."""
        transition = TRANSITIONS.get((self.state, type(event)))
        if transition is None:
            self.state = State.OVER
            return (Fail(Failure(BAD_MESSAGE, f"{type(event).__name__} has no place here.")),)
        self.state, effects = transition(self, event)
        return effects

    def _bytes(self, event: Bytes) -> tuple[State, Effects]:
        room = max(self._limit - self.offset, 0)  # below the offset where `max_size` was lowered meanwhile
        size = min(event.size, room)
        self.offset += size
        written = (Write(size),) if size else ()
        if event.size <= room:
            return State.RECEIVING, written
        failure = Failure(TOO_LARGE, f"More than the {self._limit} bytes that were promised or are allowed.")
        return State.OVER, (*written, Fail(failure))

    def _end(self, event: End) -> tuple[State, Effects]:
        fault = self._missing()
        if fault is not None:
            return State.OVER, (Fail(fault),)
        return State.FINISHING, (Finish(event.sha256),)

    def _missing(self) -> Failure | None:
        if self._promise.size is None or self.offset == self._promise.size:
            return None
        return Failure(INCOMPLETE, f"{self.offset} of {self._promise.size} promised bytes have come.")

    def _restart(self, event: Restart) -> tuple[State, Effects]:
        self.offset = 0
        return State.RECEIVING, (Reset(),)

    def _left(self, event: Left) -> tuple[State, Effects]:
        # Completion is said, not guessed: only a plain upload's polite Close, between messages, is an end.
        if self._promise.plain and event.clean and event.code in (NORMAL, NO_CODE):
            return self._end(End())
        return State.OVER, (Suspend(),)


TRANSITIONS: Final[dict[tuple[State, type], Callable[..., tuple[State, Effects]]]] = {
    (State.RECEIVING, Bytes): Conversation._bytes,
    (State.RECEIVING, End): Conversation._end,
    (State.RECEIVING, Restart): Conversation._restart,
    (State.RECEIVING, Left): Conversation._left,
}
