"""The example handler: pings that a client answers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jackfield.handlers.pingpong.handler import PingPong

__all__ = ["PingPong"]


def __getattr__(name: str) -> Any:
    # The clients in this package must not pay for importing the service (PEP 562).
    if name == "PingPong":
        from jackfield.handlers.pingpong.handler import PingPong

        return PingPong
    raise AttributeError(name)
