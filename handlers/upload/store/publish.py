"""From a verified part to a file under its final name; the order of these steps matters. Blocking calls."""

import os
import re
import stat
import time
from contextlib import suppress
from typing import Final, Literal

from jackfield.app.errors import Failure
from jackfield.handlers.upload.store.attributes import Attributes
from jackfield.handlers.upload.store.disk import FOLDER
from jackfield.handlers.upload.store.events import Events
from jackfield.handlers.upload.store.folders import Folders, not_permitted, permitted
from jackfield.handlers.upload.store.receipts import Receipts
from jackfield.handlers.upload.store.records import Checkpoint, Manifest, Stored
from jackfield.handlers.upload.store.staging import Staging
from jackfield.handlers.upload.wire.messages import Promise, Receipt
from jackfield.handlers.upload.wire.names import alternative
from jackfield.handlers.upload.wire.words import NAME_TAKEN

Policy = Literal["rename", "reject", "replace"]

_CHECKPOINT_MIN: Final = 16 * 1024 * 1024
"""Bytes of a file from which on a checkpoint is written before publishing: to read it again would take long."""


class NotSynced(OSError):
    """The bytes of a part could not be made durable: they may be lost already, and are not to be trusted."""


class Publisher:
    """Puts parts under their final names, by one policy for names that are taken, with these permissions."""

    def __init__(self, staging: Staging, policy: Policy, mode: int | None = None) -> None:
        self.staging = staging
        self._mode = mode
        self.events = Events(staging)
        self.receipts = Receipts(staging)
        self._disk = staging.disk
        self._policy = policy

    def folders(self, *, sync: bool) -> Folders:
        """The folders of final names."""
        return Folders(self._disk, self.staging.directory, sync=sync)

    def attributes(self) -> Attributes:
        """What sets the attributes of files that are published together."""
        return Attributes(self.staging, self._mode)

    def publish(self, key: str, manifest: Manifest, fd: int, digest: str) -> Receipt:
        """The bytes are written and verified; make the file safe, and only then write its receipt.

        1. Set the attributes, and fsync them and the bytes: a name must never stand before them.
        2. Write to the manifest (of a large file) that it is complete: from here on recovery finishes it.
        3. Make the folders of the name, each durable before the next.
        4. Link the final name to the bytes. Linking cannot overwrite, so there is no race with another upload;
           the file is there whole, or it is not there.
        5. fsync its folder, so that the name outlives a power cut.
        6. Write the receipt, durably, and with it the event. Now it may be sent, and asked for again.
        7. Remove the part and its manifest. The bytes stay, under the final name.

        Raises Failure `name_taken` or `not_permitted`, NotSynced where step 1 fails, another OSError where a later
        one does; then nothing is visible, but where a file was replaced already, or the name could not be taken
        back: `withdraw` is for that.
        """
        try:
            self.attributes().set(fd, manifest.promise)
            self._disk.fsync(fd)
        except OSError as error:
            raise NotSynced(error.errno, error.strerror) from error
        found, name = self._disk.fstat(fd), manifest.promise.place
        if found.st_size >= _CHECKPOINT_MIN:
            checkpoint = Checkpoint(found.st_size, digest)
            complete = Manifest(manifest.promise, checkpoint.size, self.staging.now(), checkpoint, found.st_mtime_ns)
            self.staging.save(key, complete)
        with self.folders(sync=True) as folders:
            given = self.link_name(key, fd, folders.of(name), name)
            try:
                folders.sync()
                return self.conclude(key, Receipt(given, found.st_size, digest), manifest.promise)
            except OSError:
                with suppress(OSError):
                    self.take_back(key, given, found)
                raise

    def conclude(self, key: str, receipt: Receipt, promise: Promise) -> Receipt:
        """The last two steps, of a file whose name is durable."""
        self.receipts.add(key)
        self.staging.save_receipt(key, Stored(receipt, promise, time.time()))
        self.events.add(key)
        with suppress(OSError):  # the promise is kept already; start-up and the sweep remove what is left
            self.staging.remove(key)
        return receipt

    # -- what a failed publication leaves

    def take_back(self, key: str, name: str, part: os.stat_result) -> bool:
        """Unlink a name that may not outlive a power cut; whether the part has it no more. Raises OSError.

        The event and the receipt go before it, durably: there must be none without a file. A name under which another
        file stands now stays; so does one that has replaced a file.
        """
        receipt, place = self.staging.receipt(key), self.staging.directory / name
        self._disk.unlink(self.staging.event(key))
        if self._disk.exists(receipt):
            self._disk.unlink(receipt)
            self._disk.sync_folder(self.staging.folder)
        with suppress(FileNotFoundError, NotADirectoryError):
            if os.path.samestat(self._disk.lstat(place), part):
                if self._policy == "replace":
                    return False
                self._disk.unlink(place)
        return True

    def withdraw(self, key: str, name: str) -> None:
        """Take back what an earlier publication of this part has left, where it could not do so itself. Raises OSError.

        No receipt was given; more bytes may be written to the part, or it may be published again.
        """
        with suppress(FileNotFoundError):
            part = self._disk.lstat(self.staging.part(key))
            if part.st_nlink > 1 and stat.S_ISREG(part.st_mode):
                self.take_back(key, self.published_as(name, part) or name, part)

    def discard(self, key: str, name: str) -> None:
        """Remove what a failed publication has left of an upload, its name too, durably. Raises OSError."""
        self.withdraw(key, name)
        self.staging.discard(key)

    def published_as(self, name: str, part: os.stat_result) -> str | None:
        """Under which name an interrupted publication has left the file; by its inode, never by its looks."""
        path, slash, last = name.rpartition("/")
        with suppress(FileNotFoundError, NotADirectoryError):
            for entry in self._disk.entries(self.staging.directory / path):
                if entry.inode() == part.st_ino and _is_alternative(entry.name, last):
                    return path + slash + entry.name
        return None

    # -- names

    def taken(self, name: str) -> bool:
        """Whether `name` could not be published as things stand: the policy, or a folder where a file is needed.

        Raises Failure `not_permitted` where the service may not write in its folder.
        """
        folder = place = self.staging.directory
        *folders, last = name.split("/")
        for each in folders:
            place = place / each
            with suppress(FileNotFoundError):
                if not stat.S_ISDIR(self._disk.lstat(place).st_mode):
                    return True
                folder = place
        if not self._disk.writable(folder):
            self._disk.lstat(folder)  # one that is gone is another matter: OSError
            raise not_permitted(name)
        try:
            found = self._disk.lstat(place / last)
        except FileNotFoundError:
            return False
        return self._policy == "reject" or stat.S_ISDIR(found.st_mode)

    def link_name(self, key: str, fd: int, folder: int, name: str) -> str:
        """Link the part into the folder of its name: under it, or under the name it gets instead, which is returned.

        Nothing is synced. Raises Failure `name_taken` or `not_permitted`, or OSError.
        """
        path, slash, last = name.rpartition("/")
        with permitted(name):
            if self._policy == "replace":
                self._replace(key, fd, folder, last)
                return name
            try:
                self._disk.link(fd, last, folder)
            except FileExistsError:
                if self._policy == "reject" or self._is_folder(folder, last):
                    raise Failure(NAME_TAKEN, "The name is taken.") from None
                return path + slash + self._link_next(fd, folder, last)
            return name

    def _is_folder(self, folder: int, last: str) -> bool:
        try:
            return stat.S_ISDIR(self._disk.lstat(last, folder=folder).st_mode)
        except FileNotFoundError:
            return False

    def _link_next(self, fd: int, folder: int, last: str) -> str:
        """Link under the next number that is free. The link decides, so that a race costs one more search."""
        taken = 0
        while True:
            taken = self._last_taken(folder, last, taken)
            candidate = alternative(last, taken + 1)
            with suppress(FileExistsError):
                self._disk.link(fd, candidate, folder)
                return candidate
            taken += 1

    def _last_taken(self, folder: int, last: str, taken: int) -> int:
        """A number from `taken` on behind which one is free, by doubling and halving: names are taken in order."""

        def is_taken(number: int) -> bool:
            return self._disk.exists(alternative(last, number), folder=folder)

        step = 1
        while is_taken(taken + step):
            taken, step = taken + step, step * 2
        free = taken + step
        while free - taken > 1:
            middle = (taken + free) // 2
            taken, free = (middle, free) if is_taken(middle) else (taken, middle)
        return taken

    def _replace(self, key: str, fd: int, folder: int, name: str) -> None:
        link = self.staging.link(key)
        self._disk.unlink(link)
        with self._disk.opened(link.parent, FOLDER) as staging:
            self._disk.link(fd, link.name, staging)
        try:
            self._disk.replace(link, name, folder=folder)
        except OSError as error:
            with suppress(OSError):
                self._disk.unlink(link)
            if isinstance(error, IsADirectoryError):
                raise Failure(NAME_TAKEN, "The name is a folder's.") from None
            raise


def _is_alternative(found: str, last: str) -> bool:
    """Whether `found` is `last` or what it is called where that is taken."""
    numbers = (int(digits) for digits in found.split(".") if re.fullmatch(r"[1-9]\d{0,17}", digits, re.ASCII))
    return found == last or any(found == alternative(last, number) for number in numbers)
