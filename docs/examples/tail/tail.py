import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from jackfield import Connection, Duration, FilePath, Handler, HandlerOptions, Topic, periodically


class Options(HandlerOptions):
    file: FilePath = Path("service.log")
    lines: int = 20  # that somebody who comes sees first
    every: Duration = 0.2  # seconds between two looks at the file


class Tail(Handler[Options]):
    """The last lines of a file, and each new one."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.listeners = Topic(self.name, limit=64 * 1024, full="drop_oldest")  # of a log the newest lines count
        self.last: deque[str] = deque(maxlen=self.options.lines)
        self.position = 0  # in the file, in bytes

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        await self.follow()  # what is there already
        following = asyncio.create_task(periodically(f"{self.name}.follow", self.options.every, self.follow))
        try:
            yield
        finally:
            following.cancel()
            await asyncio.wait([following])

    async def follow(self) -> None:
        for line in await asyncio.to_thread(self.read):
            self.last.append(line)
            await self.listeners.publish(line)

    def read(self) -> list[str]:
        """The whole lines that are new."""
        try:
            with self.options.file.open("rb") as file:
                if file.seek(0, 2) < self.position:
                    self.position = 0  # another file has taken its place
                file.seek(self.position)
                new = file.read(1024 * 1024)
        except FileNotFoundError:
            return []
        whole = new[: new.rfind(b"\n") + 1]
        self.position += len(whole)
        return whole.decode(errors="replace").splitlines()

    async def serve(self, connection: Connection) -> None:
        async with self.listeners.join(connection) as listener:
            for line in self.last:
                listener.put_nowait(line)
            async for _ in connection:
                pass  # nothing that a client says matters here; this ends when it leaves
