"""Handlers for tests of the configuration, and things that are none."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from jackfield.app.handler import Connection, Directory, Duration, Handler, HandlerOptions, Size


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


class Between(Plain):
    """A handler with two options that must agree."""

    class Options(HandlerOptions):
        """What there is to set."""

        least: Size = 0
        most: Size = 1024

        @model_validator(mode="after")
        def check(self) -> Self:
            """No size lies between bounds that are the wrong way round."""
            if self.least > self.most:
                raise ValueError("least is more than most")
            return self


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
