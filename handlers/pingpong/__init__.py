"""The example handler: pings that a client answers."""

from handlers.pingpong.handler import PingPong

__all__ = ["PingPong"]
