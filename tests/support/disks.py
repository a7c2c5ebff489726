"""Disks whose power can be cut: an image on a loop device, copied while it is mounted, and the copy mounted again.

What the kernel had not written when the copy was made is missing in the copy, as it would be after a power cut.
Nothing is written behind our back meanwhile: the journal is committed for those who ask for it only.
"""

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_MIB: Final = 2**20
_MAKE: Final = {
    "ext4": (96 * _MIB, ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"], "loop,commit=900"),
    "xfs": (320 * _MIB, ["mkfs.xfs", "-q", "-f"], "loop,nouuid"),
}
"""Bytes of the image (it is sparse), the command that makes a file system in it, and how it is mounted."""


class Disk:
    """A mounted file system of its own, at `place`, for the length of the block."""

    def __init__(self, folder: Path, system: str, image: Path | None = None) -> None:
        """A new one in this folder; or the one that an image has."""
        self.system = system
        self.place = folder / "disk"
        self._folder = folder
        self._given = image
        self._image = image or folder / "disk.img"
        self._cuts = 0

    def __enter__(self) -> Self:
        size, make, options = _MAKE[self.system]
        self.place.mkdir(parents=True)
        if self._given is None:
            with self._image.open("wb") as image:
                image.truncate(size)
            _run(*make, self._image)
        _run("mount", "-t", self.system, "-o", options, self._image, self.place)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        _run("umount", self.place)
        self._image.unlink()

    def cut(self) -> "Disk":
        """The disk as it would be found if the power were cut now; not mounted yet. Nobody may be writing."""
        self._cuts += 1
        folder = self._folder / f"cut-{self._cuts}"
        folder.mkdir()
        _run("cp", "--sparse=always", self._image, folder / "disk.img")
        return Disk(folder, self.system, folder / "disk.img")

    def commit(self) -> None:
        """Have the journal written, as the kernel may at any moment: all names, and nobody's bytes."""
        descriptor = os.open(self.place / "stranger", os.O_WRONLY | os.O_CREAT)
        try:
            os.write(descriptor, b"!")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _run(*words: str | Path) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"


@functools.cache
def unavailable(system: str) -> str:
    """Why there can be no such disk here; empty where there can."""
    command = _MAKE[system][1][0]
    if shutil.which(command) is None:
        return f"{command} is not installed"
    try:
        with tempfile.TemporaryDirectory() as folder, Disk(Path(folder), system):
            return ""
    except AssertionError as error:
        return f"no {system} can be mounted on a loop device here: {error}"
