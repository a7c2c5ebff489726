"""What one writes first: aiohttp, and `await file.write(message)`. No hash, no fsync, no limits.

It runs on asyncio's own loop; with a third argument, `uvloop`, on the one that Jackfield has.
"""

import sys
from pathlib import Path

import aiofiles
import uvloop
from aiohttp import web

FOLDER, PORT = Path(sys.argv[1]), int(sys.argv[2])
LOOP = uvloop.new_event_loop() if sys.argv[3:] == ["uvloop"] else None


async def upload(request: web.Request) -> web.WebSocketResponse:
    """Append every message to a file."""
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async with aiofiles.open(FOLDER / request.match_info["name"], "wb") as file:
        async for message in ws:
            await file.write(message.data)
    return ws


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Say everything back: the least that an aiohttp socket can do."""
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        await ws.send_str(message.data)
    return ws


app = web.Application()
app.router.add_get("/upload/{name}", upload)
app.router.add_get("/echo", echo)
web.run_app(app, host="127.0.0.1", port=PORT, print=None, access_log=None, loop=LOOP)
