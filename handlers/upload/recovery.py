"""What a start-up does with what a crash left in staging: finish it, cut it, or drop it. It never guesses."""

import hashlib
import os
import stat
from pathlib import Path

import structlog

from app.errors import Failure
from handlers.upload.messages import Receipt
from handlers.upload.publish import Publisher
from handlers.upload.staging import Manifest, Staging, sync_folder

log = structlog.get_logger()


class Recovery:
    """Reads the manifests and the intents; blocking calls."""

    def __init__(self, staging: Staging, publisher: Publisher) -> None:
        self._staging = staging
        self._publisher = publisher

    def run(self) -> list[tuple[str, Manifest]]:
        """Bring staging in order; the uploads that are open, by their keys."""
        names = {entry.name for entry in self._staging.entries()}
        found = []
        for name in sorted(names):
            key, _, kind = name.partition(".")
            if kind.endswith("new"):
                (self._staging.folder / name).unlink(missing_ok=True)
            elif kind == "intent":
                self._recover_intent(key)
            elif kind == "part" and names.isdisjoint((f"{key}.upload", f"{key}.intent")):
                self._staging.part(key).unlink(missing_ok=True)
            elif kind == "upload":
                manifest = self._recover_one(key, f"{key}.receipt" in names)
                if manifest is not None:
                    found.append((key, manifest))
        return found

    # -- small files that were published in a group

    def _recover_intent(self, key: str) -> None:
        """A file that was meant to be published: finish it where its bytes are there, whole; else it never was."""
        intent = self._staging.load_intent(key)
        try:
            name = None if intent is None else self._name_of_intent(key, intent)
            if intent is not None and name is not None:
                self._sync_folders(name)
                self._staging.save_receipt(key, Receipt(name, intent.size, intent.sha256))
                log.info("upload.stored", upload=key[:12], name=name, recovered=True)
            self._staging.remove(key)
        except (Failure, OSError) as error:
            log.warning("upload.unreadable", upload=key[:12], problem=repr(error))

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
        return self._publisher.published_as(intent.name, part) or self._publisher.give_name(key, intent.name)

    # -- uploads with a manifest

    def _recover_one(self, key: str, has_receipt: bool) -> Manifest | None:
        """One upload after a crash; None when it is not open any more. Never guesses."""
        if has_receipt:  # the last step was missing
            self._staging.remove(key)
            return None
        try:
            manifest = self._staging.load(key)
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("upload.unreadable", upload=key[:12], problem=repr(error))
            return None
        try:
            return self._recover_part(key, manifest)
        except OSError as error:
            log.warning("upload.unreadable", upload=key[:12], problem=repr(error))
            return None

    def _recover_part(self, key: str, manifest: Manifest) -> Manifest | None:
        self._staging.link(key).unlink(missing_ok=True)
        path = self._staging.part(key)
        try:
            part = os.lstat(path)
        except FileNotFoundError:
            part = None
        if part is None or not stat.S_ISREG(part.st_mode) or part.st_size < manifest.durable:
            log.warning("upload.damaged", upload=key[:12], problem="the part file is not what it was; begun anew")
            return self._begin_anew(key, manifest)
        if part.st_nlink > 1:
            name = self._publisher.published_as(manifest.promise.name, part)
            if name is None:
                log.warning("upload.damaged", upload=key[:12], problem="published, and moved away; begun anew")
                return self._begin_anew(key, manifest)
            self._conclude(key, manifest, path, name)
            return None
        if manifest.sha256 is not None:
            return self._publish(key, manifest, path)
        os.truncate(path, manifest.durable)
        return manifest

    def _begin_anew(self, key: str, manifest: Manifest) -> Manifest:
        self._staging.remove(key)
        return self._staging.create(key, manifest.promise)

    def _conclude(self, key: str, manifest: Manifest, path: Path, name: str) -> None:
        """The name was given and the receipt was not written: sync the name, for that may be missing too."""
        digest = manifest.sha256 or _digest(path)
        self._sync_folders(name)
        self._publisher.conclude(key, Receipt(name, path.stat().st_size, digest))
        log.info("upload.stored", upload=key[:12], name=name, recovered=True)

    def _publish(self, key: str, manifest: Manifest, path: Path) -> Manifest | None:
        """Whole and verified, and no name yet: give it one, as it would have been given."""
        assert manifest.sha256 is not None
        with path.open("rb") as file:
            try:
                receipt = self._publisher.publish(key, manifest, file.fileno(), manifest.sha256)
            except (Failure, OSError) as error:
                log.warning("upload.failed", upload=key[:12], problem=repr(error))
                return manifest
        log.info("upload.stored", upload=key[:12], name=receipt.name, recovered=True)
        return None

    def _sync_folders(self, name: str) -> None:
        for parent in Path(name).parents:
            sync_folder(self._staging.directory / parent)


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
