from aiohttp import web

from jackfield import mount


async def home(request: web.Request) -> web.Response:
    return web.Response(text="Mine. Uploads are at /files/upload.")


app = web.Application()
app.router.add_get("/", home)
mount(app, {"handlers": {"upload": {"use": "upload", "path": "/upload", "directory": "in"}}}, prefix="/files")
