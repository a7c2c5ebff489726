"""What a start-up does with what a crash left in staging: finish it, cut it, or drop it. It never guesses."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import structlog

from app.errors import Failure
from handlers.upload.messages import Receipt
from handlers.upload.publish import Publisher
from handlers.upload.records import Manifest
from handlers.upload.staging import Staging, sync_folder

log = structlog.get_logger()

_T = TypeVar("_T")


class Recovery:
    """Reads the manifests and the intents; blocking calls."""

    def __init__(self, staging: Staging, publisher: Publisher) -> None:
        self._staging = staging
        self._publisher = publisher

    def run(self) -> list[tuple[str, Manifest]]:
        """Bring staging in order; the uploads that are open, by their keys. What cannot be used is left alone."""
        names = {entry.name for entry in self._staging.entries()}
        found = []
        for name in sorted(names):
            key, _, kind = name.partition(".")
            if kind.endswith("new"):
                _drop(self._staging.folder / name)
            elif kind == "intent":
                _attempt(key, self._recover_intent)
            elif kind == "part" and names.isdisjoint((f"{key}.upload", f"{key}.intent")):
                _drop(self._staging.part(key))
            elif kind == "upload":
                manifest = _attempt(key, self._recover_one)
                if manifest is not None:
                    found.append((key, manifest))
        return found

    # -- small files that were published in a group

    def _recover_intent(self, key: str) -> None:
        """A file that was meant to be published: finish it where its bytes are there, whole; else it never was."""
        intent = self._staging.load_intent(key)
        try:
            name = None if intent is None else self._name_of_intent(key, intent)
        except Failure as failure:
            # Nobody was told that it is stored: it must not appear at some later start, when its name is free.
            log.warning("upload.failed", upload=key[:12], problem=repr(failure))
            name = None
        if intent is not None and name is not None:
            self._sync_folders(name)
            self._staging.save_receipt(key, Receipt(name, intent.size, intent.sha256))
            log.info("upload.stored", upload=key[:12], name=name, recovered=True)
        self._staging.remove(key)

    def _name_of_intent(self, key: str, intent: Receipt) -> str | None:
        """The final name, given now if it was not yet; None where the bytes are not what was intended."""
        path = self._staging.part(key)
        try:
            part = os.lstat(path)
        except FileNotFoundError:
            # The last step had begun: the name was durable before the part went.
            return intent.name if _is(self._staging.directory / intent.name, intent) else None
        if not _is(path, intent):
            return None
        with self._staging.open_part(key) as fd:
            os.fsync(fd)  # the crash may have come before it, and the name must never stand before the bytes
        return self._publisher.published_as(intent.name, part) or self._publisher.give_name(key, intent.name)

    # -- uploads with a manifest

    def _recover_one(self, key: str) -> Manifest | None:
        """One upload after a crash; None when it is not open any more. Never guesses."""
        if self._staging.load_receipt(key) is not None:  # the last step was missing
            self._staging.remove(key)
            return None
        manifest = self._staging.load(key)
        self._staging.link(key).unlink(missing_ok=True)
        path = self._staging.part(key)
        try:
            part = os.lstat(path)
        except FileNotFoundError:
            part = None
        if part is None or not stat.S_ISREG(part.st_mode) or part.st_size < manifest.durable:
            return self._begin_anew(key, manifest)
        if part.st_nlink > 1:
            name = self._publisher.published_as(manifest.promise.name, part)
            if name is not None:
                self._conclude(key, manifest, part, name)
                return None
            # Somebody has given it a name elsewhere: that file is not ours to change any more.
            self._staging.renew_part(key, manifest.durable)
        elif manifest.whole is not None and self._is_whole(key, manifest, part):
            return self._publish(key, manifest)
        os.truncate(path, manifest.durable)
        return manifest

    def _begin_anew(self, key: str, manifest: Manifest) -> Manifest:
        log.warning("upload.damaged", upload=key[:12], problem="the part file is not what it was; begun anew")
        anew = replace(manifest, durable=0, proof=None, whole=None)
        self._staging.save(key, anew)
        self._staging.renew_part(key, 0)
        return anew

    def _conclude(self, key: str, manifest: Manifest, part: os.stat_result, name: str) -> None:
        """The name was given and the receipt was not written: sync the name, for that may be missing too."""
        self._sync_folders(name)
        digest = self._digest(key, manifest, part)
        self._publisher.conclude(key, Receipt(name, part.st_size, digest))
        log.info("upload.stored", upload=key[:12], name=name, recovered=True)

    def _is_whole(self, key: str, manifest: Manifest, part: os.stat_result) -> bool:
        """Whether the part is still what was written down to be whole; more bytes may have come since."""
        expected = manifest.proved(part.st_size)
        return expected is not None and self._digest(key, manifest, part) == expected

    def _publish(self, key: str, manifest: Manifest) -> Manifest | None:
        """Whole and verified, and no name yet: give it one, as it would have been given."""
        assert manifest.proof is not None
        with self._staging.open_part(key) as fd:
            try:
                receipt = self._publisher.publish(key, manifest, fd, manifest.proof.sha256)
            except (Failure, OSError) as error:
                log.warning("upload.failed", upload=key[:12], problem=repr(error))
                return manifest
        log.info("upload.stored", upload=key[:12], name=receipt.name, recovered=True)
        return None

    def _digest(self, key: str, manifest: Manifest, part: os.stat_result) -> str:
        """Of the part; read only where its own word for it cannot be taken."""
        proof = manifest.proof
        if proof is not None and (proof.size, manifest.whole) == (part.st_size, part.st_mtime_ns):
            return proof.sha256
        return _digest(self._staging.part(key))

    def _sync_folders(self, name: str) -> None:
        for parent in Path(name).parents:
            sync_folder(self._staging.directory / parent)


def _attempt(key: str, recover: Callable[[str], _T]) -> _T | None:
    """One upload's trouble is its own: it is left as it is, and the others are taken up."""
    try:
        return recover(key)
    except (Failure, OSError, ValueError) as error:
        log.warning("upload.unreadable", upload=key[:12], problem=repr(error))
        return None


def _drop(path: Path) -> None:
    """Remove what a crash has left; what is no file is a stranger's."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _is(path: Path, receipt: Receipt) -> bool:
    """Whether a regular file stands there with the size and the digest of the receipt."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == receipt.size and _digest(path) == receipt.sha256


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
