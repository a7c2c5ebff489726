"""Many files on one socket as a table: what a request begins, whose the bytes are, and the order of the answers."""

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jackfield.app.errors import BAD_MESSAGE, Failure, Kind
from jackfield.handlers.upload.wire.many import (
    TRANSITIONS,
    Discard,
    Forward,
    ManyConversation,
    Open,
    Outcome,
    Slot,
    State,
)
from jackfield.handlers.upload.wire.messages import Creation, End, Promise, Receipt, Restart, Resume
from jackfield.handlers.upload.wire.one import Bytes
from jackfield.handlers.upload.wire.words import CANCELLED, DIGEST_MISMATCH, SUPERSEDED, UNKNOWN_UPLOAD

CREATE = Creation(Promise("a"))
TOKEN = "t" * 32
RECEIPT = Receipt("a", 1, "0" * 64)
TAKEN = Failure(SUPERSEDED, "A newer socket goes on with this upload.")
ALL = 2**30


def opened(machine: ManyConversation, request: Creation | Resume = CREATE) -> Slot:
    """The slot of a request."""
    effect = machine.receive(request)
    assert isinstance(effect, Open)
    return effect.slot


def begun(machine: ManyConversation) -> Slot:
    """The slot of a `create` whose `ready` was said."""
    slot = opened(machine)
    slot.token = TOKEN
    assert machine.ready(slot, "ready")
    return slot


def ended(machine: ManyConversation) -> Slot:
    """The slot of one that was ended, and is being stored."""
    slot = begun(machine)
    assert machine.receive(End()) == Forward(slot)
    assert machine.ended(slot)
    return slot


def answers(machine: ManyConversation) -> list[str]:
    """What can be sent now, sent: `ready`, `stored`, or the word of an error."""
    texts = machine.sendable(ALL)
    machine.sent(len(texts))
    return [word(text) for text in texts]


def word(text: str) -> str:
    """What an answer says."""
    if text == "ready":
        return text
    message = json.loads(text)
    return str(message["code"] if message["type"] == "error" else message["type"])


# -- whose the bytes are


@pytest.mark.parametrize("event", [Bytes(1), End(), Restart()])
def test_without_a_request_nothing_may_come(event: Bytes | End | Restart) -> None:
    """Before the first one, and between an end and the next one, it is `bad_message`."""
    machine = ManyConversation()
    for _ in range(2):
        with pytest.raises(Failure) as refused:
            machine.receive(event)
        assert refused.value.kind is BAD_MESSAGE
        ended(machine)


def test_bytes_are_for_the_newest_request() -> None:
    """From its `ready` to its end, whatever becomes of those before it."""
    machine = ManyConversation()
    first, second = ended(machine), begun(machine)
    assert machine.receive(Bytes(1)) == Forward(second)
    machine.failed(first, Failure(DIGEST_MISMATCH, ""))
    assert machine.receive(Bytes(1)) == Forward(second)
    assert machine.receive(Restart()) == Forward(second)
    assert machine.ready(second, "ready")
    assert machine.receive(End()) == Forward(second)


def test_after_an_error_all_is_thrown_away_up_to_the_next_request() -> None:
    """Bytes, `end` and `restart` of one that failed at its `create` do no harm."""
    machine = ManyConversation()
    machine.failed(opened(machine), Failure(UNKNOWN_UPLOAD, ""))
    for event in (Bytes(1), End(), Restart(), Bytes(1)):
        assert machine.receive(event) == Discard()
    slot = begun(machine)
    assert machine.receive(Bytes(1)) == Forward(slot)
    assert answers(machine) == ["unknown_upload", "ready"]


def test_what_follows_an_error_after_the_end_may_have_been_meant_for_it() -> None:
    """A digest that differs is told after the end: what comes next is thrown away, and is no `bad_message`."""
    machine = ManyConversation()
    machine.failed(ended(machine), Failure(DIGEST_MISMATCH, ""))
    assert machine.receive(Restart()) == Discard()
    assert machine.receive(Bytes(1)) == Discard()


def test_an_error_of_one_before_does_not_touch_the_one_that_is_opened() -> None:
    """While the next upload is looked for, the one before fails: the next one begins all the same."""
    machine = ManyConversation()
    first, second = ended(machine), opened(machine)
    machine.failed(first, Failure(DIGEST_MISMATCH, ""))
    assert machine.state is State.OPENING
    assert machine.ready(second, "ready")
    assert machine.receive(Bytes(1)) == Forward(second)


def test_what_is_sent_behind_a_receipt_is_thrown_away() -> None:
    """A request whose upload is stored has its receipt at once; its bytes and its end do no harm."""
    machine = ManyConversation()
    slot = opened(machine, Resume(TOKEN))
    machine.stored(slot, RECEIPT)
    assert [machine.receive(event) for event in (Bytes(1), End())] == [Discard(), Discard()]
    assert answers(machine) == ["stored"]


def test_a_request_before_the_end_leaves_the_one_before() -> None:
    """It is `incomplete` for that one, in its own place, and the session of it is let go."""
    machine = ManyConversation()
    first = begun(machine)
    effect = machine.receive(Resume(TOKEN))
    assert isinstance(effect, Open)
    assert effect.left is not None
    assert effect.left[0] is first
    assert answers(machine) == ["ready", "incomplete"]
    assert not machine.failed(first, TAKEN), "it is done"


# -- the order of the answers


def test_answers_are_given_in_turn() -> None:
    """Whoever is stored first: a receipt waits for the answers of all requests before it."""
    machine = ManyConversation()
    first, second, third = ended(machine), ended(machine), begun(machine)
    machine.stored(second, RECEIPT)
    assert answers(machine) == ["ready"]
    assert (machine.blocked_by_peer, machine.foremost) == (False, first)
    machine.failed(first, Failure(DIGEST_MISMATCH, ""))
    assert machine.blocked_by_peer
    assert answers(machine) == ["digest_mismatch", "ready", "stored", "ready"]
    assert (machine.foremost, machine.pending_bytes, machine.unanswered) == (third, 0, 1)


def test_no_more_is_sent_at_once_than_is_worth_a_write() -> None:
    """The limit counts bytes of UTF-8, and at least one slot is sent."""
    machine = ManyConversation()
    for _ in range(3):
        slot = opened(machine)
        slot.token = "é" * 10
        machine.stored(slot, RECEIPT)
    text = machine.sendable(1)[0]
    assert machine.pending_bytes == 3 * len(text.encode())
    assert len(machine.sendable(len(text) + 1)) == 1, "characters do not count"
    assert len(machine.sendable(len(text.encode()) + 1)) == 2


@pytest.mark.parametrize("token", ["", "\ud800", "a" * 60_000, "../x"])
def test_what_can_be_no_token_is_not_echoed(token: str) -> None:
    """Its error is short, and can be encoded."""
    machine = ManyConversation()
    machine.failed(opened(machine, Resume(token)), Failure(UNKNOWN_UPLOAD, "No upload has such a token."))
    [text] = machine.sendable(ALL)
    assert "token" not in json.loads(text)
    assert len(text.encode()) < 200


def test_an_answer_that_could_not_be_sent_is_offered_again() -> None:
    """Whoever is interrupted in sending loses no receipt, and none is sent twice."""
    machine = ManyConversation()
    machine.stored(ended(machine), RECEIPT)
    texts = machine.sendable(ALL)
    assert machine.sendable(ALL) == texts, "it was not sent"
    machine.sent(1)
    assert machine.sendable(ALL) == texts[1:]
    machine.sent(1)
    assert machine.sendable(ALL) == []
    assert machine.pending_bytes == 0


def test_an_ack_stands_behind_its_ready_and_before_the_last_answer() -> None:
    """None while `ready`, or one after a `restart`, waits to be sent; none for a request that is not the foremost."""
    machine = ManyConversation()
    first, second = begun(machine), None
    assert not machine.may_acknowledge(first), "its `ready` is not sent"
    assert answers(machine) == ["ready"]
    assert machine.may_acknowledge(first)
    machine.receive(Restart())
    machine.ready(first, "ready")
    assert not machine.may_acknowledge(first), "its offset is a new one"
    assert answers(machine) == ["ready"]
    machine.receive(End())
    machine.ended(first)
    assert machine.may_acknowledge(first), "`durable` moves while it is stored"
    second = begun(machine)
    assert not machine.may_acknowledge(second)
    machine.stored(first, RECEIPT)
    assert not machine.may_acknowledge(first)
    assert not machine.may_acknowledge(second)
    assert answers(machine) == ["stored", "ready"]
    assert machine.may_acknowledge(second)


def test_an_upload_that_is_looked_for_has_no_acks() -> None:
    """Before its `ready` is said the client does not know from where it counts."""
    machine = ManyConversation()
    assert not machine.may_acknowledge(opened(machine, Resume(TOKEN)))


def test_what_is_owed_while_files_are_stored() -> None:
    """A client that waits for receipts is not idle; one that has begun an upload and sends nothing is."""
    machine = ManyConversation()
    assert not machine.unfinished_before_current
    first = ended(machine)
    assert machine.unfinished_before_current
    begun(machine)
    assert machine.unfinished_before_current
    machine.stored(first, RECEIPT)
    assert not machine.unfinished_before_current


# -- others end it


def test_taken_over_before_it_was_held() -> None:
    """While this socket waits for the upload, a still newer one has it: one error, and nothing begins."""
    machine = ManyConversation()
    slot = opened(machine, Resume(TOKEN))
    assert machine.interrupted(slot, TAKEN, more=True)
    assert not machine.ready(slot, "ready")
    assert not machine.failed(slot, TAKEN)
    assert machine.receive(Bytes(1)) == Discard()
    assert answers(machine) == ["superseded"]


def test_what_had_arrived_before_it_was_taken_over_is_used() -> None:
    """Bytes and an end that are here already are the upload's: it may even be stored."""
    machine = ManyConversation()
    slot = begun(machine)
    assert not machine.interrupted(slot, TAKEN, more=True)
    assert machine.receive(Bytes(1)) == Forward(slot)
    assert machine.receive(End()) == Forward(slot)
    assert machine.ended(slot)
    assert machine.stored(slot, RECEIPT)
    assert not machine.failed(slot, TAKEN), "the time is over, and it is done"
    assert answers(machine) == ["ready", "stored"]


def test_a_request_behind_a_take_over() -> None:
    """The one that was taken over is `superseded`, not `incomplete`."""
    machine = ManyConversation()
    slot = begun(machine)
    machine.interrupted(slot, TAKEN, more=True)
    opened(machine)
    assert answers(machine) == ["ready", "superseded"]


def test_with_nothing_more_to_use_a_take_over_is_at_once() -> None:
    """And what is on its way is thrown away."""
    machine = ManyConversation()
    assert machine.interrupted(begun(machine), TAKEN, more=False)
    assert machine.receive(Bytes(1)) == Discard()
    assert answers(machine) == ["ready", "superseded"]


def test_taken_over_while_it_begins_anew() -> None:
    """A `restart` that had arrived is done; then comes the error, once."""
    machine = ManyConversation()
    slot = begun(machine)
    assert machine.receive(Restart()) == Forward(slot)
    assert not machine.interrupted(slot, TAKEN, more=True)
    assert machine.ready(slot, "ready")
    assert slot.failure is TAKEN
    assert machine.failed(slot, TAKEN)
    assert answers(machine) == ["ready", "ready", "superseded"]


def test_taken_over_behind_its_end() -> None:
    """It is `superseded` here, and stored by whoever has it now: one answer."""
    machine = ManyConversation()
    slot = ended(machine)
    assert machine.interrupted(slot, TAKEN, more=True)
    assert not machine.stored(slot, RECEIPT)
    assert answers(machine) == ["ready", "superseded"]


def test_taken_over_while_the_end_is_checked() -> None:
    """All has arrived, and the end is accepted: it is stored, and says so; the time-out that follows finds it done."""
    machine = ManyConversation()
    slot = begun(machine)
    machine.receive(End())
    assert not machine.interrupted(slot, TAKEN, more=True)
    assert machine.ended(slot)
    assert machine.stored(slot, RECEIPT)
    assert not machine.failed(slot, TAKEN)
    assert answers(machine) == ["ready", "stored"]


def test_its_token_again_behind_the_end() -> None:
    """The same file sent twice, the second while the first is stored: it takes over, and has the receipt."""
    machine = ManyConversation()
    first = ended(machine)
    second = opened(machine, Creation(Promise("a"), TOKEN))
    assert machine.interrupted(first, TAKEN, more=True)
    assert machine.state is State.OPENING, "that one goes on"
    assert machine.stored(second, RECEIPT)
    assert [machine.receive(event) for event in (Bytes(1), End())] == [Discard(), Discard()]
    assert not machine.stored(first, RECEIPT)
    assert answers(machine) == ["ready", "superseded", "stored"]


def test_its_token_again_before_the_end() -> None:
    """The first is `incomplete`, though the second takes it over; what follows belongs to the second."""
    machine = ManyConversation()
    first = begun(machine)
    second = opened(machine, Creation(Promise("a"), TOKEN))
    assert not machine.failed(first, TAKEN)
    assert machine.ready(second, "ready")
    assert machine.receive(Bytes(1)) == Forward(second)
    assert answers(machine) == ["ready", "incomplete", "ready"]


def test_cancelled_though_more_has_arrived() -> None:
    """Only who takes it over leaves what has arrived to be used: it is gone, and the rest is thrown away."""
    machine = ManyConversation()
    slot = begun(machine)
    assert machine.interrupted(slot, Failure(CANCELLED, ""), more=True)
    assert machine.receive(Bytes(1)) == Discard()
    assert answers(machine) == ["ready", "cancelled"]


def test_cancelled_after_it_was_taken_over() -> None:
    """What had arrived is not used to its end: the newer word is the last one."""
    machine = ManyConversation()
    slot = begun(machine)
    assert not machine.interrupted(slot, TAKEN, more=True)
    assert machine.interrupted(slot, Failure(CANCELLED, ""), more=True)
    assert not machine.failed(slot, TAKEN)
    assert answers(machine) == ["ready", "cancelled"]


@pytest.mark.parametrize("kind", [CANCELLED, DIGEST_MISMATCH, SUPERSEDED])
def test_a_failure_while_it_is_stored_and_the_next_is_begun(kind: Kind) -> None:
    """Cancelled, refused or taken over behind its end: one error in its place, and the next one goes on."""
    machine = ManyConversation()
    first, second = ended(machine), begun(machine)
    assert machine.interrupted(first, Failure(kind, ""), more=True)
    assert not machine.failed(first, Failure(kind, ""))
    assert not machine.stored(first, RECEIPT)
    assert machine.receive(Bytes(1)) == Forward(second)
    assert answers(machine) == ["ready", kind.code, "ready"]


@pytest.mark.parametrize("event", [End(), Restart()])
def test_cancelled_while_it_is_asked(event: End | Restart) -> None:
    """What `end` or `restart` led to is not done any more."""
    machine = ManyConversation()
    slot = begun(machine)
    machine.receive(event)
    assert machine.interrupted(slot, Failure(CANCELLED, ""), more=True)
    assert not machine.ended(slot)
    assert not machine.ready(slot, "ready")
    assert machine.state is State.DISCARDING
    assert answers(machine) == ["ready", "cancelled"]


# -- against a model


@dataclass
class Request:
    """What a request has been answered, and whether that was all."""

    answers: list[str] = field(default_factory=list)
    done: bool = False


@dataclass
class Model:
    """The contract's sentences, written down without a table."""

    requests: list[Request] = field(default_factory=list)
    taker: int | None = None  # the request that is asked for, or takes bytes
    asked: str | None = None  # what the service finds out about it, meanwhile nothing is read
    dropping: bool = False

    def request(self) -> None:
        """`create` or `resume`."""
        if self.taker is not None:
            self.answer(self.taker, "incomplete")
        self.requests.append(Request())
        self.taker, self.asked, self.dropping = len(self.requests) - 1, "open", False

    def answer(self, number: int, said: str) -> None:
        """The last answer of a request."""
        self.requests[number].answers.append(said)
        self.requests[number].done = True

    def fail(self, number: int) -> None:
        """It failed."""
        if not self.requests[number].done:
            self.answer(number, "cancelled")
            if self.taker in (number, None):
                self.taker, self.asked, self.dropping = None, None, True

    def may_be_sent(self) -> list[str]:
        """All answers, up to the first request that is not done."""
        said: list[str] = []
        for request in self.requests:
            said += request.answers
            if not request.done:
                break
        return said


COMMANDS = st.one_of(
    st.sampled_from(["create", "resume", "bytes", "end", "restart", "found"]),
    st.tuples(st.sampled_from(["stored", "failed"]), st.integers(0, 5)),
    st.tuples(st.just("send"), st.integers(1, 3)),
)


class Run:
    """One history, told to the machine and to the model."""

    def __init__(self) -> None:
        self.machine, self.model = ManyConversation(), Model()
        self.slots: list[Slot] = []
        self.storing: set[int] = set()
        self.heard: list[str] = []

    def do(self, command: str | tuple[str, int]) -> None:
        """What cannot happen now is passed over."""
        match command:
            case "create" | "resume" if self.model.asked is None:
                self.slots.append(opened(self.machine, CREATE if command == "create" else Resume(TOKEN)))
                self.slots[-1].token = TOKEN
                self.model.request()
            case "bytes" | "end" | "restart" if self.model.asked is None:
                self.say(command, {"bytes": Bytes(1), "end": End(), "restart": Restart()}[command])
            case "found" if self.model.asked is not None:
                self.found()
            case "stored", int(number):
                self.stored(number)
            case "failed", int(number) if number < len(self.slots):
                number = len(self.slots) - 1 - number
                self.machine.failed(self.slots[number], Failure(CANCELLED, ""))
                self.model.fail(number)
                self.storing.discard(number)
            case "send", int(count):
                texts = self.machine.sendable(ALL)[:count]
                self.machine.sent(len(texts))
                self.heard += map(word, texts)

    def say(self, name: str, event: Bytes | End | Restart) -> None:
        """Bytes, `end` or `restart`: whose are they?"""
        taker = self.model.taker
        if taker is not None:
            assert self.machine.receive(event) == Forward(self.slots[taker])
            self.model.asked = {"bytes": None, "end": "end", "restart": "open"}[name]
        elif self.model.dropping:
            assert self.machine.receive(event) == Discard()
        else:
            with pytest.raises(Failure):
                self.machine.receive(event)

    def found(self) -> None:
        """The upload is open, or may be ended."""
        taker, asked = self.model.taker, self.model.asked
        assert taker is not None
        self.model.asked = None
        if asked == "open":
            assert self.machine.ready(self.slots[taker], "ready")
            self.model.requests[taker].answers.append("ready")
        else:
            assert self.machine.ended(self.slots[taker])
            self.model.taker, self.model.dropping = None, False
            self.storing.add(taker)

    def stored(self, number: int) -> None:
        """One of those that are being stored is; or the one that is opened was stored before."""
        if self.storing:
            chosen = sorted(self.storing)[number % len(self.storing)]
            self.storing.discard(chosen)
        elif self.model.asked == "open" and not self.slots[-1].begun:
            chosen = len(self.slots) - 1
            self.model.taker, self.model.asked, self.model.dropping = None, None, True
        else:
            return
        assert self.machine.stored(self.slots[chosen], RECEIPT)
        self.model.answer(chosen, "stored")


@given(commands=st.lists(COMMANDS, max_size=60))
def test_the_machine_does_what_the_sentences_say(commands: list[str | tuple[str, int]]) -> None:
    """Whatever comes in whatever order: bytes go where they belong, and every answer stands in its place."""
    run = Run()
    for command in commands:
        run.do(command)
        machine, model = run.machine, run.model
        rest = machine.sendable(ALL)
        assert run.heard + [word(text) for text in rest] == model.may_be_sent()
        assert machine.unanswered == sum(not request.done for request in model.requests)
        waiting = [text for slot in run.slots for text in slot.texts]
        assert machine.pending_bytes == sum(len(text.encode()) for text in waiting)


# -- the table


def test_every_state_is_reached_and_left() -> None:
    """There is no state from which a request, or the service's answer to one, leads nowhere."""
    assert {to for to, _ in TRANSITIONS.values()} == set(State)
    for state in State:
        events = {event for origin, event in TRANSITIONS if origin is state}
        assert events >= {Creation, Resume} or events & set(Outcome)
