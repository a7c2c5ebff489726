"""How much of an upload handler one caller may have: uploads, space, bytes a day, and how slowly they may come."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from jackfield.app.auth import tokens
from jackfield.app.auth.tokens import Token
from jackfield.app.handler import Caller
from jackfield.handlers.upload.handler import Upload
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.store.contract import Part
from jackfield.handlers.upload.uploads.accounts import AT_ONCE, DAY, Daily
from jackfield.handlers.upload.uploads.pace import PERIOD, Pace
from jackfield.handlers.upload.wire.messages import Promise
from jackfield.testing import JackfieldServer, RunningService
from tests.support.inprocess import Clock
from tests.support.manyfiles import answers, file
from tests.support.outsider import UploadSocket
from tests.support.service import upload

KIB = 1024
SLOW = {"X-Forwarded-For": "192.0.2.1"}
OTHER = {"X-Forwarded-For": "192.0.2.2"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of the upload handler."""
    return Clock(monkeypatch)


async def started(start: JackfieldServer, **options: Any) -> RunningService:
    """A service whose callers are told apart by what the test writes as their addresses."""
    return await start({"upload": upload(**options)}, trusted_proxies=["127.0.0.1"])


async def create(
    service: RunningService, headers: dict[str, str], **promises: Any
) -> tuple[int, dict[str, Any], aiohttp.ClientResponse]:
    """Status, JSON and the rest of the answer to a creation."""
    body = {"name": "a.bin", **promises}
    async with service.session.post(f"{service.url}/upload", json=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None), answer


@asynccontextmanager
async def sending(service: RunningService, url: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A socket on an upload, its `ready` read."""
    async with service.ws_connect(url) as socket:
        assert (await socket.receive_json(timeout=10))["type"] == "ready"
        yield socket


async def ended(socket: aiohttp.ClientWebSocketResponse) -> tuple[str, int | None]:
    """What a socket said at its end but for acks, and its close code."""
    while (said := await socket.receive_json(timeout=10))["type"] == "ack":
        pass
    assert (await socket.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE
    return said.get("code", said["type"]), socket.close_code


async def store(service: RunningService, headers: dict[str, str], size: int) -> tuple[str, int | None]:
    """Create, send and end one upload of zeros whose size was not promised; how it ended."""
    status, made, _ = await create(service, headers)
    assert status == 201
    async with sending(service, made["url"]) as socket:
        await socket.send_bytes(bytes(size))
        await socket.send_json({"type": "end"})
        return await ended(socket)


def handler(service: RunningService) -> Upload:
    """The one that runs."""
    found = service.handlers["upload"]
    assert isinstance(found, Upload)
    return found


async def test_one_caller_has_so_many_open_uploads(jackfield_server: JackfieldServer) -> None:
    """One more is 429 with `Retry-After`; another caller has its own; one that is over makes room."""
    service = await started(jackfield_server, max_open_per_user=2)
    made = [await create(service, SLOW) for _ in range(3)]
    assert [status for status, _, _ in made] == [201, 201, 429]
    assert made[2][1]["code"] == "too_many_uploads"
    assert int(made[2][2].headers["Retry-After"]) > 0
    assert (await create(service, OTHER))[0] == 201
    async with service.session.delete(service.url + made[0][1]["url"]) as answer:
        assert answer.status == 204
    assert (await create(service, SLOW))[0] == 201


async def test_nobody_has_all_that_may_be_open(jackfield_server: JackfieldServer) -> None:
    """Where nothing is set for one caller, a twentieth of `max_open` is left for others."""
    service = await started(jackfield_server, max_open=40)
    made = [await create(service, SLOW) for _ in range(39)]
    assert [status for status, _, _ in made] == [201] * 38 + [429]
    assert made[38][1]["code"] == "too_many_uploads"
    assert [(await create(service, OTHER))[0] for _ in range(3)] == [201, 201, 429]


async def test_a_folder_on_one_socket_is_never_too_many(jackfield_server: JackfieldServer) -> None:
    """What is ended does not count, so that a thousand files may be poured through a limit of one."""
    service = await started(jackfield_server, max_open_per_user=1)
    async with service.ws_connect("/upload") as socket:
        for number in range(300):
            await socket.send_json({"type": "create", "name": f"{number}", "size": 1})
            await socket.send_bytes(b"x")
            await socket.send_json({"type": "end"})
        stored = 0
        while stored < 300:
            said = await socket.receive_json(timeout=10)
            assert said["type"] != "error", said
            stored += said["type"] == "stored"


async def test_the_promises_of_one_caller_hold_a_part_of_the_disk(jackfield_server: JackfieldServer) -> None:
    """One request does not reserve the disk for a day: what is beyond the part is 507, and others get theirs."""
    service = await started(jackfield_server, min_free=0, max_size="1024TiB", reserve="10%")
    assert (await create(service, SLOW, size=KIB))[0] == 201
    free = handler(service).uploads._space.free
    assert [(await create(service, SLOW, size=free // 21))[0] for _ in range(3)] == [201, 201, 507]
    assert (await create(service, OTHER, size=free // 21))[0] == 201
    assert (await create(service, SLOW, size=KIB))[0] == 201


async def test_so_many_bytes_a_day(jackfield_server: JackfieldServer, clock: Clock) -> None:
    """What was stored and what is promised count; then 429 with `Retry-After`, and a day later it is as before."""
    service = await started(jackfield_server, daily_quota="100KiB")
    assert await store(service, SLOW, 60 * KIB) == ("stored", 1000)
    status, problem, answer = await create(service, SLOW, size=41 * KIB)
    assert (status, problem["code"]) == (429, "quota_exceeded")
    assert DAY <= int(answer.headers["Retry-After"]) <= DAY + 601
    assert (await create(service, OTHER, size=41 * KIB))[0] == 201
    assert (await create(service, SLOW, size=30 * KIB))[0] == 201
    assert (await create(service, SLOW, size=11 * KIB))[0] == 429
    clock.ahead += DAY + 601
    assert (await create(service, SLOW, size=60 * KIB))[0] == 201


async def test_an_upload_of_unknown_size_ends_at_the_quota(jackfield_server: JackfieldServer) -> None:
    """By the same word, closed 4429; what fitted is kept."""
    service = await started(jackfield_server, daily_quota="100KiB")
    assert await store(service, SLOW, 101 * KIB) == ("quota_exceeded", 4429)
    assert await store(service, OTHER, 99 * KIB) == ("stored", 1000)


async def test_a_length_that_is_told_late_counts_like_a_promise(jackfield_server: JackfieldServer) -> None:
    """More than the quota is refused, and the length is still unknown; less is taken."""
    service = await started(jackfield_server, daily_quota="100MiB")
    tus = {**SLOW, "Tus-Resumable": "1.0.0"}
    async with service.session.post(f"{service.url}/upload", headers={**tus, "Upload-Defer-Length": "1"}) as made:
        url = made.headers["Location"]
    bytes_, status = {**tus, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}, []
    for length in (101 * 2**20, 10 * KIB):
        async with service.session.patch(url, headers={**bytes_, "Upload-Length": str(length)}, data=b"") as answer:
            status.append(answer.status)
    assert status == [429, 204]


async def test_what_never_had_a_byte_goes_soon(jackfield_server: JackfieldServer, clock: Clock) -> None:
    """After `unused`, and not after `expires`; what had one stays for that."""
    service = await started(jackfield_server, unused="10m", expires="24h")
    _, unused, _ = await create(service, SLOW)
    _, used, _ = await create(service, SLOW)
    async with sending(service, used["url"]) as socket:
        await socket.send_bytes(b"one")
        assert (await socket.receive_json(timeout=10))["type"] == "ack"
    clock.ahead += 601
    for made, status in ((unused, 404), (used, 200)):
        async with service.session.get(service.url + made["url"]) as answer:
            assert answer.status == status


async def test_one_caller_leaves_threads_of_the_store_for_others(
    jackfield_server: JackfieldServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a burst of creations the store does so many at a time; another caller's comes between them."""
    service = await started(jackfield_server)
    store = handler(service).store
    made, go_on, full, under_way = store.create, asyncio.Event(), asyncio.Event(), Counter[str]()

    async def slow(key: str, promise: Promise) -> Part:
        under_way[promise.name] += 1
        if promise.name == "burst":
            if under_way["burst"] == AT_ONCE:
                full.set()
            await go_on.wait()
        return await made(key, promise)

    monkeypatch.setattr(store, "create", slow)
    async with asyncio.TaskGroup() as burst:
        asked = [burst.create_task(create(service, SLOW, name="burst")) for _ in range(3 * AT_ONCE)]
        await full.wait()
        assert (await create(service, OTHER, name="beside"))[0] == 201
        assert under_way["burst"] == AT_ONCE
        go_on.set()
    assert [task.result()[0] for task in asked] == [201] * (3 * AT_ONCE)


async def test_whoever_sends_a_byte_now_and_then_is_ended(jackfield_server: JackfieldServer, clock: Clock) -> None:
    """Below `min_rate` over a minute: `idle`, 4408, and the upload is kept. One that is fast enough goes on."""
    service = await started(jackfield_server, min_rate="1KiB")
    (_, slow, _), (_, fast, _) = await create(service, SLOW), await create(service, OTHER)
    async with sending(service, slow["url"]) as trickle, sending(service, fast["url"]) as stream:
        for _ in range(20):
            clock.ahead += 10
            await trickle.send_bytes(b"x")
            await stream.send_bytes(bytes(11 * KIB))
            assert (await stream.receive_json(timeout=10))["type"] == "ack"
            said = await trickle.receive_json(timeout=10)
            if said["type"] != "ack":
                break
            await handler(service).uploads.sweep()
        assert said["code"] == "idle"
        assert (await trickle.receive(timeout=10)).data == 4408
        await stream.send_json({"type": "end"})
        assert await ended(stream) == ("stored", 1000)
    async with service.session.get(service.url + slow["url"]) as answer:
        assert (await answer.json())["offset"] > 0


def test_time_in_which_its_client_is_not_waited_for_does_not_count(clock: Clock) -> None:
    """A disk that is slow, or a process that stood still, makes no client slow."""
    pace = Pace(KIB, 0)
    for _ in range(20):
        clock.ahead += 10
        assert not pace.too_slow(0, waiting=False)
    clock.ahead += 10 * PERIOD
    assert not pace.too_slow(0, waiting=True)
    looks = []
    for _ in range(6):
        clock.ahead += 10
        looks.append(pace.too_slow(0, waiting=True))
    assert looks.count(True) == 1


async def test_a_token_has_limits_of_its_own(jackfield_server: JackfieldServer, tmp_path: Path) -> None:
    """`max_size`, `max_open` and `daily_quota` of the file, wherever its user comes from."""
    known = {
        "size": {"max_size": "10KiB"}, "open": {"max_open": 1}, "quota": {"daily_quota": "10KiB"}, "free": {},
    }  # fmt: skip
    entries = [
        Token.model_validate({"name": name, "sha256": tokens.hash_secret(name), **limits})
        for name, limits in known.items()
    ]
    tokens.write(tmp_path / "tokens.yaml", entries)
    service = await jackfield_server({"upload": upload()}, auth={"tokens": str(tmp_path / "tokens.yaml")})
    by = {name: {"Authorization": f"Bearer {name}"} for name in known}
    assert (await create(service, by["size"], size=11 * KIB))[1]["code"] == "too_large"
    assert await store(service, by["size"], 11 * KIB) == ("too_large", 4413)
    assert [(await create(service, by["open"]))[0] for _ in range(2)] == [201, 429]
    assert (await create(service, by["quota"], size=11 * KIB))[1]["code"] == "quota_exceeded"
    assert (await create(service, by["free"], size=11 * KIB))[0] == 201


async def test_a_token_limits_a_small_file_that_came_at_once(jackfield_server: JackfieldServer, tmp_path: Path) -> None:
    """`max_size` of a token holds on a socket of many too, where a file of no promised size is there with its end."""
    limited = {"name": "a", "sha256": tokens.hash_secret("secret"), "max_size": "10KiB"}
    tokens.write(tmp_path / "tokens.yaml", [Token.model_validate(limited)])
    service = await jackfield_server({"upload": upload()}, auth={"tokens": str(tmp_path / "tokens.yaml")})
    opened = await UploadSocket.connect(service.port)
    await opened.upgrade("/upload", {"Authorization": "Bearer secret"})
    await opened.send(file("large.bin", bytes(11 * KIB)) + file("small.bin", bytes(10 * KIB)))
    refused, stored = await answers(opened, 2)
    assert (refused["code"], stored["name"]) == ("too_large", "small.bin")
    await opened.dispose()


async def test_a_restart_forgets_nothing_of_a_caller(jackfield_server: JackfieldServer, tmp_path: Path) -> None:
    """What was stored in the last day, small files on a socket too, and what is open count for the same callers."""
    options = {"daily_quota": "100KiB", "max_open_per_user": 2}
    first = await started(jackfield_server, **options)
    assert await store(first, SLOW, 40 * KIB) == ("stored", 1000)
    async with first.ws_connect("/upload", headers=SLOW) as socket:
        for number in range(10):
            await socket.send_json({"type": "create", "name": f"{number}"})
            await socket.send_bytes(bytes(KIB))
            await socket.send_json({"type": "end"})
        stored = 0
        while stored < 10:
            stored += (await socket.receive_json(timeout=10))["type"] == "stored"
    _, left, _ = await create(first, SLOW, size=10 * KIB)
    await first.session.close()
    await first.stop()

    second = await started(jackfield_server, **options)
    uploads = handler(second).uploads
    assert uploads.restoring is not None
    await uploads.restoring
    assert (await create(second, SLOW, size=41 * KIB))[1]["code"] == "quota_exceeded"
    assert (await create(second, OTHER, size=41 * KIB))[0] == 201
    assert (await create(second, SLOW, size=40 * KIB))[0] == 201
    assert (await create(second, SLOW))[1]["code"] in ("too_many_uploads", "quota_exceeded")
    (found,) = [each for each in uploads.overview() if each["size"] == 10 * KIB]
    assert (found["remote"], found["user"]) == ("192.0.2.1", None)
    async with second.session.delete(second.url + left["url"]) as answer:
        assert answer.status == 204


def test_what_was_stored_before_counts_for_its_time(clock: Clock) -> None:
    """A restored step is dropped when its day is over, and stands before those of now."""
    day = Daily()
    day.add(1)
    day.restore(10, 20 * 3600)
    day.restore(100, 3600)
    assert day.total == 111
    assert 4 * 3600 - 1 <= day.wait(10) <= 4 * 3600 + 601
    clock.ahead += 4 * 3600 + 1201
    assert day.total == 101


def test_a_day_is_kept_in_steps(clock: Clock) -> None:
    """Memory is bounded by the day, and what is told to wait for is enough."""
    day = Daily()
    for _ in range(1000):
        day.add(1)
        clock.ahead += 300
    assert len(day._steps) < 150
    wait = day.wait(10)
    before = day.total
    clock.ahead += wait
    assert day.total <= before - 10


def test_a_user_is_not_an_address() -> None:
    """Limits of one are not those of the other, though they have the same text."""
    assert Caller("192.0.2.1", "192.0.2.1").key != Caller(None, "192.0.2.1").key
    assert UploadOptions().reserve == 0.5
