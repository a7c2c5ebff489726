"""The server pings, the client says `pong`: the example of a handler."""

import asyncio
from itertools import count
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt

from jackfield.app.handler import Close, Connection, Duration, Handler, HandlerOptions


class Options(HandlerOptions):
    """Its section of config.yaml; times in seconds."""

    interval: Duration = 1.0  # between a pong and the next ping
    rounds: Annotated[int, Ge(0)] = 10  # 0: until the client leaves
    timeout: Annotated[Duration, Gt(0)] = 10.0  # for each pong


class PingPong(Handler[Options]):
    """Pings that a client answers, as often as it is told."""

    page = Path(__file__).parent / "page"

    async def serve(self, connection: Connection) -> None:
        """Send `ping`, wait for `pong`, and again, `rounds` times."""
        options = self.options
        for number in count(1):
            await connection.send("ping")
            answer = await connection.receive(options.timeout)
            if isinstance(answer, bytes):
                raise Close(1003, "Unexpected message")
            if answer != "pong":
                raise Close(1000, "Expected 'pong'")
            if number == options.rounds:
                return
            if options.interval:
                await asyncio.sleep(options.interval)
