"""The contract across crashes: kill -9 at any moment loses nothing that was called durable or stored."""

import asyncio
import contextlib
from pathlib import Path

from tests.support.outsider import Outsider, UploadSocket, content, digest
from tests.support.rawsocket import Opcode, fragments, frame
from tests.support.service import Service, running_service

MIB = 2**20
OFTEN = {"sync_every": "256KiB"}


async def test_uploads_under_way_survive_one_kill_after_another(tmp_path: Path) -> None:
    """Four uploads at once, the service killed in their midst twice: each resumes not below its last `durable`."""
    bodies = [content(4 * MIB + number) for number in range(4)]
    with running_service(tmp_path, upload=OFTEN) as service:
        async with Outsider(service) as outsider:
            urls = [await outsider.create(f"{len(body)}.bin", sha256=digest(body)) for body in bodies]
            durable = [0] * len(bodies)
            for goal in (MIB, 3 * MIB):
                opened = await _resume(outsider, urls, bodies, durable)
                for number, one in enumerate(opened):
                    sent = bodies[number][one.ready["offset"] : goal + 100_000]
                    await one.send(frame(Opcode.BINARY, sent, fin=False))
                    durable[number] = (await one.durable(goal))["durable"]
                service.kill()
                service.start()
            for one, body in zip(await _resume(outsider, urls, bodies, durable), bodies, strict=True):
                await one.binary(body[one.ready["offset"] :])
                assert outsider.stored(await one.finish(body)) == body
            assert outsider.published() == sorted(f"{len(body)}.bin" for body in bodies)


async def _resume(outsider: Outsider, urls: list[str], bodies: list[bytes], durable: list[int]) -> list[UploadSocket]:
    """A socket on each upload, whose `ready` keeps what was promised."""
    opened = [await outsider.open(url) for url in urls]
    for one, body, promised in zip(opened, bodies, durable, strict=True):
        assert one.ready["offset"] >= promised
        assert one.ready["sha256"] in (None, digest(body[: one.ready["offset"]]))
    return opened


async def test_a_kill_around_the_end_leaves_a_file_whole_or_absent(tmp_path: Path) -> None:
    """Killed as soon as `end` was read, again and again: the name has the whole file or nothing, and one receipt."""
    with running_service(tmp_path, upload=OFTEN) as service:
        async with Outsider(service) as outsider:
            for round_ in range(3):
                body = content(300_000 + round_)
                url = await outsider.create(f"{round_}.bin")
                opened = await outsider.open(url)
                await opened.send(b"".join(fragments(Opcode.BINARY, [body[:1000], body[1000:]])))
                await opened.end()
                await opened.delivered()
                await asyncio.sleep(0.002 * round_)  # a little later each time: sync, publish, manifest
                service.kill()
                _whole_or_absent(service, f"{round_}.bin", body)
                service.start()
                again = await outsider.unread(url)
                if (first := await again.said())["type"] == "ready":
                    await again.binary(body[first["offset"] :])
                    await again.finish(body)
                _whole_or_absent(service, f"{round_}.bin", body)
                assert (await outsider.ask(url))["name"] == f"{round_}.bin"
            assert outsider.published() == [f"{round_}.bin" for round_ in range(3)]


def _whole_or_absent(service: Service, name: str, body: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        assert (service.directory() / name).read_bytes() == body
