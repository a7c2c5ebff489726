"""Text messages of every kind on both sockets of uploads, and the same as the body of a creation over HTTP."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fuzz import Fuzzing, fuzzing
from tests.support.manyfiles import file
from tests.support.outsider import Outsider, content, fresh_name
from tests.support.rawsocket import Closed, Opcode, frame

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of a failure, to be printed

WORDS = {
    "/upload": {4400},
    "one": {1000, 4400, 4413, 4422},
}
"""Codes with which a socket may end."""

DEEP = [300, 2000, 30_000]  # how deeply something is nested; the deepest text has less than 64 KiB
SURROGATES = ["\ud800", "a\udfff", "\udc80\ud800"]
NAMES = st.one_of(
    st.sampled_from([
        "a", "a/b", "/".join("d" * 500), "x" * 255, "x" * 256, "é" * 600, "a" * 1024, "a/" * 512, "..", "a//b", "",
        "e\u0301", "\u202etxt", "a\u2028b", "a\u200bb", "a\0b", "\\", " a", ".a", "\ufeff", *SURROGATES,
    ]),
    st.text(max_size=40),
)  # fmt: skip
TOKENS = st.one_of(
    st.sampled_from([
        "", "a", "x" * 22, "x" * 60_000, "é" * 30, "../../../etc/passwd", "a/b", "%2e%2e", "\0" * 22, " " * 43,
        *SURROGATES,
    ]),
    st.text("abcXYZ019_-", min_size=20, max_size=66),
    st.text(max_size=70),
)  # fmt: skip
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 2**53, 2**63 - 1, 2**63, 2**64, 10**400, 1.5, 1e308, True]), st.integers(0, 100)
)
DIGESTS = st.sampled_from(["", "0" * 64, "0" * 63, "F" * 64, "é" * 64, "z" * 64, *SURROGATES])
ODD = st.recursive(
    st.none() | st.booleans() | NUMBERS | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(["create", "create", "create", "resume", "resume", "end", "restart", "ready", "", "CREATE"])
FIELDS: dict[str, st.SearchStrategy[Any]] = {"name": NAMES, "token": TOKENS, "size": NUMBERS, "sha256": DIGESTS}


@st.composite
def fields(draw: st.DrawFn) -> dict[str, Any]:
    """The fields of a request: the right ones with odd values, wrong types among them, and some unknown."""
    found = {}
    for key, values in FIELDS.items():
        if draw(st.integers(0, 3)):
            found[key] = draw(values if draw(st.integers(0, 4)) else ODD)
    return {**found, **draw(st.dictionaries(NAMES, ODD, max_size=1))}


BROKEN_JSON = st.one_of(
    st.sampled_from([
        "", "null", "[]", "1", '"create"', "{", "{}", '{"type"}', "\ufeff{}", '{"type":"end"}x', "NaN", '{"size":NaN}',
        '{"type":"create","name":"a","size":1e999}', '{"type":"create","name":"a","name":"b"}',
        '{"type":"end","type":"restart"}', '{"type":"create","name":"a","size":-Infinity}', "{'type':'end'}",
        f'{{"type":"create","name":"a","size":{"9" * 5000}}}', '{"type":"resume","token":"\\ud800"}',
        '{"type":"\\ud800"}', '{"\\ud800":1,"type":"end"}', '{"type":{"a":1}}', '{"type":["end"]}', '{"type":null}',
    ]),
    st.sampled_from(DEEP).map(lambda depth: "[" * depth + "]" * depth),
    st.sampled_from(DEEP).map(lambda depth: '{"type":' * (depth // 4)),
    st.sampled_from(DEEP).map(lambda depth: '{"type":"create","name":"deep","x":' + "[" * depth + "]" * depth + "}"),
    st.text(max_size=50),
)  # fmt: skip


@dataclass(frozen=True)
class Said:
    """One message. What a failure prints of it is short."""

    opcode: int
    payload: bytes

    def __repr__(self) -> str:
        return f"Said({self.opcode}, {self.payload[:300]!r}, {len(self.payload)} bytes)"


def _framed(said: list[Said]) -> bytes:
    return b"".join(frame(one.opcode, one.payload) for one in said)


def _print(text: dict[str, Any]) -> str:
    return json.dumps(text, ensure_ascii=True)  # surrogates as \\ud800: what is sent is UTF-8


MESSAGES = st.one_of(
    st.builds(lambda kind, rest: _print({"type": kind, **rest}), KINDS, fields()),
    st.sampled_from([_print({"type": "end"}), _print({"type": "restart"}), _print({"type": "create", "name": "b"})]),
    BROKEN_JSON,
).map(lambda text: Said(Opcode.TEXT, text.encode("utf-8", "replace")))
PIECES = st.sampled_from([b"", b"x", content(1000), content(70_000)]).map(lambda data: Said(Opcode.BINARY, data))


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzing]:
    """A service for this module."""
    with fuzzing(tmp_path_factory.mktemp("fuzz")) as running:
        yield running


# -- many files on a socket


async def _many(fuzzed: Fuzzing, said: list[Said]) -> None:
    """Each request has one answer, or the socket is closed `bad_message`; a file behind them is stored."""
    name, data = fresh_name(), content(500)
    async with Outsider(fuzzed.service) as client:
        opened = await client.unread("/upload")
        await opened.send(_framed(said))
        await opened.send(file(name, data))
        while not isinstance(text := await opened.next(), Closed):
            answer = json.loads(text)
            assert answer["type"] in ("ready", "ack", "stored", "error")
            last = answer
            if answer["type"] == "stored" and answer["name"] == name:
                assert client.stored(answer) == data
                return
    assert text.code in WORDS["/upload"]
    assert (last["type"], last["code"]) == ("error", "bad_message")


# -- one upload


async def _one(fuzzed: Fuzzing, said: list[Said], promises: dict[str, Any]) -> None:
    """It ends in a defined way, or it is there still and answers a ping."""
    async with Outsider(fuzzed.service) as client:
        opened = await client.open(await client.create(**promises))
        await opened.send(_framed(said) + frame(Opcode.PING, b"there") + frame(Opcode.CLOSE, b""))
        last: dict[str, Any] = {}
        while not isinstance(text := await opened.next(), Closed):
            last = json.loads(text)
        assert text.code in WORDS["one"]
        if text.code >= 4000:
            assert (last["type"], last["status"]) == ("error", text.code - 4000)


# -- a creation over HTTP


async def _creation(fuzzed: Fuzzing, body: str) -> None:
    """It is made, or refused with a word that the protocol has for it."""
    async with Outsider(fuzzed.service) as client:
        answer = await client.http(
            "POST", "/upload", body.encode("utf-8", "replace"), {"Content-Type": "application/json"}
        )
        if answer.status in (200, 201):
            assert answer.json()["state"] in ("open", "stored") if "state" in answer.json() else answer.json()["url"]
            return
        assert (answer.status, answer.problem()) in {
            (400, "bad_request"), (400, "invalid_name"), (413, "too_large"), (507, "no_space"), (409, "token_conflict"),
            (409, "name_taken"),
        }  # fmt: skip


MANY = given(said=st.lists(MESSAGES | MESSAGES | PIECES, max_size=6))
ONE = given(
    said=st.lists(MESSAGES | PIECES, max_size=4),
    promises=st.sampled_from([{}, {"size": 1000}, {"size": 0}, {"size": 1, "sha256": "0" * 64}]),
)
CREATION = given(body=fields().map(_print) | BROKEN_JSON)


@settings(max_examples=100)
@MANY
def test_many_files_have_an_answer_each(fuzzed: Fuzzing, said: list[Said]) -> None:
    """Whatever was said before, a whole file is stored in the end; or the socket is closed with the word for it."""
    fuzzed.play(_many(fuzzed, said))


@settings(max_examples=60)
@ONE
def test_an_upload_answers_whatever_it_hears(fuzzed: Fuzzing, said: list[Said], promises: dict[str, Any]) -> None:
    """A socket of one upload ends as the protocol says, after the error that says why."""
    fuzzed.play(_one(fuzzed, said, promises))


@settings(max_examples=100)
@CREATION
def test_a_creation_is_made_or_refused(fuzzed: Fuzzing, body: str) -> None:
    """A body of any form gets an upload or one of the documented words."""
    fuzzed.play(_creation(fuzzed, body))


@pytest.mark.torture
@pytest.mark.timeout(3600)
@settings(max_examples=10_000)
@MANY
def test_many_files_have_an_answer_each_long(fuzzed: Fuzzing, said: list[Said]) -> None:
    """See above."""
    fuzzed.play(_many(fuzzed, said))


@pytest.mark.torture
@pytest.mark.timeout(3600)
@settings(max_examples=10_000)
@ONE
def test_an_upload_answers_whatever_it_hears_long(fuzzed: Fuzzing, said: list[Said], promises: dict[str, Any]) -> None:
    """See above."""
    fuzzed.play(_one(fuzzed, said, promises))


@pytest.mark.torture
@pytest.mark.timeout(3600)
@settings(max_examples=10_000)
@CREATION
def test_a_creation_is_made_or_refused_long(fuzzed: Fuzzing, body: str) -> None:
    """See above."""
    fuzzed.play(_creation(fuzzed, body))
