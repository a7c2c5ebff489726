"""One upload on one socket, as a state machine: events in, effects out. Pure: it never waits.

`TRANSITIONS` is the protocol ("Send" in docs/protocol.md): what the table does not have is illegal, and answered
`bad_message`.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from jackfield.app.errors import BAD_MESSAGE, NO_CODE, NORMAL, TOO_LARGE, Failure
from jackfield.handlers.upload.wire.messages import End, Promise, Restart
from jackfield.handlers.upload.wire.words import INCOMPLETE


class State(Enum):
    """What the client may say next."""

    __hash__ = object.__hash__  # a key of the table; that of Enum is Python, and is called ten times a file

    RECEIVING = "Receiving"  # `ready` was sent: bytes, `end` and `restart`
    FINISHING = "Finishing"  # the end was accepted, the store has the upload: nothing
    OVER = "Over"  # it failed, or the client has left: nothing


class Input(Enum):
    """What an event is, by what was promised and what has come before."""

    __hash__ = object.__hash__  # a key of the table; that of Enum is Python, and is called ten times a file

    BYTES = "bytes"
    EXCESS = "more bytes than were promised or are allowed"
    END = "end, or the clean Close of a plain upload"
    EARLY_END = "an end before the promised size"
    RESTART = "restart"
    LEFT = "any other end of the socket"


class Action(Enum):
    """What is done in a transition."""

    WRITE = "write them"
    REFUSE = "write those that are allowed, error `too_large`"
    FINISH = "verify and store it"
    INCOMPLETE = "error `incomplete`"
    RESET = "forget the bytes, say `ready`"
    SUSPEND = "keep what has come"


TRANSITIONS: Final[dict[tuple[State, Input], tuple[State, Action]]] = {
    (State.RECEIVING, Input.BYTES): (State.RECEIVING, Action.WRITE),
    (State.RECEIVING, Input.RESTART): (State.RECEIVING, Action.RESET),
    (State.RECEIVING, Input.END): (State.FINISHING, Action.FINISH),
    (State.RECEIVING, Input.EARLY_END): (State.OVER, Action.INCOMPLETE),
    (State.RECEIVING, Input.EXCESS): (State.OVER, Action.REFUSE),
    (State.RECEIVING, Input.LEFT): (State.OVER, Action.SUSPEND),
}


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
        self._limit = max_size if promise.expected is None else promise.expected

    def receive(self, event: Event) -> Effects:
        """Take what came, move on, and say what is to be done, in order."""
        transition = TRANSITIONS.get((self.state, self._classify(event)))
        if transition is None:
            self.state = State.OVER
            return (Fail(Failure(BAD_MESSAGE, f"{type(event).__name__} has no place here.")),)
        self.state, action = transition
        return self._effects(action, event)

    def _classify(self, event: Event) -> Input:
        match event:
            case Bytes(size):
                return Input.EXCESS if size > self._left else Input.BYTES
            case Restart():
                return Input.RESTART
            case Left(code, clean) if not (self._promise.plain and clean and code in (NORMAL, NO_CODE)):
                return Input.LEFT  # completion is said, not guessed: only a plain upload's clean Close is an end
            case _:  # `end`, or such a Close
                return Input.END if self._promise.expected in (None, self.offset) else Input.EARLY_END

    @property
    def _left(self) -> int:
        """Bytes that may still come; the offset lies above the limit where `max_size` was lowered meanwhile."""
        return max(self._limit - self.offset, 0)

    def _effects(self, action: Action, event: Event) -> Effects:
        match action:
            case Action.WRITE:
                return self._write(event)
            case Action.REFUSE:
                text = f"More than the {self._limit} bytes that were promised or are allowed."
                return (*self._write(event), Fail(Failure(TOO_LARGE, text)))
            case Action.FINISH:
                return (Finish(event.sha256 if isinstance(event, End) else None),)
            case Action.INCOMPLETE:
                text = f"{self.offset} of {self._promise.expected} promised bytes have come."
                return (Fail(Failure(INCOMPLETE, text)),)
            case Action.RESET:
                self.offset = 0
                return (Reset(),)
            case _:
                return (Suspend(),)

    def _write(self, event: Event) -> Effects:
        assert isinstance(event, Bytes)
        size = min(event.size, self._left)
        self.offset += size
        return (Write(size),) if size else ()
