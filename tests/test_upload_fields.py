"""Structured fields and the headers of tus, without any connection."""

import base64
import hashlib

import pytest

from jackfield.app.errors import Failure
from jackfield.handlers.upload.wire import fields, tus


def encoded(data: bytes | str) -> str:
    """Base64, as headers of tus have it."""
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("0", 0), ("15", 15), ("7;a=1", 7), ("-1", None), ("1.0", None), ("?1", None), ("", None), ("1, 1", None),
        ("é", None), (None, None),
    ],
)  # fmt: skip
def test_an_integer(value: str | None, found: int | None) -> None:
    """Whatever is no whole number from 0 on is as if it were not there."""
    assert fields.integer(value) == found


@pytest.mark.parametrize(("value", "found"), [("?1", True), ("?0", False), ("1", None), ("true", None), (None, None)])
def test_a_boolean(value: str | None, found: bool | None) -> None:
    """Only `?1` and `?0` are any."""
    assert fields.boolean(value) is found


def test_digests() -> None:
    """Those that are byte sequences, by their algorithms; a broken field has none."""
    sha = hashlib.sha256(b"x").digest()
    assert fields.digests(f"sha-256=:{encoded(sha)}:, md5=5, list=(1 2)") == {"sha-256": sha}
    assert fields.digests("sha-256=AAAA") == {}
    assert fields.digests("sha-256=:") == {}
    assert fields.digests(None) == {}


def test_a_dictionary_is_printed() -> None:
    """Limits are integers, digests byte sequences."""
    assert fields.dictionary({"max-size": 10, "max-age": 3}) == "max-size=10, max-age=3"
    assert fields.dictionary({"sha-256": b"abc"}) == "sha-256=:YWJj:"


def test_a_number() -> None:
    """Decimal digits alone; what no disk has is some number that is too large."""
    assert tus.number("Upload-Length", "007") == 7
    assert tus.number("Upload-Length", "9" * 5000) == 10**18
    for wrong in ("", "-1", "+1", "1.0", "0x1", "1 1", "¹", "1,1"):
        with pytest.raises(Failure, match="Upload-Length"):
            tus.number("Upload-Length", wrong)


def test_a_checksum() -> None:
    """An algorithm that is known, and as many bytes as it gives."""
    for name in tus.ALGORITHMS:
        digest = hashlib.new(name, b"x").digest()
        assert tus.checksum(f"{name} {encoded(digest)}") == tus.Checksum(name, digest)
        for wrong in (f"{name} {encoded(digest[1:])}", name, f"{name} !", f"{name}  {encoded(digest)}", f"{name} é"):
            with pytest.raises(Failure):
                tus.checksum(wrong)
    with pytest.raises(Failure):
        tus.checksum(f"crc32 {encoded(b'abcd')}")


def test_metadata() -> None:
    """Keys with values, with empty ones, and without; nothing at all is no metadata."""
    given = f"filename {encoded('a.txt')},is_confidential, empty "
    assert tus.metadata(given) == {"filename": b"a.txt", "is_confidential": b"", "empty": b""}
    assert tus.metadata("") == tus.metadata(" ") == {}


@pytest.mark.parametrize("wrong", [",", "a,", "a YQ==,a Yg==", "a YQ", "a YQ== YQ==", "ä YQ==", "a ****", "a Y Q=="])
def test_broken_metadata(wrong: str) -> None:
    """Empty, doubled and foreign keys, and what is no base64, are refused."""
    with pytest.raises(Failure):
        tus.metadata(wrong)


def test_the_name_in_metadata() -> None:
    """The path within a folder goes first; what JavaScript writes for nothing is nothing; letters are composed."""
    assert tus.name_of({"relativePath": b"a/b", "filename": b"b", "name": b"c"}) == "a/b"
    assert tus.name_of({"relativePath": b"null", "filename": b"", "name": b"c"}) == "c"
    assert tus.name_of({"name": b"undefined"}) is None
    assert tus.name_of({}) is None
    assert tus.name_of({"name": "a\u0308".encode()}) == "ä"
    with pytest.raises(Failure, match="UTF-8"):
        tus.name_of({"filename": b"\xff"})


def test_the_digest_in_metadata() -> None:
    """64 hexadecimal digits are a promise; nothing is none; anything else is refused."""
    digest = hashlib.sha256(b"").hexdigest()
    assert tus.sha256_of({"sha256": digest.upper().encode()}) == digest
    assert tus.sha256_of({}) is tus.sha256_of({"sha256": b""}) is None
    with pytest.raises(Failure):
        tus.sha256_of({"sha256": b"\xff" * 32})


def test_the_time_of_modification_is_told_as_rfc_3339_writes_it() -> None:
    """`mtime`, in nanoseconds; other forms are for others, and are passed on with the rest of the metadata."""
    assert tus.mtime_of({"mtime": b"2001-09-09T01:46:40.5Z"}) == 1_000_000_000_500_000_000
    for other in ({}, {"mtime": b"1000000000"}, {"mtime": b"\xff"}):
        assert tus.mtime_of(other) is None
