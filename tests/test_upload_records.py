"""What stands in the files of staging is read back as it was written, and nothing else is believed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jackfield.handlers.upload.store.records import (
    Checkpoint,
    Manifest,
    Member,
    Stored,
    keys_of_group,
    read_group,
    read_manifest,
    read_stored,
    write_group,
    write_manifest,
    write_stored,
)
from jackfield.handlers.upload.wire.messages import Promise, Receipt

DIGEST = "a" * 64
PROMISE = Promise("a/b.bin", 10, DIGEST)
RECEIPT = Receipt("a/b.1.bin", 10, DIGEST)
MANIFEST = Manifest(PROMISE, 5, 1.5, Checkpoint(5, DIGEST), complete=7)

NAMES = st.sampled_from(["a", "a/b.bin", "é", "x" * 255, "\u4e2d/\U0001f600"])
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
COUNTS = st.integers(0, 2**63)
METADATA = st.none() | st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
PROMISES = st.builds(Promise, NAMES, st.none() | COUNTS, st.none() | DIGESTS, st.booleans(), METADATA)
RECEIPTS = st.builds(Receipt, NAMES, COUNTS, DIGESTS)
MEMBERS = st.builds(Member, DIGESTS, COUNTS, RECEIPTS, PROMISES)


@given(
    st.builds(
        Manifest, PROMISES, st.just(0), st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.builds(Checkpoint, COUNTS, DIGESTS), st.none() | COUNTS,
    )
)  # fmt: skip
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    """All of its fields."""
    assert read_manifest(write_manifest(manifest)) == manifest


@given(st.builds(Stored, RECEIPTS, PROMISES))
def test_a_receipt_is_read_as_it_was_written(stored: Stored) -> None:
    """With the promise that was asked for."""
    assert read_stored(write_stored(stored)) == stored


@given(st.lists(MEMBERS, max_size=4), st.integers(0, 10_000))
def test_a_group_is_read_as_far_as_it_was_written(members: list[Member], cut: int) -> None:
    """Every line that is whole is a member, and a torn one is none."""
    data = write_group(members)
    assert read_group(data) == members
    assert keys_of_group(data) == [member.key for member in members]
    torn = data[:cut]
    assert read_group(torn) == members[: torn.count(b"\n")]


def test_only_what_a_checkpoint_covers_is_proved() -> None:
    """The digest of a file is known where the checkpoint covers just its bytes."""
    assert MANIFEST.proved(5) == DIGEST
    assert MANIFEST.proved(6) is None
    assert Manifest(PROMISE, 5, 1.5).proved(5) is None


WRONG: list[tuple[list[str], Any]] = [
    (["promise", "name"], "../a"),
    (["promise", "name"], ""),
    (["promise", "size"], -1),
    (["promise", "size"], 4),  # fewer than are there
    (["promise", "size"], "10"),
    (["promise", "sha256"], "A" * 64),
    (["promise", "length"], -1),
    (["promise", "metadata"], "filename YQ==\r\nX: y"),
    (["durable"], -1),
    (["durable"], 5.0),
    (["touched"], None),
    (["checkpoint", "sha256"], "a" * 63),
    (["checkpoint", "size"], -1),
    (["complete"], -1),
]


@pytest.mark.parametrize(("path", "value"), WRONG, ids=str)
def test_what_we_do_not_write_is_not_believed(path: list[str], value: Any) -> None:
    """One wrong field, and the manifest is rubbish."""
    tree = json.loads(write_manifest(MANIFEST))
    place = tree
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=r"\S"):
        read_manifest(json.dumps(tree).encode())


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"null", write_manifest(MANIFEST)[:-1], bytes(100)])
def test_rubbish_is_none_of_ours(data: bytes) -> None:
    """Neither a manifest nor a receipt nor a group."""
    with pytest.raises(ValueError, match=r"\S"):
        read_manifest(data)
    with pytest.raises(ValueError, match=r"\S"):
        read_stored(data)
    assert read_group(data) == []
