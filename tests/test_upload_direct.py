"""Writing past the cache of the system: bulk goes to the disk from where it lies, every byte to its place."""

import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jackfield.handlers.upload.store.disk import Disk
from jackfield.handlers.upload.store.failstop import FailStop
from jackfield.handlers.upload.store.file import Damaged, DigestState, HashingFile
from tests.support.outsider import Outsider, content

PAGE = mmap.PAGESIZE
MIB = 1024 * 1024
MEMORY = memoryview(mmap.mmap(-1, 2 * MIB))  # begins with a page, as a slab does
MEMORY[:] = os.urandom(len(MEMORY))


def resident(path: Path) -> int:
    """How many pages of a file the system has in its cache (mincore(2))."""
    size = path.stat().st_size
    with path.open("r+b") as file, mmap.mmap(file.fileno(), size) as mapped:
        pages = (ctypes.c_ubyte * -(-size // PAGE))()
        address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), pages) == 0
        return sum(page & 1 for page in pages)


def takes_direct(folder: Path) -> bool:
    """Whether the file system of a folder lets one write past the cache, and keeps nothing in it then."""
    path = folder / "probe"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
    except OSError:
        return False
    try:
        os.pwritev(fd, [MEMORY[:PAGE]], 0)
    except OSError:
        return False
    finally:
        os.close(fd)
    return resident(path) == 0


@pytest.mark.parametrize("start", [0, 1000], ids=["whole", "resumed"])
async def test_bulk_leaves_the_cache_to_others(outsider: Outsider, start: int) -> None:
    """Of a file that arrives fast next to nothing is in the system's cache, also where it is gone on with at an
    offset that is no multiple of anything."""
    if not takes_direct(outsider.directory()):
        pytest.skip("this file system does not write past its cache")
    data = content(16 * MIB + 123)
    url = await outsider.create()
    if start:
        begun = await outsider.open(url)
        await begun.binary(data[:start])
        await begun.durable(start)
    sending = await outsider.open(url)
    await sending.binary(data[start:])
    receipt = await sending.finish(data)
    cached = resident(outsider.directory() / receipt["name"])
    assert outsider.stored(receipt) == data
    assert cached < 16 * MIB // PAGE // 4


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(
        st.tuples(st.sampled_from([0, 1, 1000, PAGE, PAGE + 1]), st.integers(0, 300_000) | st.just(MIB)), max_size=5
    )
)
def test_every_byte_is_where_it_belongs(cuts: list[tuple[int, int]], tmp_path: Path) -> None:
    """Whatever is written, of any length and wherever it lies in memory: file and digest are those of all bytes."""
    path, written = tmp_path / "part", bytearray()
    path.write_bytes(b"")
    with HashingFile(Disk(), path, 0, DigestState(), FailStop()) as file:
        for place, length in cuts:
            views = [MEMORY[place : place + length], MEMORY[place + 7 : place + 7 + length // 3]]
            digest = file.digest(views, len(written))
            file.writelines(views)
            written += b"".join(views)
            assert digest.digest() == hashlib.sha256(written).digest()
        assert file.verify() == hashlib.sha256(written).hexdigest()
    assert path.read_bytes() == written


class Meanwhile(list[memoryview]):
    """Views, and what another thread does while they are being digested."""

    def __init__(self, views: list[memoryview], act: Callable[[], None]) -> None:
        super().__init__(views)
        self.act = act

    def __iter__(self) -> Iterator[memoryview]:
        yield from super().__iter__()
        self.act()


def test_a_doubt_outlives_the_digest_beside_it(tmp_path: Path) -> None:
    """Found changed by the writer's thread while the digester's is at it, the file is read again, and not believed."""
    path = tmp_path / "part"
    path.write_bytes(b"")
    with HashingFile(Disk(), path, 0, DigestState(), FailStop()) as file:
        first, second = [MEMORY[:MIB]], [MEMORY[MIB:]]
        file.digest(first, 0)
        file.writelines(first)
        with path.open("r+b") as stranger:
            stranger.write(b"changed")
        os.utime(path, ns=(0, 0))  # whatever the grain of the system's clock
        assert file.digest(Meanwhile(second, lambda: file.writelines(second)), MIB) is None
        with pytest.raises(Damaged):
            file.verify()


def test_a_file_system_without_it_stores_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system refuses to write past its cache (EINVAL), it is asked once, and the bytes go through it."""
    asked = []

    def refuse(fd: int, command: int, argument: int = 0) -> Any:
        if command == fcntl.F_SETFL and argument & os.O_DIRECT:
            asked.append(fd)
            raise OSError(errno.EINVAL, "injected")
        return fcntl_(fd, command, argument)

    fcntl_ = fcntl.fcntl
    monkeypatch.setattr(fcntl, "fcntl", refuse)
    path = tmp_path / "part"
    path.write_bytes(b"")
    with HashingFile(Disk(), path, 0, DigestState(), FailStop()) as file:
        for _ in range(3):
            file.writelines([MEMORY[:MIB]])
        assert file.verify() == hashlib.sha256(bytes(MEMORY[:MIB]) * 3).hexdigest()
    assert len(asked) == 1
