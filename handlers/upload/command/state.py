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
from typing import NamedTuple

from jackfield.handlers.upload.client import draw_token

_SECRET = 32  # bytes


class State:
    """The folder for it; the files in it are readable for their owner only.

    Where it cannot be written the command works without, and `lasting` is false: a later run does not know what this
    one has sent. `trouble` is what the user has to know.
    """

    def __init__(self, folder: Path) -> None:
        self.lasting = True
        self.trouble: str | None = None
        self._folder = folder
        self._begun = folder / "uploads"
        self._secret = secrets.token_bytes(_SECRET)
        try:
            self._secret = self._keep_secret()
        except OSError as error:
            self.lasting = False
            self.trouble = f"cannot remember what is sent in {folder}: {error.strerror or error}"

    @classmethod
    def of_user(cls) -> "State":
        """The state of who runs the command: in `$XDG_STATE_HOME/jackfield`, where that is an absolute path."""
        folder = os.environ.get("XDG_STATE_HOME", "")
        if not os.path.isabs(folder):
            folder = os.path.expanduser("~/.local/state")
        return cls(Path(folder, "jackfield"))

    def _keep_secret(self) -> bytes:
        """Return the secret of earlier runs, or keep this one; of several first runs at once one wins."""
        path = self._folder / "secret"
        if not path.is_absolute():
            raise FileNotFoundError("there is no home directory")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if len(found := path.read_bytes()) == _SECRET:
                return found
            self.trouble = f"{path} was damaged and is made anew: what was sent before is not known any more"
            path.unlink()
        _write(path, self._secret)
        return path.read_bytes()

    def token(self, url: str, name: str, found: os.stat_result, *more: str) -> str:
        """Return the token of a file as it is now; `more` tells apart what has the same name, size and time."""
        what = json.dumps([url, name, found.st_size, found.st_mtime_ns, *more])
        digest = hmac.digest(self._secret, what.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def begin(self, url: str, name: str, file: str, version: str, *, again: bool) -> str:
        """Return the token to send a large file under, which is remembered until its end.

        `version` is the token of the file as it is now. With `again` another one is drawn, or that of an earlier run
        is taken, where it did not come to its end.
        """
        place = self._place(url, name, file)
        before = _read(place)
        if before is not None and before.serves(version, again=again):
            return before.token
        token = draw_token() if again else version
        with suppress(OSError):
            self._begun.mkdir(mode=0o700, parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            _write(place, f"{version} {token}".encode())
        return token

    def useless(self, url: str, name: str, file: str, version: str | None, *, again: bool) -> str | None:
        """Return the token of what an earlier run has sent of a file, where nothing can go on with that now."""
        before = _read(self._place(url, name, file))
        return None if before is None or before.serves(version, again=again) else before.token

    def remembers(self, url: str, name: str, file: str) -> bool:
        """Whether an earlier run has begun with the file, as with a large one, and it had no end."""
        return self._place(url, name, file).exists()

    def ended(self, url: str, name: str, file: str) -> None:
        """There is nothing of it to go on with any more."""
        with suppress(OSError):
            self._place(url, name, file).unlink()

    def _place(self, url: str, name: str, file: str) -> Path:
        key = json.dumps([url, name, os.path.abspath(file)])
        return self._begun / hashlib.sha256(key.encode()).hexdigest()[:32]


class _Begun(NamedTuple):
    version: str
    token: str

    def serves(self, version: str | None, *, again: bool) -> bool:
        """Whether an upload of this version can go on with it. What --again began is only for --again."""
        return self.version == version and (self.token != self.version) == again


def _read(place: Path) -> _Begun | None:
    with suppress(OSError, ValueError, TypeError):
        return _Begun(*place.read_text(encoding="ascii").split())
    return None


def _write(path: Path, data: bytes) -> None:
    """Make a file whole, or not at all; one that is there already stays."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave the name, and nothing under it
        with suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink()
