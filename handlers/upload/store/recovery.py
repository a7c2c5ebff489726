"""Recovery at start-up: what a crash left in staging is finished, truncated, or dropped. It never guesses."""

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from jackfield.app.errors import Failure
from jackfield.app.handler import get_logger
from jackfield.handlers.upload.store.publish import Publisher
from jackfield.handlers.upload.store.records import Manifest, Member, Stored
from jackfield.handlers.upload.wire.messages import Receipt

log = get_logger()

_T = TypeVar("_T")

_READ: Final = 1024 * 1024


class Recovery:
    """Reads the manifests, and the journals of groups; blocking calls."""

    def __init__(self, publisher: Publisher) -> None:
        self._staging = publisher.staging
        self._disk = publisher.staging.disk
        self._publisher = publisher

    def run(self) -> list[tuple[str, Manifest]]:
        """Bring staging in order; the uploads that are open, by their keys. What cannot be used is left alone."""
        names = sorted(entry.name for entry in self._staging.entries())
        groups = [name.removesuffix(".group") for name in names if name.endswith(".group")]
        for key in groups:
            self._drop_events(key)
        # Where one cannot be read, some of the parts that seem to be nobody's are its files.
        recovered = [_attempt(key, partial(self._recover_group, key)) for key in groups]
        uploads = {name.removesuffix(".upload") for name in names if name.endswith(".upload")}
        for name in names:
            if name.endswith("new") or (all(recovered) and name.endswith(".part") and name[:-5] not in uploads):
                self._drop(self._staging.folder / name)
        found = [(key, _attempt(key, partial(self._recover_one, key))) for key in sorted(uploads)]
        return [(key, manifest) for key, manifest in found if manifest is not None]

    def _drop_events(self, key: str) -> None:
        """What was to be an event, and has no receipt: where it gets one now, it is an event again."""
        self._disk.unlink(self._staging.events(key))
        if not self._disk.exists(self._staging.receipt(key)):
            self._disk.unlink(self._staging.event(key))

    # -- small files that were published in a group

    def _recover_group(self, key: str) -> bool:
        """Files that were meant to be published: true when each of them is, or never was."""
        path = self._staging.group(key)
        members = self._staging.read_group(path)
        recovered = [_attempt(member.key, partial(self._recover_member, member)) for member in members]
        if all(recovered):
            self._disk.unlink(path)
        return all(recovered)

    def _recover_member(self, member: Member) -> bool:
        """Finish it where its bytes are there, whole; else it never was. It is in order when this returns."""
        key, intent = member.key, member.receipt
        if self._disk.exists(self._staging.manifest(key)):
            return True  # it has failed in this group, and its client has gone on with it
        if self._staging.load_receipt(key) is None:
            try:
                name = self._name_of(member)
            except Failure as failure:
                # No receipt was given: it must not appear at some later start, when its name is free.
                log.warning("upload.failed", upload=key[:12], problem=repr(failure))
                name = None
            if name is not None:
                self._sync_folders(name)
                receipt = Receipt(name, intent.size, intent.sha256)
                self._staging.save_receipt(key, Stored(receipt, member.asked, time.time()))
                log.info("upload.stored", upload=key[:12], name=name, recovered=True)
        self._staging.remove(key)
        return True

    def _name_of(self, member: Member) -> str | None:
        """The final name, given now if it was not yet; None where the bytes are not what was intended."""
        key, intent = member.key, member.receipt
        try:
            part = self._disk.lstat(self._staging.part(key))
        except FileNotFoundError:
            # The last step had begun: the name was durable before the part went. A file that only looks like it is
            # another upload's.
            place = self._staging.directory / intent.name
            return intent.name if self._is(place, intent, member.inode) else None
        if not self._is(self._staging.part(key), intent, part.st_ino):
            return None
        with self._staging.open_part(key) as fd, self._publisher.folders(sync=True) as folders:
            self._disk.fsync(fd)  # the crash may have come before it, and the name must never stand before the bytes
            name = self._publisher.published_as(intent.name, part)
            return name or self._publisher.link_name(key, fd, folders.of(intent.name), intent.name)

    # -- uploads with a manifest

    def _recover_one(self, key: str) -> Manifest | None:
        """One upload after a crash; None when it is not open any more. Never guesses."""
        if self._staging.load_receipt(key) is not None:
            self._clear_away(key)
            return None
        self._drop_events(key)
        manifest = self._staging.load(key)
        self._disk.unlink(self._staging.link(key))
        path = self._staging.part(key)
        try:
            part = self._disk.lstat(path)
        except FileNotFoundError:
            part = None
        if manifest.promise.whole and part is None:
            self._staging.remove(key)
            return None
        if part is None or not stat.S_ISREG(part.st_mode) or part.st_size < manifest.durable:
            return self._begin_anew(key, manifest)
        if part.st_nlink > 1:
            name = self._publisher.published_as(manifest.promise.place, part)
            if name is not None:
                self._conclude(key, manifest, part, name)
                return None
            # Somebody has given it a name elsewhere: that file is not ours to change any more.
            self._staging.replace_part(key, manifest.durable)
        elif manifest.complete is not None and self._is_complete(key, manifest, part):
            return self._publish(key, manifest)
        if manifest.promise.whole:
            self._staging.remove(key)
            return None
        if part.st_size > manifest.durable:
            self._disk.truncate(path, manifest.durable)
        return manifest

    def _clear_away(self, key: str) -> None:
        """It has its receipt, and the last step was missing. A power cut may have spared that name, not the event's."""
        if self._staging.announces:
            self._disk.add_name(self._staging.receipt(key), self._staging.event(key))
        self._staging.remove(key)

    def _begin_anew(self, key: str, manifest: Manifest) -> Manifest:
        log.warning("upload.damaged", upload=key[:12], problem="the part file is not what it was; begun anew")
        anew = replace(manifest, durable=0, checkpoint=None, complete=None)
        self._staging.save(key, anew)
        self._staging.replace_part(key, 0)
        return anew

    def _conclude(self, key: str, manifest: Manifest, part: os.stat_result, name: str) -> None:
        """The name was given and the receipt was not written: sync the name, for that may be missing too."""
        self._sync_folders(name)
        digest = self._digest(key, manifest, part)
        self._publisher.conclude(key, Receipt(name, part.st_size, digest), manifest.promise)
        log.info("upload.stored", upload=key[:12], name=name, recovered=True)

    def _is_complete(self, key: str, manifest: Manifest, part: os.stat_result) -> bool:
        """Whether the part is still what was written down to be whole; more bytes may have come since."""
        expected = manifest.proved(part.st_size)
        return expected is not None and self._digest(key, manifest, part) == expected

    def _publish(self, key: str, manifest: Manifest) -> Manifest | None:
        """Complete and verified, but without a name: publish it."""
        assert manifest.checkpoint is not None
        with self._staging.open_part(key) as fd:
            try:
                receipt = self._publisher.publish(key, manifest, fd, manifest.checkpoint.sha256)
            except (Failure, OSError) as error:
                log.warning("upload.failed", upload=key[:12], problem=repr(error))
                return manifest
        log.info("upload.stored", upload=key[:12], name=receipt.name, recovered=True)
        return None

    def _digest(self, key: str, manifest: Manifest, part: os.stat_result) -> str:
        """The digest of the part: from the manifest if the file is unchanged since, else by reading it."""
        checkpoint = manifest.checkpoint
        if checkpoint is not None and (checkpoint.size, manifest.complete) == (part.st_size, part.st_mtime_ns):
            return checkpoint.sha256
        return self._read(self._staging.part(key))

    def _sync_folders(self, name: str) -> None:
        for parent in Path(name).parents:
            self._disk.sync_folder(self._staging.directory / parent)

    def _drop(self, path: Path) -> None:
        """Remove what a crash has left; anything but a file is not ours."""
        with contextlib.suppress(OSError):
            self._disk.unlink(path)

    def _is(self, path: Path, receipt: Receipt, inode: int) -> bool:
        """Whether this very file stands there, with the size and the digest of the receipt."""
        try:
            found = self._disk.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if not stat.S_ISREG(found.st_mode) or (found.st_size, found.st_ino) != (receipt.size, inode):
            return False
        return self._read(path) == receipt.sha256

    def _read(self, path: Path) -> str:
        """The digest of a file."""
        digest, place = hashlib.sha256(), 0
        with self._disk.opened(path) as fd:
            while block := self._disk.pread(fd, _READ, place):
                digest.update(block)
                place += len(block)
        return digest.hexdigest()


def _attempt(key: str, recover: Callable[[], _T]) -> _T | None:
    """An upload that cannot be recovered is logged and left as it is; the others are recovered."""
    try:
        return recover()
    except (Failure, OSError, ValueError) as error:
        log.warning("upload.unreadable", upload=key[:12], problem=repr(error))
        return None
