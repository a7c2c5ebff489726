"""A token that the client drew outlives each death: asked for again it is the same upload, there once."""

import asyncio
import contextlib
import secrets
from pathlib import Path

import pytest

from tests.support.faults import fault, needs_strace
from tests.support.outsider import Outsider, content, digest
from tests.support.service import running_service

pytestmark = pytest.mark.slow

_STEPS = "link,linkat,rename,renameat,renameat2,unlink,unlinkat,fsync,fdatasync"
LARGE = 17 * 2**20  # bytes from which on it is written down before that the file is whole


async def _end_and_die(outsider: Outsider, token: str, data: bytes, step: int) -> bool:
    """Create and send it, and kill the service at this step of its being stored; whether it died."""
    assert (await outsider.post_json({"token": token, "name": f"{token}.bin", "size": len(data)})).status == 201
    opened = await outsider.open(f"/upload/{token}")
    await opened.binary(data)
    await opened.durable(len(data))
    with fault(outsider.service, f"{_STEPS}:signal=KILL:when={step}"):
        await opened.end()
        with contextlib.suppress(AssertionError, OSError, asyncio.IncompleteReadError):
            await opened.receipt(data)
            return False
    await asyncio.to_thread(outsider.service.wait)
    return True


async def _ask_and_go_on(outsider: Outsider, token: str, data: bytes) -> str:
    """Send the creation again, and what is missing; whether it was open or stored."""
    answer = await outsider.post_json({"token": token, "name": f"{token}.bin", "size": len(data)})
    found = answer.json()
    assert answer.status == 200, found
    if found["state"] == "open":
        assert found["offset"] == len(data)
        await (await outsider.open(f"/upload/{token}")).finish(data)
    else:
        assert (found["name"], found["size"], found["sha256"]) == (f"{token}.bin", len(data), digest(data))
    return str(found["state"])


@needs_strace
@pytest.mark.parametrize(("size", "steps"), [(5, (1, 3, 5, 7)), (LARGE, (2, 5, 8))])
async def test_killed_at_any_step_of_the_end_the_file_is_there_once(
    tmp_path: Path, size: int, steps: tuple[int, ...]
) -> None:
    """Before the publishing the upload is open again with all its bytes, after it stored; asked for by its token it is
    never a second one."""
    data, tokens, states = content(size), [], []
    with running_service(tmp_path) as service:
        for step in steps:
            tokens.append(secrets.token_urlsafe(16))
            async with Outsider(service) as outsider:
                died = await _end_and_die(outsider, tokens[-1], data, step)
            if died:
                service.port = 0
                await asyncio.to_thread(service.start)
            async with Outsider(service) as outsider:
                states.append((died, await _ask_and_go_on(outsider, tokens[-1], data)))
                assert outsider.published() == sorted(f"{token}.bin" for token in tokens)
    assert any(died for died, _ in states), states
