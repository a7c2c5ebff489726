"""The state that the command keeps between runs: a secret, from which it derives the tokens of uploads.

The same service, name, size and time give the same token, so that the service can tell what an earlier run has stored,
and the command needs no list of it. Of a large file the token is remembered until its receipt, to
drop what was sent of it when the file has changed since.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path

_SECRET = 32  # bytes


class State:
    """The folder for it; the files in it are readable for their owner only.

    Where it cannot be written the command works without, and `trouble` says why; then a later run does not know
    what this one has sent.
    """

    def __init__(self, folder: Path) -> None:
        self.trouble: str | None = None
        self._folder = folder
        self._begun = folder / "uploads"
        self._secret = secrets.token_bytes(_SECRET)
        try:
            self._secret = self._keep_secret()
        except OSError as error:
            self.trouble = f"cannot remember what is sent in {folder}: {error.strerror or error}"

    @classmethod
    def of_user(cls) -> "State":
        """The state of who runs the command: in `$XDG_STATE_HOME/jackfield`."""
        return cls(Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "jackfield")

    def _keep_secret(self) -> bytes:
        """Return the secret of earlier runs, or keep this one; of several first runs at once one wins."""
        path = self._folder / "secret"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if len(found := path.read_bytes()) == _SECRET:
                return found
            path.unlink()  # an earlier run died while it wrote
        _write(path, self._secret)
        return path.read_bytes()

    def token(self, url: str, name: str, found: os.stat_result, *more: str) -> str:
        """Return the token of a file as it is now; `more` tells apart what has the same name, size and time."""
        what = json.dumps([url, name, found.st_size, found.st_mtime_ns, *more])
        digest = hmac.digest(self._secret, what.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def begun(self, url: str, name: str, file: str, token: str) -> str | None:
        """Remember what a large file is being sent under; what it was begun under before, if that was another token."""
        place = self._place(url, name, file)
        before = None
        with suppress(OSError, UnicodeDecodeError):
            before = place.read_text(encoding="ascii")
            place.unlink()
        with suppress(OSError):
            self._begun.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(place, token.encode())
        return before if before != token else None

    def ended(self, url: str, name: str, file: str) -> None:
        """There is nothing of it to go on with any more."""
        with suppress(OSError):
            self._place(url, name, file).unlink()

    def _place(self, url: str, name: str, file: str) -> Path:
        key = json.dumps([url, name, os.path.abspath(file)])
        return self._begun / hashlib.sha256(key.encode()).hexdigest()[:32]


def _write(path: Path, data: bytes) -> None:
    """Make a file whole, or not at all; one that is there already stays."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        with suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink()
