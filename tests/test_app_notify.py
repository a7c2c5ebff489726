"""What the service says to systemd."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from jackfield.app.notify import Notifier


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd has it, and its path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(5)
        listening.bind(str(tmp_path / "n"))
        yield listening, str(tmp_path / "n")


async def test_it_says_that_it_is_ready_lives_and_stops(systemd: tuple[socket.socket, str]) -> None:
    """One datagram each, as sd_notify(3) has them."""
    listening, path = systemd
    notifier = Notifier({"NOTIFY_SOCKET": path})
    await notifier.ready()
    await notifier.alive()
    await notifier.stopping()
    assert [listening.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


async def test_an_abstract_socket_is_found() -> None:
    """Its name begins with @ in the variable, and with a NUL for the kernel."""
    name = f"jackfield-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(5)
        listening.bind(f"\0{name}")
        await Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert listening.recv(100) == b"READY=1"


async def test_without_systemd_it_says_nothing() -> None:
    """No variable, no socket, no error."""
    notifier = Notifier({"WATCHDOG_USEC": "1000000"})
    await notifier.ready()
    assert notifier.watchdog is None


@pytest.mark.parametrize(
    ("limit", "process", "seconds"),
    [
        ("20000000", None, 10.0),
        ("20000000", 0, 10.0),
        ("20000000", 1, None),
        ("0", None, None),
        ("x", None, None),
    ],
)
def test_the_watchdog_is_told_twice_in_its_time(limit: str, process: int | None, seconds: float | None) -> None:
    """Half the limit; nothing where it is meant for another process (0 stands for this one)."""
    environ = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": limit}
    if process is not None:
        environ["WATCHDOG_PID"] = str(process or os.getpid())
    assert Notifier(environ).watchdog == seconds
