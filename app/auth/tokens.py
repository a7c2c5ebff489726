"""The file of tokens: a YAML list of names and of the SHA-256 of each one's secret; never a secret itself."""

import hashlib
import hmac
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from jackfield.app.config import yamlfile
from jackfield.app.config.problems import ConfigError, KeyPath, Place, Places, Problem, from_validation
from jackfield.app.options import Size

SECRET_BYTES: Final = 32
"""Random bytes of a new secret, 43 characters as it is printed."""

_NAME: Final = r"^[A-Za-z0-9._@-]{1,64}$"


def _with_zone(when: str) -> str:
    moment = datetime.fromisoformat(when)  # raises a ValueError that says what is wrong
    if moment.tzinfo is None:
        raise ValueError("expected a time with its zone, as in 2027-01-31T12:00:00Z (RFC 3339)")
    return when


def _hexadecimal(digest: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", digest):
        raise ValueError("expected 64 hexadecimal digits, the SHA-256 of the secret")
    return digest.lower()


class Token(BaseModel):
    """One entry of the file. What is None is not limited."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(pattern=_NAME)]
    sha256: Annotated[str, AfterValidator(_hexadecimal)]
    handlers: Annotated[tuple[str, ...] | None, Field(strict=False)] = None  # the only ones it opens
    expires: Annotated[str, AfterValidator(_with_zone)] | None = None  # RFC 3339
    max_size: Size | None = None  # bytes of one upload
    daily_quota: Size | None = None  # bytes stored in 24 hours
    max_open: Annotated[int, Field(ge=1)] | None = None  # uploads at a time

    def expired(self, now: datetime | None = None) -> bool:
        """Whether its time has passed."""
        return self.expires is not None and datetime.fromisoformat(self.expires) <= (now or datetime.now(UTC))

    def opens(self, handler: str) -> bool:
        """Whether it is for this handler, by its name in config.yaml."""
        return self.handlers is None or handler in self.handlers


_LIST: Final = TypeAdapter(list[Token])


class TokenSet:
    """The tokens of one file, as they were when it was read."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tuple(tokens)

    def find(self, secret: str) -> Token | None:
        """The token of this secret, unless it has expired. Every entry is compared, each in constant time."""
        digest = hash_secret(secret)
        found = [token for token in self.tokens if hmac.compare_digest(token.sha256, digest)]
        return next((token for token in found if not token.expired()), None)


def hash_secret(secret: str) -> str:
    """What the file has of a secret. A secret is random, so that a plain hash is enough (RFC 6749, 10.10)."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_secret() -> str:
    """256 random bits in the characters of a URL."""
    return secrets.token_urlsafe(SECRET_BYTES)


def read(path: Path) -> list[Token]:
    """The entries of the file. Raises ConfigError with all that is wrong, one line each."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([Problem(f"cannot be read: {error.strerror}", (), Place(str(path)))]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem("is not UTF-8", (), Place(str(path)))]) from None
    if mode & stat.S_IROTH:
        raise ConfigError([Problem("may be read by everybody; chmod o-r", (), Place(str(path)))])
    return parse(text, str(path))


def parse(text: str, source: str) -> list[Token]:
    """The entries that stand in a text; `source` is where it is from. Raises ConfigError."""
    tree, places, problems = yamlfile.read(text, source)
    if problems:
        raise ConfigError(problems)
    try:
        tokens = _LIST.validate_python([] if tree is None else tree)
    except ValidationError as error:
        found = from_validation(error, Token, ())
        raise ConfigError([Problem(message, at, places.of(at)) for at, message in found]) from None
    _check_twins(tokens, places)
    return tokens


def _check_twins(tokens: Sequence[Token], places: Places) -> None:
    """Two of one name could not be told apart in a log, and two of one secret are one."""
    for field in ("name", "sha256"):
        values = [getattr(token, field) for token in tokens]
        for index, value in enumerate(values):
            if value in values[:index]:
                at: KeyPath = (index, field)
                raise ConfigError([Problem(f"stands there twice: {value[:16]}", at, places.of(at))])


def write(path: Path, tokens: Sequence[Token]) -> None:
    """Replace the file atomically. A new one is for its owner alone; an old one keeps its mode and owner."""
    entries: list[dict[str, Any]] = [token.model_dump(mode="json", exclude_none=True) for token in tokens]
    text = yamlfile.write(entries) if entries else "[]\n"
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            _take_after(path, file.fileno())
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _take_after(path: Path, number: int) -> None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    os.fchmod(number, stat.S_IMODE(found.st_mode) & ~stat.S_IROTH)
    os.fchown(number, found.st_uid, found.st_gid)
