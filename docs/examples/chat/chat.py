from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from jackfield import Connection, Handler, HandlerOptions, Topic


class Options(HandlerOptions):  # its section of config.yaml
    longest: int = 1000  # characters of a message


class Chat(Handler[Options]):
    """Who is in a room hears what is said there."""

    paths = ("/{room}",)  # below its own path: /chat/lobby, /chat/kitchen …
    page = Path(__file__).parent / "page"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.rooms: WeakValueDictionary[str, Topic] = WeakValueDictionary()  # a room is gone with the last one in it

    async def serve(self, connection: Connection) -> None:
        name, who = connection.request.match_info["room"], connection.user or connection.id
        room = self.rooms.setdefault(name, Topic(name))
        try:
            async with room.join(connection):
                await room.publish(f"{who} has come")
                async for message in connection:
                    if isinstance(message, str):
                        await room.publish(f"{who}: {message[: self.options.longest]}")
        finally:
            room.publish_nowait(f"{who} has gone")
