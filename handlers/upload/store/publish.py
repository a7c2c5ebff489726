"""From a verified part to a file under its final name: the order of these steps is the product. Blocking calls."""

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Final, Literal

from jackfield.app.errors import Failure
from jackfield.handlers.upload.store.folders import FOLDER, Folders
from jackfield.handlers.upload.store.records import Checkpoint, Manifest, Stored
from jackfield.handlers.upload.store.staging import Staging
from jackfield.handlers.upload.wire.messages import Receipt
from jackfield.handlers.upload.wire.names import alternatives
from jackfield.handlers.upload.wire.words import NAME_TAKEN

Policy = Literal["rename", "reject", "replace"]

_CHECKPOINT_MIN: Final = 16 * 1024 * 1024
"""Bytes of a file whose digest is written down before it is published: reading it again would take long."""


class NotSynced(OSError):
    """The bytes of a part could not be made durable: they may be lost already, and are not to be trusted."""


class Publisher:
    """Puts parts under their final names, by one policy for names that are taken."""

    def __init__(self, staging: Staging, policy: Policy, observe: Callable[[float], None]) -> None:
        self._staging = staging
        self._policy = policy
        self._observe = observe

    def publish(self, key: str, manifest: Manifest, fd: int, digest: str) -> Receipt:
        """The bytes are written and verified; make the file safe, and only then write its receipt.

        1. fsync the bytes: a name must never stand before them.
        2. Write down (for a large file) that it is whole: a crash from here on is finished at start-up.
        3. Link the final name to them. Linking cannot overwrite, and there is no check before it that
           another could slip behind; the file is there whole, or it is not there.
        4. fsync the folder, so that the name outlives a power cut; and those above it.
        5. Write the receipt, durably. Now it may be sent, and asked for again.
        6. Forget the part. Its bytes are the file's, so that only a second name goes.

        Raises Failure `name_taken`, NotSynced where step 1 fails, another OSError where a later one does;
        then nothing is visible, but where a file was replaced already.
        """
        self._sync(fd)
        found = os.fstat(fd)
        if found.st_size >= _CHECKPOINT_MIN:
            checkpoint = Checkpoint(found.st_size, digest)
            complete = Manifest(manifest.promise, checkpoint.size, self._staging.now(), checkpoint, found.st_mtime_ns)
            self._staging.save(key, complete)
        with Folders(self._staging.directory) as folders:
            name = self.give_name(key, fd, folders.of(manifest.promise.name), manifest.promise.name)
            try:
                # All of them: another upload may have made one a moment ago, and not have synced it yet.
                folders.sync()
                return self.conclude(key, Stored(Receipt(name, found.st_size, digest), manifest.promise))
            except OSError:
                self.take_back(key, name, fd)
                raise

    def _sync(self, fd: int) -> None:
        begun = time.perf_counter()
        try:
            os.fsync(fd)
        except OSError as error:
            raise NotSynced(error.errno, error.strerror) from error
        self._observe(time.perf_counter() - begun)

    def take_back(self, key: str, name: str, fd: int) -> None:
        """Unlink a name that may not outlive a power cut; where that fails, start-up finishes what it finds.

        A receipt goes before it: there must be none without a file. A name under which another file
        stands now, or which replaced one, stays.
        """
        place = self._staging.directory / name
        with suppress(OSError):
            self._staging.receipt(key).unlink(missing_ok=True)
            if self._policy != "replace" and os.path.samestat(os.lstat(place), os.fstat(fd)):
                place.unlink()

    def conclude(self, key: str, stored: Stored) -> Receipt:
        """The last two steps, of a file whose name is durable."""
        self._staging.save_receipt(key, stored)
        with suppress(OSError):  # the promise is kept already; start-up and the sweep remove what is left
            self._staging.remove(key)
        return stored.receipt

    def taken(self, name: str) -> bool:
        """Whether `name` could not be published as things stand: the policy, or a folder where a file is needed."""
        place = self._staging.directory
        *folders, last = name.split("/")
        for folder in folders:
            place = place / folder
            with suppress(FileNotFoundError):
                if not stat.S_ISDIR(os.lstat(place).st_mode):
                    return True
        try:
            found = os.lstat(place / last)
        except FileNotFoundError:
            return False
        return self._policy == "reject" or stat.S_ISDIR(found.st_mode)

    def published_as(self, name: str, part: os.stat_result) -> str | None:
        """Under which name an interrupted publish has left the file; by its inode, never by its looks."""
        place = self._staging.directory / name
        for candidate in (place.name, *self._candidates(place)):
            with suppress(OSError):
                found = os.lstat(place.with_name(candidate))
                if (found.st_dev, found.st_ino) == (part.st_dev, part.st_ino):
                    return name[: len(name) - len(place.name)] + candidate
        return None

    def _candidates(self, place: Path) -> Iterator[str]:
        """The alternatives that exist, and one more: names are tried in this order, so none is behind a gap."""
        for candidate in alternatives(place.name):
            if not os.path.lexists(place.with_name(candidate)):
                return
            yield candidate

    def give_name(self, key: str, fd: int, folder: int, name: str) -> str:
        """Link the part into the folder of its name: under it, or under the name it gets instead, which is returned.

        Nothing is synced. Raises Failure `name_taken`, or OSError.
        """
        path, slash, last = name.rpartition("/")
        if self._policy == "replace":
            self._replace(key, fd, folder, last)
            return name
        for candidate in chain([last], alternatives(last)):
            try:
                _link_file(fd, candidate, folder)
            except FileExistsError:
                if self._policy == "reject" or (candidate == last and _is_folder(last, folder)):
                    raise Failure(NAME_TAKEN, "The name is taken.") from None
            else:
                return path + slash + candidate
        raise AssertionError("there is always another name")

    def _replace(self, key: str, fd: int, folder: int, name: str) -> None:
        link = self._staging.link(key)
        link.unlink(missing_ok=True)
        staging = os.open(link.parent, FOLDER)
        try:
            _link_file(fd, link.name, staging)
        finally:
            os.close(staging)
        try:
            os.replace(link, name, dst_dir_fd=folder)
        except OSError as error:
            link.unlink(missing_ok=True)
            if isinstance(error, IsADirectoryError):
                raise Failure(NAME_TAKEN, "The name is a folder's.") from None
            raise


def _link_file(fd: int, name: str, folder: int) -> None:
    """A name for the very file that was verified, whatever stands at its path in staging by now."""
    os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=folder, follow_symlinks=True)


def _is_folder(name: str, folder: int) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
