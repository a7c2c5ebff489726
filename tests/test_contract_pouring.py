"""A folder that one client pours into `/upload` is nobody else's trouble."""

import asyncio
from pathlib import Path

from tests.support.manyfiles import file
from tests.support.outsider import Outsider, fresh_name
from tests.support.service import running_service

FILES = 4000


async def test_a_folder_makes_nobody_else_s_creation_fail(tmp_path: Path) -> None:
    """While 4,000 small files are poured in as fast as they are read, with `max_open: 500`, every other creation is
    admitted: what is ended and being stored does not count."""
    with running_service(tmp_path, upload={"max_open": 500}) as service:
        async with Outsider(service) as outsider, Outsider(service) as other:
            pouring = await outsider.unread("/upload")
            data = b"".join(file(f"folder/{number}", b"x" * 100) for number in range(FILES))

            async def receipts() -> int:
                count = 0
                while count < FILES:
                    count += (await pouring.said(60))["type"] == "stored"
                return count

            reading = asyncio.create_task(receipts())
            writing = asyncio.create_task(pouring.send(data))
            admitted = 0
            while not reading.done():
                answer = await other.post_json({"name": fresh_name()})
                assert answer.status == 201, answer
                assert (await other.http("DELETE", answer.headers["Location"])).status == 204
                admitted += 1
            await writing
            assert await reading == FILES
            assert admitted > 5
            assert len(list((service.directory() / "folder").iterdir())) == FILES
