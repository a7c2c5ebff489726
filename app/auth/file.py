"""The file of tokens, for a running service: it is read again when it changes."""

from pathlib import Path

from jackfield.app.auth import tokens
from jackfield.app.auth.tokens import Token, TokenSet
from jackfield.app.config.problems import ConfigError
from jackfield.app.errors import CannotStart
from jackfield.app.logger import get_logger
from jackfield.app.reloading import Reloaded

log = get_logger()


class TokenFile(Reloaded):
    """A broken new file is logged, and the tokens of the old one stay in force. Raises CannotStart at first."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path
        try:
            self._tokens = TokenSet(tokens.read(path))
        except ConfigError as error:
            raise CannotStart(str(error)) from error

    def find(self, secret: str) -> Token | None:
        """The token of this secret, unless it has expired."""
        return self._tokens.find(secret)

    def _reload(self) -> None:
        try:
            self._tokens = TokenSet(tokens.read(self._path))
        except ConfigError as error:
            log.warning("tokens.refused", problem=str(error))
        else:
            log.info("tokens.read", count=len(self._tokens.tokens))
