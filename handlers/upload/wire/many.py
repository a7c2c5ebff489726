"""Many uploads on one socket, as a state machine: requests, their slots, and the order of their answers. Pure.

Each `create` or `resume` is a *request* and has a *slot*, which holds its answers until they are sent. Answers are
sent in the order of the requests: only the foremost slot may send. At most one slot, the *current* one, takes bytes,
`end` and `restart`; those before it are ended, and wait for their receipts.

`TRANSITIONS` is the protocol ("Many files on one socket" in docs/protocol.md): what the client says in a state
where the table does not have it is `bad_message`, which closes the socket.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

from jackfield.app.errors import BAD_MESSAGE, Failure
from jackfield.handlers.upload.wire import messages
from jackfield.handlers.upload.wire.messages import Creation, End, Receipt, Restart, Resume, check_token
from jackfield.handlers.upload.wire.one import Bytes
from jackfield.handlers.upload.wire.words import INCOMPLETE, SUPERSEDED


class State(Enum):
    """What the client may say next."""

    __hash__ = object.__hash__  # a key of the table; that of Enum is Python, and is called ten times a file

    BETWEEN = "Between"  # no upload takes bytes: a request must come first
    OPENING = "Opening"  # the current request's upload is looked for, or begun anew; nothing is read meanwhile
    RECEIVING = "Receiving"  # `ready` was said: the current upload takes bytes, `end` and `restart`
    ENDING = "Ending"  # `end` was said, and the upload is asked whether it may; nothing is read meanwhile
    DISCARDING = "Discarding"  # after an error, or a receipt given at once: up to the next request


class Outcome(Enum):
    """What becomes of a slot, by the service."""

    __hash__ = object.__hash__  # a key of the table; that of Enum is Python, and is called ten times a file

    READY = "its upload is open"
    ENDED = "the end is accepted"
    STORED = "it is stored"
    FAILED = "it failed"


class Action(Enum):
    """What is done in a transition."""

    OPEN = "open its upload"
    LEAVE = "error `incomplete` for the one before, open its upload"
    FORWARD = "give it to the upload"
    DISCARD = "throw it away"
    READY = "say `ready`"
    STORE = "store it"
    STORED = "say `stored`"
    ERROR = "say `error`"


TRANSITIONS: Final[dict[tuple[State, type | Outcome], tuple[State, Action]]] = {
    (State.BETWEEN, Creation): (State.OPENING, Action.OPEN),
    (State.BETWEEN, Resume): (State.OPENING, Action.OPEN),
    (State.BETWEEN, Outcome.FAILED): (State.DISCARDING, Action.ERROR),  # what follows may have been meant for it
    (State.OPENING, Outcome.READY): (State.RECEIVING, Action.READY),
    (State.OPENING, Outcome.STORED): (State.DISCARDING, Action.STORED),
    (State.OPENING, Outcome.FAILED): (State.DISCARDING, Action.ERROR),
    (State.RECEIVING, Bytes): (State.RECEIVING, Action.FORWARD),
    (State.RECEIVING, Restart): (State.OPENING, Action.FORWARD),
    (State.RECEIVING, End): (State.ENDING, Action.FORWARD),
    (State.RECEIVING, Creation): (State.OPENING, Action.LEAVE),
    (State.RECEIVING, Resume): (State.OPENING, Action.LEAVE),
    (State.RECEIVING, Outcome.FAILED): (State.DISCARDING, Action.ERROR),
    (State.ENDING, Outcome.ENDED): (State.BETWEEN, Action.STORE),
    (State.ENDING, Outcome.FAILED): (State.DISCARDING, Action.ERROR),
    (State.DISCARDING, Bytes): (State.DISCARDING, Action.DISCARD),
    (State.DISCARDING, End): (State.DISCARDING, Action.DISCARD),
    (State.DISCARDING, Restart): (State.DISCARDING, Action.DISCARD),
    (State.DISCARDING, Creation): (State.OPENING, Action.OPEN),
    (State.DISCARDING, Resume): (State.OPENING, Action.OPEN),
}


class Slot:
    """One request and its answers."""

    __slots__ = ("begun", "done", "failure", "texts", "token")

    def __init__(self, token: str | None) -> None:
        self.token = token  # of its upload; None until it is known
        self.texts: deque[str] = deque()  # answers that are not sent yet
        self.begun = False  # `ready` was said
        self.done = False  # the last answer, `stored` or `error`, was said
        self.failure: Failure | None = None  # taken over: the error to say when all that has arrived is used


@dataclass(frozen=True, slots=True)
class Open:
    """Get the upload of this slot. Let the slot go that was `left` before its end, where there is one, and why."""

    slot: Slot
    request: Creation | Resume
    left: tuple[Slot, Failure] | None = None


@dataclass(frozen=True, slots=True)
class Forward:
    """Give what came to the upload of this slot."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class Discard:
    """Throw away what came."""


Effect = Open | Forward | Discard


class ManyConversation:
    """The state machine of one socket, and the answers that wait to be sent.

    `receive` takes what the client says. What becomes of a slot is told with `ready`, `ended`, `stored` and
    `failed`; of a slot that is done nothing more is heard.
    """

    def __init__(self) -> None:
        self.state = State.BETWEEN
        self.current: Slot | None = None  # the newest slot, until its end is accepted or it is done
        self.pending_bytes = 0  # of answers that are not sent
        self.unanswered = 0  # slots that are not done
        self._slots: deque[Slot] = deque()  # in the order of the requests: with answers to come, or to be sent

    # -- what the client says

    def receive(self, event: Creation | Resume | Bytes | End | Restart) -> Effect:
        """Move on, and return what is to be done. Raises Failure `bad_message` where it has no place."""
        transition = TRANSITIONS.get((self.state, type(event)))
        if transition is None:
            raise Failure(BAD_MESSAGE, f"{type(event).__name__} without a `create` or `resume` before.")
        self.state, action = transition
        if isinstance(event, Creation | Resume):
            return self._open(event, leave=action is Action.LEAVE)
        if action is Action.DISCARD:
            return Discard()
        assert self.current is not None
        return Forward(self.current)

    def _open(self, request: Creation | Resume, *, leave: bool) -> Open:
        left = None
        if leave:
            slot = self.current
            assert slot is not None
            left = slot, slot.failure or Failure(INCOMPLETE, "The next upload came before the end of this one.")
            self._answer(slot, messages.error(left[1], slot.token))
        token = request.token if request.token is not None and check_token(request.token) else None
        self.current = slot = Slot(token)
        self._slots.append(slot)
        self.unanswered += 1
        return Open(slot, request, left)

    # -- what becomes of a slot

    def ready(self, slot: Slot, text: str) -> bool:
        """Its upload is open, and takes bytes: say so with `text`. False where the slot is done already."""
        if slot.done:
            return False
        self._move(slot, Outcome.READY)
        slot.begun = True
        self._say(slot, text)
        return True

    def ended(self, slot: Slot) -> bool:
        """Its end is accepted, and it is to be stored. False where the slot is done already."""
        if slot.done:
            return False
        self._move(slot, Outcome.ENDED)
        self.current = None
        return True

    def stored(self, slot: Slot, receipt: Receipt) -> bool:
        """It has its receipt. False where the slot was done already."""
        if slot.done:
            return False
        assert slot.token is not None
        if slot is self.current:
            self._move(slot, Outcome.STORED)
        self._answer(slot, messages.stored(slot.token, receipt))
        return True

    def failed(self, slot: Slot, failure: Failure) -> bool:
        """It failed, for itself alone. False where the slot was done already."""
        if slot.done:
            return False
        if slot is self.current or self.state is State.BETWEEN:
            self._move(slot, Outcome.FAILED)
        self._answer(slot, messages.error(failure, slot.token))
        return True

    def interrupted(self, slot: Slot, failure: Failure, *, more: bool) -> bool:
        """It is ended from outside. Whether it has ended now: of one that is taken over, bytes that have arrived are
        used first.

        `more` says whether anything has arrived that is not used yet.
        """
        if more and failure.kind is SUPERSEDED and slot is self.current and slot.begun:
            slot.failure = failure
            return False
        return self.failed(slot, failure)

    def _move(self, slot: Slot, outcome: Outcome) -> None:
        assert self.current in (slot, None)
        self.state = TRANSITIONS[self.state, outcome][0]

    # -- answers

    def _say(self, slot: Slot, text: str) -> None:
        slot.texts.append(text)
        self.pending_bytes += size_of(text)

    def _answer(self, slot: Slot, text: str) -> None:
        """Say the last answer of the slot."""
        self._say(slot, text)
        slot.done = True
        self.unanswered -= 1
        if slot is self.current:
            self.current = None

    @property
    def blocked_by_peer(self) -> bool:
        """Whether the next answer only waits for the client to read."""
        return bool(self._slots and self._slots[0].texts)

    @property
    def foremost(self) -> Slot | None:
        """The foremost slot while it is not done: the one whose acks may be sent."""
        return self._slots[0] if self._slots and not self._slots[0].done else None

    def may_acknowledge(self, slot: Slot) -> bool:
        """Whether an ack of this slot would stand in its place: behind its `ready`, before its last answer."""
        return slot is self.foremost and slot.begun and not slot.texts

    @property
    def unfinished_before_current(self) -> bool:
        """Whether a request before the current one has no last answer yet: it was ended, and is being stored."""
        return self.unanswered > (self.current is not None)

    def sendable(self, limit: int) -> list[str]:
        """The answers that come next, in order, up to about `limit` bytes of them."""
        texts: list[str] = []
        size = 0
        for slot in self._slots:
            for text in slot.texts:
                texts.append(text)
                size += size_of(text)
            if not slot.done or size >= limit:
                break
        return texts

    def sent(self, count: int) -> None:
        """So many answers are sent; slots that have nothing more to say are over."""
        slots = self._slots
        for _ in range(count):
            self.pending_bytes -= size_of(slots[0].texts.popleft())
            if slots[0].done and not slots[0].texts:
                slots.popleft()


def size_of(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
