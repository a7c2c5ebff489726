"""Handlers for tests of the configuration, and things that are none."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from app.handler import Connection, Directory, Duration, Handler, HandlerOptions, Size


class Plain(Handler):
    """A handler without options."""

    async def serve(self, connection: Connection) -> None:
        """Do nothing."""


class Echo(Plain):
    """A handler with options of every kind, each with a default."""

    class Options(HandlerOptions):
        """What there is to set."""

        prefix: str = ""
        loud: bool = False
        times: int = Field(1, ge=1)
        delay: Duration = Field(0.5, gt=0)
        limit: Size | None = None
        window: Size = Field(8 * 2**20, gt=0)
        directory: Directory = Path("var/echo")
        manner: Literal["kind", "rude"] = "kind"
        greetings: dict[str, str] = Field(default_factory=dict)


class Demanding(Plain):
    """A handler with an option that must be given."""

    class Options(HandlerOptions):
        """What there is to set."""

        secret: str


class Silent(Handler):
    """A handler that forgot `serve`."""


class Lax(Plain):
    """A handler whose options are not strict."""

    class Options(BaseModel):
        """What there is to set."""


class Greedy(Plain):
    """A handler whose options take the service's own keys."""

    class Options(HandlerOptions):
        """What there is to set."""

        path: str = ""
        use: str = ""


class Stranger:
    """No handler at all."""
