"""Names of uploads: which are allowed, and what one is called that is taken."""

import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from jackfield.app.errors import Failure
from jackfield.handlers.upload.wire.names import MAX_NAME, MAX_PART, alternative, check_name, check_prefix, prefixed
from jackfield.handlers.upload.wire.words import INVALID_NAME

letters = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\")
parts = st.text(letters, min_size=1, max_size=300).map(lambda text: unicodedata.normalize("NFC", text))
good_parts = parts.filter(lambda part: allowed(part))
DIRECTIONS = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
FIRST = 20  # alternatives that are looked at


def allowed(name: str) -> bool:
    """What the rule itself says."""
    try:
        check_name(name)
    except Failure:
        return False
    return True


def by_the_contract(name: str) -> bool:
    """The rule, written once more from the contract's words."""
    pieces = name.split("/")
    return (
        1 <= len(name.encode()) <= 1024
        and unicodedata.normalize("NFC", name) == name
        and all(1 <= len(piece.encode()) <= 255 for piece in pieces)
        and not any(piece in (".", "..") or piece.startswith((".", " ")) or piece.endswith(" ") for piece in pieces)
        and not any(character == "\\" or unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in name)
        and not any(unicodedata.bidirectional(character) in DIRECTIONS for character in name)
        and len(pieces) <= 33
    )


@given(name=st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.text(st.sampled_from("a\u202a\u202e\u2066\u2069\u2028\u2029\u200b\u200d\u200e/"), max_size=6),
    st.lists(st.just("a"), min_size=30, max_size=36).map("/".join),
    st.text(st.sampled_from("a. /\\\0\x7f\x85e\u0301é\u212b😀"), max_size=12),
    st.lists(parts, max_size=6).map("/".join),
))  # fmt: skip
@example("a" * MAX_PART)
@example("a" * (MAX_PART + 1))
@example("/".join(["a" * 204] * 5))
@example("/".join(["a" * 204] * 5) + "a")
@example("e\u0301")
@example("\x85")
@example("می\u200cخواهم\u200e.txt")
def test_a_name_is_allowed_as_the_contract_says(name: str) -> None:
    """Nothing more is refused and nothing less, whatever it is made of."""
    assert allowed(name) is by_the_contract(name)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "0 bytes"), ("a" * (MAX_NAME + 1), "1025 bytes"), ("ä" * 128, "255 bytes"), ("e\u0301", "normal form C"),
        ("/a", "empty part"), ("a/", "empty part"), ("a//b", "empty part"), (".", "full stop"), ("..", "full stop"),
        ("a/../b", "full stop"), (".incoming/x", "full stop"), ("a/.hidden", "full stop"), (" a", "space"),
        ("a /b", "space"), ("a\\b", "backslash"), ("a\0b", "control"), ("a\nb", "control"), ("a\x7fb", "control"),
        ("a\udc80", "surrogate"), ("a\u202egpj.exe", "direction"), ("a/b\u2066", "direction"), ("a\u2028b", "line"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_is_wrong(name: str, word: str) -> None:
    """The detail names the fault, and never the name itself, which may be anything."""
    with pytest.raises(Failure) as refused:
        check_name(name)
    assert refused.value.kind is INVALID_NAME
    assert word in refused.value.detail
    refused.value.detail.encode()


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("data.xml", ["data.1.xml", "data.2.xml", "data.3.xml"]),
        ("data.tar.gz", ["data.tar.1.gz", "data.tar.2.gz"]),
        ("README", ["README.1", "README.2"]),
        ("data.1.xml", ["data.1.1.xml"]),
        ("a.", ["a.1."]),
    ],
)
def test_a_number_goes_before_the_last_suffix(name: str, others: list[str]) -> None:
    """As the contract's examples have it."""
    assert [alternative(name, number) for number in range(1, len(others) + 1)] == others


@given(part=good_parts, stem=good_parts, suffix=good_parts)
@example("a" * 255, "b" * 255, "c" * 254)
@example("é" * 127, "😀" * 63, "x")
def test_another_name_is_a_name_of_its_own(part: str, stem: str, suffix: str) -> None:
    """Alternatives are allowed names, all different and different from the one that is taken; the suffix is kept
    where it is one, and the stem is only shortened, between characters, where the whole would grow too long."""
    joined = f"{stem[:60]}.{suffix[:20]}"
    for name in (part, joined):
        assume(allowed(name))
        found = [alternative(name, number) for number in range(1, FIRST + 1)]
        assert len({name, *found}) == FIRST + 1
        for number, other in enumerate(found, 1):
            assert allowed(other)
            before, _, after = other.rpartition(f".{number}")
            assert name.startswith(before)
            assert name.endswith(after)
            if len(name.encode()) + len(f".{number}") <= MAX_PART:
                assert before + after == name
            else:
                assert len(other.encode()) > MAX_PART - 4  # no character more is cut than must be


def test_there_is_no_end_of_names() -> None:
    """Also of the longest, when the numbers grow."""
    name = "a" * 251 + ".txt"
    assert alternative(name, 123_456) == "a" * 244 + ".123456.txt"


@pytest.mark.parametrize(
    ("prefix", "whole"),
    [
        ("", "in/a.bin"),
        ("new", "new/in/a.bin"),
        ("{user}/{date}", "alice/2026-11-28/in/a.bin"),
        ("{id}", f"{'0' * 32}/in/a.bin"),
        ("{name}", "in/a.bin/in/a.bin"),
        ("x-{user}-{user}", "x-alice-alice/in/a.bin"),
    ],
)
def test_a_prefix_is_put_before_a_name(prefix: str, whole: str) -> None:
    """As a folder, with what its places stand for."""
    assert prefixed(prefix, "in/a.bin", "alice", "2026-11-28", "0" * 32) == whole


def test_what_a_place_brings_is_not_looked_at_again() -> None:
    """A name that looks like a place is a name; and who has no name is anonymous."""
    assert prefixed("{user}", "{id}", None, "2026-11-28", "0" * 32) == "anonymous/{id}"
    assert prefixed("{user}", "a", "{id}", "2026-11-28", "0" * 32) == "{id}/a"


@pytest.mark.parametrize(
    ("prefix", "name", "user"),
    [("{user}", "a", "a/b"), ("{user}", "a", ".."), ("{user}", "a", "a\\b"), ("p" * 255, "a" * 800, None)],
)
def test_what_a_prefix_makes_is_checked_like_a_name(prefix: str, name: str, user: str | None) -> None:
    """`invalid_name`."""
    with pytest.raises(Failure) as refusal:
        prefixed(prefix, name, user, "2026-11-28", "0" * 32)
    assert refusal.value.kind is INVALID_NAME


def test_a_prefix_that_cannot_be_is_refused_at_the_start() -> None:
    """An unknown place, and what is no name; a slash at the end is none of it."""
    assert check_prefix("{user}/") == "{user}"
    for wrong in ("{who}", "{}", "/a", "a//b", "../a"):
        with pytest.raises(ValueError, match=r"."):
            check_prefix(wrong)
