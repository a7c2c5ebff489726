"""When the time of an upload runs out: counted from its last byte, or from its beginning anew, through restarts too."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.inprocess import Clock, InProcess
from tests.support.outsider import UploadSocket, content, eventually
from tests.support.rawsocket import Refusal

DAY = 86400.0


class Client:
    """One client of a service with a clock that a test puts forward."""

    def __init__(self, service: InProcess, clock: Clock) -> None:
        self.service = service
        self.clock = clock

    async def create(self) -> str:
        """A new upload; its path."""
        opened = await self.connect("/upload")
        await opened.json(type="create", name="a")
        token = (await opened.message("ready"))["token"]
        await self.leave(opened)
        return f"/upload/{token}"

    async def connect(self, path: str) -> UploadSocket:
        """A socket on this path."""
        opened = await UploadSocket.connect(self.service.port)
        try:
            return await opened.upgrade(path)
        except Refusal:
            await opened.dispose()
            raise

    async def leave(self, opened: UploadSocket) -> None:
        """Politely, and once the service has let go of the upload."""
        await opened.close(1000)
        await opened.ended()
        await opened.dispose()
        uploads = self.service.handler.uploads

        async def detach() -> bool:
            return all(each.session is None and not each.lock.locked() for each in uploads._open.values())

        await eventually(detach)

    async def is_there(self, path: str) -> bool:
        """Whether a socket is admitted to it."""
        try:
            opened = await self.connect(path)
        except Refusal:
            return False
        await opened.message("ready")
        await self.leave(opened)
        return True

    async def restart(self, *, kill: bool) -> None:
        """Another life of the service."""
        await (self.service.kill() if kill else self.service.stop())
        await self.service.start()


@pytest.fixture
async def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A service in which uploads have a day, though they never have a byte."""
    clock = Clock(monkeypatch)
    service = InProcess(tmp_path, monkeypatch, expires=DAY, unused=DAY)
    await service.start()
    yield Client(service, clock)
    await service.stop()


@pytest.mark.parametrize("kill", [True, False, None])
async def test_the_time_of_an_upload_is_counted_from_its_last_byte(client: Client, kill: bool | None) -> None:
    """Coming back without bytes does not prolong it, bytes do, and no restart of the service changes either."""
    quiet, busy = await client.create(), await client.create()
    client.clock.ahead += 0.75 * DAY
    assert await client.is_there(quiet)
    opened = await client.connect(busy)
    await opened.message("ready")
    await opened.binary(content(10))
    await opened.durable(10)
    await client.leave(opened)
    client.clock.ahead += 0.5 * DAY
    if kill is not None:
        await client.restart(kill=kill)
    assert (await client.is_there(quiet), await client.is_there(busy)) == (False, True)
    client.clock.ahead += 0.75 * DAY
    assert not await client.is_there(busy)


@pytest.mark.parametrize("kill", [True, False, None])
@pytest.mark.parametrize("how", ["restart", "mismatch"])
async def test_what_is_begun_anew_has_its_time_anew(client: Client, how: str, kill: bool | None) -> None:
    """After `restart`, and after a digest that differed, an upload has all of its time, however old it was; the
    same whether the service is restarted or not."""
    url = await client.create()
    opened = await client.connect(url)
    await opened.message("ready")
    client.clock.ahead += 2 * DAY  # it does not expire with a socket on it
    if how == "restart":
        await opened.json(type="restart")
        await opened.message("ready")
    else:
        await opened.end(sha256="0" * 64)
        await opened.failed("digest_mismatch", 4422)
    await client.leave(opened)
    if kill is not None:
        await client.restart(kill=kill)
    assert await client.is_there(url)
    client.clock.ahead += 1.5 * DAY
    assert not await client.is_there(url)
