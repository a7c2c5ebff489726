"""python `websockets`: messages written as they come. No hash, no fsync."""

import asyncio
import sys
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve

FOLDER, PORT = Path(sys.argv[1]), int(sys.argv[2])


async def upload(connection: ServerConnection) -> None:
    """Append every message to a file."""
    assert connection.request is not None
    with (FOLDER / Path(connection.request.path).name).open("wb", buffering=0) as file:
        async for message in connection:
            assert isinstance(message, bytes)
            file.write(message)


async def main() -> None:
    """Serve until the process is ended."""
    async with serve(upload, "127.0.0.1", PORT, compression=None, max_size=None) as server:
        await server.serve_forever()


asyncio.run(main())
