"""What was asked for is accounted for, whatever becomes of the socket."""

from pathlib import Path

import aiohttp

from jackfield import upload_many
from tests.support.outsider import content
from tests.support.relay import Relay
from tests.support.service import running_service


async def test_a_lost_socket_takes_no_file_with_it(tmp_path: Path) -> None:
    """Of 1,000 files over a link that is cut while they are read and sent, each has its outcome and is stored."""
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(1000):
        (folder / f"{number:04}.bin").write_bytes(content(1500))
    files = [(str(path), path.name) for path in sorted(folder.iterdir())]
    done: list[str] = []
    with running_service(tmp_path) as service:
        relay = Relay(service.port)
        async with aiohttp.ClientSession() as session:

            def note(path: str, _: object) -> None:
                done.append(path)
                if len(done) in (100, 400):
                    relay.cut()

            await upload_many(session, relay.url, iter(files), done=note)
        relay.close()
        stored = {path.name for path in service.directory().iterdir() if path.is_file()}
    assert sorted(done) == [path for path, _ in files]
    assert {name for _, name in files} <= stored
