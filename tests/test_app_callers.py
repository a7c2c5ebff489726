"""Who a caller is behind proxies, and what limits take for one."""

import pytest

from jackfield.app.callers import Caller
from jackfield.app.proxies import TrustedProxies

PROXIES = TrustedProxies(["10.0.0.0/8", "fd00::/8", "192.0.2.7", "unix"])


@pytest.mark.parametrize(
    ("peer", "headers", "remote"),
    [
        ("203.0.113.5", ["198.51.100.1"], "203.0.113.5"),  # no proxy of ours: whatever it says
        ("10.1.2.3", [], "10.1.2.3"),
        ("10.1.2.3", ["198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),  # the caller wrote the left one itself
        ("10.1.2.3", ["6.6.6.6", "198.51.100.1, 10.9.9.9"], "198.51.100.1"),  # two proxies, two headers
        ("10.1.2.3", ["198.51.100.1, 192.0.2.7"], "198.51.100.1"),
        ("10.1.2.3", ["10.0.0.4, 10.0.0.5"], "10.0.0.4"),
        ("10.1.2.3", ["198.51.100.1, nonsense"], "10.1.2.3"),
        ("10.1.2.3", [""], "10.1.2.3"),
        ("10.1.2.3", ["198.51.100.1:4711"], "198.51.100.1"),
        ("fd00::1", ["[2001:db8::1]:80"], "2001:db8::1"),
        ("::ffff:10.1.2.3", ["198.51.100.1"], "198.51.100.1"),
        ("unix", ["198.51.100.1"], "198.51.100.1"),
        ("unix", [], "unix"),
    ],
)
def test_who_is_behind_the_proxies(peer: str, headers: list[str], remote: str) -> None:
    """The last address that no trusted proxy has; nothing that a caller writes moves it."""
    assert PROXIES.remote(peer, headers) == remote


@pytest.mark.parametrize(
    ("peer", "addresses", "schemes", "scheme"),
    [
        ("203.0.113.5", ["198.51.100.1"], ["https"], None),  # no proxy of ours
        ("10.1.2.3", ["198.51.100.1"], [], None),
        ("10.1.2.3", ["198.51.100.1"], ["https"], "https"),
        ("10.1.2.3", [], ["HTTPS "], "https"),
        ("10.1.2.3", ["198.51.100.1"], ["wss"], "https"),
        ("10.1.2.3", ["198.51.100.1"], ["https, http"], "http"),  # the caller wrote the left one itself
        ("10.1.2.3", ["198.51.100.1, 10.9.9.9"], ["https", "http"], "https"),  # two proxies, the outer one with TLS
        ("10.1.2.3", ["198.51.100.1, 10.9.9.9"], ["https"], "https"),
        ("10.1.2.3", ["198.51.100.1"], ["gopher"], None),
        ("10.1.2.3", ["198.51.100.1"], [""], None),
        ("unix", [], ["https"], "https"),
    ],
)
def test_what_is_spoken_to_the_proxies(peer: str, addresses: list[str], schemes: list[str], scheme: str | None) -> None:
    """What a trusted proxy says; nothing that a caller writes changes it."""
    assert PROXIES.scheme(peer, addresses, schemes) == scheme


def test_nobody_is_trusted_who_is_not_named() -> None:
    """Without the setting headers change nothing, by the Unix socket either."""
    nobody = TrustedProxies([])
    assert nobody.remote("127.0.0.1", ["198.51.100.1"]) == "127.0.0.1"
    assert nobody.remote("unix", ["198.51.100.1"]) == "unix"


def test_a_caller_is_a_user_or_an_address() -> None:
    """A /64 of IPv6 is one caller; a user is one wherever it comes from, and never an address."""
    assert (
        Caller(None, "2001:db8::1").key == Caller(None, "2001:db8::ffff:2").key != Caller(None, "2001:db8:0:1::1").key
    )
    assert Caller(None, "192.0.2.1").key != Caller(None, "192.0.2.2").key
    assert Caller("alice", "192.0.2.1").key == Caller("alice", "2001:db8::1").key
    assert Caller("192.0.2.1", "x").key != Caller(None, "192.0.2.1").key
    assert Caller(None, "::ffff:192.0.2.1").key == Caller(None, "::ffff:192.0.2.1").key
