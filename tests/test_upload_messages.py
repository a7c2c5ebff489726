"""The messages both ways: what is printed is parsed to the same, and whatever else comes has a word."""

import contextlib
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jackfield.app.errors import BAD_MESSAGE, BAD_REQUEST, Failure, Kind
from jackfield.handlers.upload.wire import messages
from jackfield.handlers.upload.wire.messages import (
    Ack,
    Creation,
    End,
    Error,
    Promise,
    Ready,
    Receipt,
    Restart,
    Resume,
    Stored,
    check_token,
    parse,
    parse_creation,
    parse_many,
    parse_server,
)
from jackfield.handlers.upload.wire.words import NO_SPACE

DIGEST = "0123456789abcdef" * 4
TOKEN = "azAZ09_-" * 4
TEN = Promise("a", 10)


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
        ('{"type":"create","name":"ä/b"}', Creation(Promise("ä/b"))),
        (f'{{"type":"create","name":"","size":0,"sha256":"{DIGEST}"}}', Creation(Promise("", 0, DIGEST))),
        ('{"type":"create","name":"a","size":null,"sha256":null}', Creation(Promise("a"))),
        (f'{{"type":"create","name":"a","token":"{TOKEN}"}}', Creation(Promise("a"), TOKEN)),
        ('{"type":"create","name":"a","token":null}', Creation(Promise("a"))),
        ('{"type":"resume","token":"t"}', Resume("t")),
        ('{"type":"resume","token":"\\udc80"}', Resume("\udc80")),
    ],
)
def test_messages_of_many_files_are_read(text: str, message: Creation | Resume) -> None:
    """Creation and resumption on the socket; where there is one upload they have no meaning."""
    assert parse_many(text) == message
    assert fault(parse, text) is BAD_MESSAGE


BROKEN = [
    "", "null", "[]", "1", '"end"', "{", "{}", '{"type":null}', '{"type":"END"}', '{"type":["end"]}', "[" * 5000,
    '{"type":"end","sha256":1}', '{"type":"end","sha256":""}', f'{{"type":"end","sha256":"{DIGEST.upper()}"}}',
    f'{{"type":"end","sha256":"{DIGEST}\\n"}}', '{"type":"end","sha256":[]}', '{"type":"\\ud800"}',
    f'{{"type":"{"e" * 60_000}"}}', '{"type":"end","type":"end"}', '{"type":"end","more":{"a":1,"a":1}}',
    '{"type":"end","more":NaN}', '{"type":"end","more":-Infinity}', '{"type":"end","sha256":"\\ud800"}',
    '{"type":"end","more":' + "9" * 5000 + "}", '\ufeff{"type":"end"}',
    '{"type":' + '{"type":' * 2000 + "1" + "}" * 2001,
]  # fmt: skip
NO_PROMISE = [
    '{"type":"create","name":"a","mtime":7}', '{"type":"create","name":"a","mtime":"2001-09-09"}',
    '{"type":"create"}', '{"type":"create","name":1}', '{"type":"create","name":null}',
    *(f'{{"type":"create","name":"a","size":{size}}}' for size in ("-1", "1.0", "1.5", "true", '"1"', "[]", "1e3")),
    '{"type":"create","name":"a","sha256":"x"}', '{"type":"create","name":"a","name":"a"}',
    *(f'{{"type":"create","name":"a","token":{token}}}' for token in (
        '""', '"short"', f'"{TOKEN}="', f'"{"a" * 65}"', f'"{TOKEN}\\n"', '"' + "é" * 22 + '"', f'"\\ud800{TOKEN}"',
        "1", "[]", "true",
    )),
]  # fmt: skip


def fault(read: object, text: str) -> Kind:
    """The kind of failure with which it is refused."""
    assert callable(read)
    with pytest.raises(Failure) as refused:
        read(text)
    assert len(refused.value.detail.encode()) < 200, "what was sent is not echoed at length"
    return refused.value.kind


@pytest.mark.parametrize("text", [*BROKEN, *NO_PROMISE, '{"type":"resume"}', '{"type":"resume","token":1}'])
def test_what_is_no_message_is_refused(text: str) -> None:
    """`bad_message`, on both kinds of socket, for whatever it is."""
    assert fault(parse, text) is BAD_MESSAGE
    assert fault(parse_many, text) is BAD_MESSAGE


@pytest.mark.parametrize("text", ["", "null", "[]", "{", "{}", *NO_PROMISE])
def test_what_is_no_promise_is_a_bad_request(text: str) -> None:
    """Over HTTP the same faults are `bad_request`."""
    assert fault(parse_creation, text) is BAD_REQUEST


KEYS = st.sampled_from(["type", "name", "size", "sha256", "token"])
SCALARS = st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)).map(json.dumps)


@given(text=st.text() | JSON)
@example('{"type":"resume","token":"' + "a" * 60_000 + '"}')
def test_reading_never_fails_otherwise(text: str) -> None:
    """Any text is a message or a Failure, nothing else."""
    for read in (parse, parse_many, parse_creation, parse_server):
        with contextlib.suppress(Failure):
            read(text)


@pytest.mark.parametrize(
    ("token", "may_be"),
    [("a" * 21, False), ("a" * 22, True), ("a" * 64, True), ("a" * 65, False), (TOKEN, True), (TOKEN + "\n", False),
     ("é" * 22, False), ("\ud800" * 22, False), ("", False), ("../" * 9, False)],
)  # fmt: skip
def test_a_token_is_22_to_64_plain_characters(token: str, may_be: bool) -> None:
    """Of `A–Z a–z 0–9 _ -`, and nothing else."""
    assert check_token(token) is may_be


# -- what one side prints the other parses

TOKENS = st.from_regex(r"\A[A-Za-z0-9_-]{22,64}\Z")
DIGESTS = st.from_regex(r"\A[0-9a-f]{64}\Z")
SIZES = st.integers(0, 2**63)
MOMENTS = st.integers(0, 2**62)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
CREATIONS = st.builds(
    Creation,
    st.builds(Promise, st.text(), st.none() | SIZES, st.none() | DIGESTS, mtime=st.none() | MOMENTS),
    st.none() | TOKENS,
)


@given(creation=CREATIONS)
@example(Creation(Promise("\udc80")))
def test_a_creation_is_parsed_as_it_was_printed(creation: Creation) -> None:
    """On a socket and over HTTP; it can always be encoded, whatever the name is made of."""
    for read, text in (
        (parse_many, messages.print_create(creation)), (parse_creation, messages.print_creation(creation)),
    ):  # fmt: skip
        assert read(text.encode().decode()) == creation


@given(token=TOKENS, digest=st.none() | DIGESTS)
def test_a_clients_messages_are_parsed_as_they_were_printed(token: str, digest: str | None) -> None:
    """`resume`, `end` and `restart`."""
    assert parse_many(messages.print_resume(token)) == Resume(token)
    assert parse(messages.print_end(digest)) == End(digest)
    assert parse(messages.print_restart()) == Restart()


@given(token=TOKENS, name=TEXTS, size=SIZES, digest=DIGESTS, promised=st.none() | SIZES)
def test_a_servers_messages_are_parsed_as_they_were_printed(
    token: str, name: str, size: int, digest: str, promised: int | None
) -> None:
    """`ready`, `ack`, `stored` and `error`."""
    receipt = Receipt(name, size, digest)
    said = messages.ready(token, Promise(name, promised), size, digest, 256, 1024)
    assert parse_server(said) == Ready(token, name, size, promised, digest, 256, 1024)
    assert parse_server(messages.ready(token, Promise(name), 0, None, 256, 1024)) == Ready(
        token, name, 0, None, None, 256, 1024
    )
    assert parse_server(messages.ack(size, 3)) == Ack(size, 3)
    assert parse_server(messages.stored(token, receipt)) == Stored(token, receipt)
    for of in (None, token):
        assert parse_server(messages.error(Failure(NO_SPACE, "Full."), of)) == Error(507, "no_space", "Full.", of)


@pytest.mark.parametrize("text", [
    "", "null", "{}", '{"type":"welcome"}', '{"type":"ack","offset":1}', '{"type":"ack","offset":1,"durable":true}',
    '{"type":"ack","offset":1,"durable":-1}', '{"type":"ack","offset":1,"offset":1,"durable":1}',
    '{"type":"stored","token":"t","name":"a","size":1}',
    '{"type":"stored","token":"t","name":"a","size":1,"sha256":"x"}',
    f'{{"type":"stored","token":"t","name":"\\ud800","size":1,"sha256":"{DIGEST}"}}',
    f'{{"type":"stored","name":"a","size":1,"sha256":"{DIGEST}"}}',
    '{"type":"error","status":"404","code":"x","detail":""}', '{"type":"error","status":404,"code":1,"detail":""}',
    '{"type":"error","status":404,"code":"x","detail":"\\udc80"}', '{"type":"ready","token":"t","name":"a"}',
])  # fmt: skip
def test_what_no_server_says_is_refused(text: str) -> None:
    """A client learns with the same word that this is no such service."""
    assert fault(parse_server, text) is BAD_MESSAGE


@pytest.mark.parametrize("detail", ["\ud800", "\udc80 is in the way", "é" * 60_000])
def test_a_detail_can_always_be_sent(detail: str) -> None:
    """What it echoes is cut, and escaped where UTF-8 cannot have it."""
    said = messages.error(Failure(NO_SPACE, detail))
    assert len(said.encode()) < 1500
    assert isinstance(parse_server(said), Error)


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
