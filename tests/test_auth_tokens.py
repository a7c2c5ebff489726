"""The file of tokens, what a request says of itself, and the command that keeps the file."""

import base64
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jackfield.app.auth import tokens
from jackfield.app.auth.credentials import secret_of
from jackfield.app.auth.tokens import Token, TokenSet
from jackfield.app.config.problems import ConfigError
from tests.support.service import jackfield

SECRET = "s3cret-of-alice"
DIGEST = tokens.hash_secret(SECRET)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test keeps its tokens."""
    return tmp_path / "tokens.yaml"


def written(file: Path, text: str) -> Path:
    """The file with this text, for its owner alone."""
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return file


def test_a_token_is_found_by_its_secret_and_by_nothing_else(file: Path) -> None:
    """The digest may be written in capital letters; a part of the secret, the digest and odd text open nothing."""
    known = TokenSet(tokens.read(written(file, f"- {{name: alice, sha256: {DIGEST.upper()}}}\n")))
    found = known.find(SECRET)
    assert found is not None
    assert found.name == "alice"
    assert [known.find(other) for other in (SECRET[:-1], DIGEST, "", "\ud800", "é")] == [None] * 5


def test_an_expired_token_opens_nothing() -> None:
    """Expiry is a moment with its zone; until then the token is good."""
    for hours, good in ((1, True), (-1, False)):
        until = (datetime.now(UTC) + timedelta(hours=hours)).isoformat()
        known = TokenSet([Token(name="a", sha256=DIGEST, expires=until)])
        assert (known.find(SECRET) is not None) is good


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- {name: a b, sha256: %s}", "[0].name"),
        ("- {name: a, sha256: abc}", "64 hexadecimal digits"),
        ("- {name: a}", "[0].sha256: is missing"),
        ("- {name: a, sha256: %s, expires: '2027-01-01T00:00:00'}", "a time with its zone"),
        ("- {name: a, sha256: %s, expires: soon}", "[0].expires"),
        ("- {name: a, sha256: %s, colour: red}", "unknown key"),
        ("- {name: a, sha256: %s}\n- {name: a, sha256: %s}", "tokens.yaml:2: [1].name: stands there twice"),
        ("- {name: a, sha256: %s}\n- {name: b, sha256: %s}", "[1].sha256: stands there twice"),
        ("name: a", "expected a list"),
        ("- [", "is not YAML"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(file: Path, text: str, problem: str) -> None:
    """A wrong entry is never passed over: somebody would be let in, or kept out, unseen."""
    with pytest.raises(ConfigError) as refused:
        tokens.read(written(file, text.replace("%s", DIGEST)))
    assert problem in str(refused.value)
    assert "tokens.yaml" in str(refused.value)


def test_a_file_that_everybody_may_read_is_refused(file: Path) -> None:
    """Hashes are no secrets, but names and limits are nobody's business."""
    written(file, "[]").chmod(0o644)
    with pytest.raises(ConfigError, match="may be read by everybody"):
        tokens.read(file)


@pytest.mark.parametrize(
    ("authorization", "subprotocols", "secret"),
    [
        ("Bearer abc", "", "abc"),
        ("bearer   abc ", "", "abc"),
        ("Basic " + base64.b64encode(b"anybody:abc:d").decode(), "", "abc:d"),
        ("Basic " + base64.b64encode(b":abc").decode(), "", "abc"),
        ("Basic !!!", "", None),
        ("Basic " + base64.b64encode(b"nocolon").decode(), "", None),
        ("Digest abc", "", None),
        ("Bearer", "bearer, bearer.YWJj", None),
        (None, "upload.v1, bearer, bearer.YWJj", "abc"),
        (None, "bearer.YWJj", None),
        (None, "bearer", None),
        (None, "bearer, bearer.%%%", None),
        (None, "", None),
    ],
)
def test_who_sends_it(authorization: str | None, subprotocols: str, secret: str | None) -> None:
    """Bearer, Basic with any user name, or the two subprotocols of a browser; anything else is nobody."""
    assert secret_of(authorization, subprotocols) == secret


def test_the_command_makes_lists_and_revokes(file: Path) -> None:
    """`token new` prints the secret once and writes its hash alone; `token revoke` takes the entry out."""
    made = jackfield("token", "new", "alice", "--expires", "30d", "--handler", "upload", "--max-size", "1GiB",
                     "--file", file, folder=file.parent)  # fmt: skip
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    assert secret not in file.read_text(encoding="utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (token,) = tokens.read(file)
    assert (token.sha256, token.handlers, token.max_size) == (tokens.hash_secret(secret), ("upload",), 2**30)
    listed = jackfield("token", "list", "--file", file, folder=file.parent)
    assert listed.stdout.startswith("alice\t2")
    assert jackfield("token", "new", "alice", "--file", file, folder=file.parent).returncode == 1
    assert jackfield("token", "revoke", "alice", "--file", file, folder=file.parent).returncode == 0
    assert tokens.read(file) == []
    assert jackfield("token", "revoke", "alice", "--file", file, folder=file.parent).returncode == 1


def test_a_link_has_the_secret_where_no_request_carries_it(file: Path) -> None:
    """`--link` prints the page's URL with the secret in its fragment."""
    url = "https://files.example/upload"
    made = jackfield("token", "new", "guest", "--link", url, "--file", file, folder=file.parent)
    page, _, secret = made.stdout.strip().partition("#")
    assert page == url
    assert TokenSet(tokens.read(file)).find(secret) is not None


@pytest.mark.parametrize(
    "words", [["new", "a b"], ["new", "a", "--expires", "soon"], ["new", "a", "--max-size", "big"], ["list"]]
)
def test_wrong_words_are_told_in_one_line(file: Path, words: list[str]) -> None:
    """Nothing is written then."""
    done = jackfield("token", *words, "--file", file, folder=file.parent)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert not file.exists()
