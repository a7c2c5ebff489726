"""The reader of YAML: what values mean, where they stand, and what it refuses."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jackfield.app.config import yamlfile
from jackfield.app.config.problems import Place


def read(text: str) -> Any:
    value, _, problems = yamlfile.read(text, "f")
    assert problems == []
    return value


def complaints(text: str) -> list[str]:
    return [str(problem) for problem in yamlfile.read(text, "f")[2]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"), ("12:30", "12:30"), ("2026-01-02", "2026-01-02"), (".inf", ".inf"), ("=", "="),
        ("true", True), ("False", False), ("null", None), ("~", None), ("0", 0), ("-12", -12), ("+3", 3),
        ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("1.0e-05", 1e-5), ('"8080"', "8080"), ("''", ""),
        ("1.2.3.4", "1.2.3.4"),
    ],
)  # fmt: skip
def test_plain_values_mean_what_yaml_1_2_says(text: str, value: Any) -> None:
    """Of plain values only numbers, true, false and null are not text, in a file and standing alone."""
    found = read(f"a: {text}\n")["a"]
    assert (found, type(found)) == (value, type(value))
    assert yamlfile.read_value(text) == value


def test_an_empty_text_is_no_value() -> None:
    """A file with nothing but comments is empty, and that is not an error."""
    assert read("") is None
    assert read("# nothing\n") is None


def test_every_value_has_its_line() -> None:
    """Keys and the items of lists stand in the lines where they are written, counted from 1."""
    _, places, _ = yamlfile.read("a:\n  b: 1\n\n  c:\n  - x\n  - y: {z: 1}\n", "f")
    lines = {path: place.line for path, place in places.known.items()}
    assert lines == {
        (): 1, ("a",): 1, ("a", "b"): 2, ("a", "c"): 4, ("a", "c", 0): 5, ("a", "c", 1): 6,
        ("a", "c", 1, "y"): 6, ("a", "c", 1, "y", "z"): 6,
    }  # fmt: skip
    assert places.of(("a", "b", "deeper")) == Place("f", 2)
    assert places.of(("a", "missing")) == Place("f", 1)


def test_duplicate_keys_are_found_at_every_depth_at_once() -> None:
    """PyYAML would keep the last of them and say nothing."""
    assert complaints("a: 1\nb:\n  c: 1\n  c: 2\na: 3\nd: [{e: 1, e: 2}]\n") == [
        "f:4: b.c: duplicate key, first in line 3",
        "f:5: a: duplicate key, first in line 1",
        "f:6: d[0].e: duplicate key, first in line 6",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: 1\nb: [1\n", "f:3: is not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: 1\n\tb: 2\n", "f:2: is not YAML: found character '\\t' that cannot start any token"),
        ("a: b: c\n", "f:1: is not YAML: mapping values are not allowed here"),
        ("a: *nobody\n", "f:1: is not YAML: found undefined alias 'nobody'"),
        ("a: 1\n---\nb: 1\n", "f:2: is not YAML: but found another document"),
        ("a: 1\nb: \x07\n", "f:2: is not YAML: a character that may not stand in it"),
        ("[" * 5000, "f: is nested too deeply, or contains itself"),
        ("1: a\n", "f:1: a key must be text"),
        ("a:\n  null: a\n", "f:2: a: a key must be text"),
        ("[a, b]: c\n", "f:1: a key must be text"),
        ("a: !!python/object:os.system {}\n", "f:1: a: cannot be read as !!python/object:os.system"),
        ("a: !!set {b}\n", "f:1: a: cannot be read as !!set"),
        ("a: !!binary aGk=\n", "f:1: a: cannot be read as !!binary"),
        ("a: !!int x\n", "f:1: a: cannot be read as !!int"),
        ("a: !own x\n", "f:1: a: cannot be read as !own"),
        ("a: &a\n  b: *a\n", "f: is nested too deeply, or contains itself"),
        ("a: &a\n  - *a\n", "f: is nested too deeply, or contains itself"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_line(text: str, complaint: str) -> None:
    """Errors of syntax, tags, keys that are not text, and loops are problems with a place, never a crash."""
    assert complaints(text) == [complaint]


def test_an_alias_repeats_a_value() -> None:
    """A section can be written once for two. `<<` is text as any other: YAML 1.2 has no merging."""
    assert read("a: &a\n  x: 1\nb: *a\nc: {<<: *a}\n") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"<<": {"x": 1}}}
    _, places, _ = yamlfile.read("a: &a\n  x: 1\nb: *a\n", "f")
    assert places.of(("b", "x")) == Place("f", 2)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("::", "::"), ("/srv/a: b #1", "/srv/a: b #1"), ("*x", "*x"), ("", None), ("- a", "- a"),
        ("'12'", "12"), ('"a\\tb"', "a\tb"), ("[a, 1, [true]]", ["a", 1, [True]]), ("[]", []),
        ("{a: 1}", {"a": 1}),
    ],
)  # fmt: skip
def test_a_value_alone_is_taken_as_it_stands_unless_it_begins_as_a_list_a_mapping_or_a_quote(
    text: str, value: Any
) -> None:
    """An address or a path in a variable needs no quotes, whatever YAML would make of it in a file."""
    assert yamlfile.read_value(text) == value


@pytest.mark.parametrize("text", ["[a", "{a: 1, a: 2}", "'a", "[!x b]"])
def test_a_value_alone_that_begins_as_yaml_must_be_yaml(text: str) -> None:
    """A broken list is an error, not a text."""
    with pytest.raises(ValueError, match=r"is not YAML|duplicate|cannot be read"):
        yamlfile.read_value(text)


TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    [
        "yes",
        "1e3",
        "010",
        "~",
        "12:30",
        "<<",
        "=",
        ".5",
        "0x1",
        "- a",
        "a: b",
        "*a",
        "&a",
        "\ufeff",
        "\x85",
        "\u2028",
    ]
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(tree=st.dictionaries(TEXTS, TREES, max_size=4))
def test_what_is_written_is_read_back_unchanged(tree: dict[str, Any]) -> None:
    """Whatever the values: texts that look like numbers are quoted, odd characters are escaped."""
    assert read(yamlfile.write(tree)) == tree


@given(text=st.text())
def test_no_text_whatever_makes_the_reader_crash(text: str) -> None:
    """There is a value or a problem, and never an exception."""
    yamlfile.read(text, "f")
