"""What the service counts: `/metrics`, read as Prometheus reads it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jackfield.app.service import DISPATCHER
from jackfield.testing import JackfieldServer, RunningService
from tests.support.handlers import raw, sections
from tests.support.outsider import UploadSocket, content, eventually
from tests.support.rawsocket import Opcode, RawSocket, Refusal, close_payload, frame

UPLOAD = {"use": "upload", "directory": "uploads", "min_free": 0}


class Figures(dict[tuple[str, tuple[str, ...]], float]):
    """Samples by their name and the values of their labels, in the order of these; what is not there is 0."""

    def __missing__(self, key: tuple[str, tuple[str, ...]]) -> float:
        return 0.0


async def figures(service: RunningService) -> Figures:
    """All of them, now."""
    async with service.session.get(f"{service.url}/metrics") as answer:
        assert answer.status == 200
        families = text_string_to_metric_families(await answer.text())
        samples = [sample for family in families for sample in family.samples]
    return Figures(
        {(sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value for sample in samples}
    )


async def reached(service: RunningService, name: str, *labels: str, value: float) -> Figures:
    """All figures, once this one has this value."""

    async def there() -> Figures | None:
        found = await figures(service)
        return found if found[name, labels] == value else None

    found = await eventually(there)
    assert found is not None
    return found


async def test_sockets_are_counted_while_they_are_open(jackfield_server: JackfieldServer) -> None:
    """By handler: up by one for each that is open, and down again however it ended."""
    service = await jackfield_server(sections("echo", "bulk"))
    async with raw(service, "/echo") as first, raw(service, "/echo") as second, raw(service, "/bulk"):
        found = await reached(service, "jackfield_connections", "echo", value=2)
        assert found["jackfield_connections", ("bulk",)] == 1
        first.drop()
        await second.close()
        await reached(service, "jackfield_connections", "echo", value=0)
    await reached(service, "jackfield_connections", "bulk", value=0)


async def test_closes_are_counted_by_code(jackfield_server: JackfieldServer) -> None:
    """By code and handler: ours, the client's own, 1005 for none, 1006 for a lost link; with how long they lived."""
    service = await jackfield_server(sections("bulk", "failing"))
    codes = {
        "1000": frame(Opcode.CLOSE, close_payload(1000)), "4321": frame(Opcode.CLOSE, close_payload(4321)),
        "1005": frame(Opcode.CLOSE), "1002": frame(Opcode.TEXT, masked=False), "1006": None,
    }  # fmt: skip
    for ending in codes.values():
        async with raw(service, "/bulk") as opened:
            if ending is None:
                opened.drop()
            else:
                opened.write(ending)
            await opened.ended()
    async with raw(service, "/failing/timed_out") as opened:
        await opened.closed()
    await reached(service, "jackfield_closes_total", "4408", "failing", value=1)
    found = await reached(service, "jackfield_connection_seconds_count", "bulk", value=len(codes))
    assert {code: found["jackfield_closes_total", (code, "bulk")] for code in codes} == dict.fromkeys(codes, 1)


@pytest.mark.parametrize("path", ["echo", "bulk"])
async def test_bytes_of_messages_are_counted_both_ways(jackfield_server: JackfieldServer, path: str) -> None:
    """Payload of text and binary, without headers and control frames, whichever way the handler takes it."""
    service = await jackfield_server(sections("echo", "bulk"))
    async with raw(service, f"/{path}") as opened:
        await opened.binary(bytes(100_000))
        await opened.send(frame(Opcode.PING, b"ping"))
        await opened.text("text")
        sent = 0
        while not isinstance(answer := await opened.next(), str):
            assert isinstance(answer, bytes)
            sent += len(answer)
        sent += len(answer)
        await opened.close()
        await opened.ended()
    found = await reached(service, "jackfield_received_bytes_total", path, value=100_004)
    assert found["jackfield_sent_bytes_total", (path,)] == sent


async def test_refusals_are_counted_by_word(jackfield_server: JackfieldServer) -> None:
    """An upgrade that was not admitted, and why."""
    service = await jackfield_server(sections("refusing"), max_connections=1)
    for word in ("too_large", "not_found", "not_found"):
        with pytest.raises(Refusal):
            async with raw(service, f"/refusing/{word}"):
                pass
    found = await figures(service)
    assert found["jackfield_refusals_total", ("too_large", "refusing")] == 1
    assert found["jackfield_refusals_total", ("not_found", "refusing")] == 2


async def test_answers_are_counted_by_status(jackfield_server: JackfieldServer) -> None:
    """Of each handler, and of the service itself."""
    service = await jackfield_server({"upload": {**UPLOAD, "path": "/upload"}})
    for path in ("/", "/nowhere", "/upload", "/upload/unknown"):
        async with service.session.get(service.url + path):
            pass
    found = await figures(service)
    name = "jackfield_answers_total"
    assert [found[name, labels] for labels in (("", "200"), ("", "404"), ("upload", "426"), ("upload", "404"))] == [
        1
    ] * 4


async def test_bytes_are_counted_while_they_come(jackfield_server: JackfieldServer) -> None:
    """A long upload is seen before its socket ends."""
    service = await jackfield_server({"upload": {**UPLOAD, "path": "/upload"}})
    async with uploading(service) as opened:
        await opened.binary(bytes(500_000))
        await reached(service, "jackfield_received_bytes_total", "upload", value=500_000)


@asynccontextmanager
async def uploading(service: RunningService, **promise: Any) -> AsyncIterator[UploadSocket]:
    """A socket on a new upload, its `ready` read."""
    async with service.session.post(f"{service.url}/upload", json={"name": "a", **promise}) as answer:
        url = (await answer.json())["url"]
    opened = await UploadSocket.connect(service.port)
    try:
        await opened.upgrade(url)
        opened.ready = await opened.message("ready")
        yield opened
    finally:
        await opened.dispose()


async def test_uploads_are_counted_by_what_became_of_them(jackfield_server: JackfieldServer) -> None:
    """Created, stored, cancelled, and each failure by its word; and how many are open."""
    service = await jackfield_server({"upload": {**UPLOAD, "path": "/upload"}})
    results, data = "jackfield_upload_results_total", content(1000)
    async with uploading(service) as stored, uploading(service, size=5) as failing:
        found = await figures(service)
        assert found["jackfield_upload_open", ("upload",)] == found[results, ("upload", "created")] == 2
        await stored.binary(data)
        await stored.finish(data)
        await failing.end()
        await failing.failed("incomplete", 4400)
    async with service.session.post(f"{service.url}/upload", json={"name": "b"}) as answer:
        url = (await answer.json())["url"]
    await service.session.delete(service.url + url)
    found = await reached(service, results, "upload", "stored", value=1)
    assert {word: found[results, ("upload", word)] for word in ("created", "incomplete", "cancelled")} == {
        "created": 3, "incomplete": 1, "cancelled": 1,
    }  # fmt: skip
    assert found["jackfield_upload_open", ("upload",)] == 1
    assert found["jackfield_upload_fsync_seconds_count", ("upload",)] >= 1
    assert found["jackfield_upload_fsync_seconds_sum", ("upload",)] > 0


async def test_memory_for_received_bytes_is_told(jackfield_server: JackfieldServer) -> None:
    """What is out of `memory` while bytes wait for the disk, and nothing when none do."""
    service = await jackfield_server({"upload": {**UPLOAD, "path": "/upload"}})
    async with uploading(service) as opened:
        assert (await figures(service))["jackfield_upload_buffer_bytes", ("upload",)] == 0
        await opened.binary(bytes(500_000))
        await opened.acked(500_000)
        await reached(service, "jackfield_upload_buffer_bytes", "upload", value=0)


async def test_services_and_handlers_do_not_share_their_figures(jackfield_server: JackfieldServer) -> None:
    """Two services in one process, and one class used twice in one of them: each counts its own."""
    both = {name: {**UPLOAD, "path": f"/{name}", "directory": name} for name in ("first", "second")}
    service = await jackfield_server({**both, **sections("echo")})
    other = await jackfield_server(sections("echo"))
    async with service.session.post(f"{service.url}/first", json={"name": "a"}) as answer:
        assert answer.status == 201
    async with raw(service, "/echo"):
        found = await reached(service, "jackfield_connections", "echo", value=1)
    assert [found["jackfield_upload_open", (name,)] for name in both] == [1, 0]
    assert (await figures(other))["jackfield_connections", ("echo",)] == 0


async def test_figures_are_told_while_the_service_drains(jackfield_server: JackfieldServer) -> None:
    """Plain HTTP is answered to the end, and sockets that are refused meanwhile are counted."""
    service = await jackfield_server(sections("echo", "busy"))
    opened = await RawSocket.connect(service.port)
    await opened.upgrade("/busy")
    draining = asyncio.create_task(service.app[DISPATCHER].drain(2))
    await asyncio.sleep(0)
    with pytest.raises(Refusal):
        async with raw(service, "/echo"):
            pass
    assert (await figures(service))["jackfield_refusals_total", ("draining", "echo")] == 1
    await opened.dispose()
    await draining
