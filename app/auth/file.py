"""The file of tokens, for a running service: it is read again when it changes."""

from pathlib import Path

import structlog

from jackfield.app.auth import tokens
from jackfield.app.auth.tokens import Token, TokenSet
from jackfield.app.config.problems import ConfigError
from jackfield.app.errors import CannotStart

log = structlog.get_logger()


class TokenFile:
    """A broken new file is logged, and the tokens of the old one stay in force. Raises CannotStart at first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._signature()
        try:
            self._tokens = TokenSet(tokens.read(path))
        except ConfigError as error:
            raise CannotStart(str(error)) from error

    def find(self, secret: str) -> Token | None:
        """The token of this secret, unless it has expired."""
        return self._tokens.find(secret)

    async def refresh(self, *, forced: bool = False) -> None:
        """Read the file again where it has changed since, or in any case."""
        signature = self._signature()
        if not forced and signature == self._seen:
            return
        self._seen = signature
        try:
            self._tokens = TokenSet(tokens.read(self._path))
        except ConfigError as error:
            log.warning("tokens.refused", problem=str(error))
        else:
            log.info("tokens.read", count=len(self._tokens.tokens))

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
