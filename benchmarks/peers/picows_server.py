"""picows: frames are written in its callback, on the loop. No hash, no fsync."""

import asyncio
import os
import sys
from pathlib import Path

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

FOLDER, PORT = Path(sys.argv[1]), int(sys.argv[2])


class Upload(WSListener):
    """Append every frame to a file."""

    def __init__(self, name: str) -> None:
        self._fd = os.open(FOLDER / name, os.O_WRONLY | os.O_CREAT, 0o644)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Write the payload where it lies."""
        if frame.msg_type == WSMsgType.CLOSE:
            os.close(self._fd)
            transport.send_close(frame.get_close_code(), b"")
            transport.disconnect()
        else:
            os.write(self._fd, frame.get_payload_as_memoryview())


def listener(request: WSUpgradeRequest) -> WSListener:
    """One for each socket, named by its path."""
    return Upload(Path(request.path.decode("ascii")).name)


async def main() -> None:
    """Serve until the process is ended."""
    server = await ws_create_server(listener, "127.0.0.1", PORT)
    await server.serve_forever()


asyncio.run(main())
