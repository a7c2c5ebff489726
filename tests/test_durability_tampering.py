"""Staging behind our back: what is deleted, cut or planted there harms one upload at most, and no other file."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.faults import staged
from tests.support.outsider import Outsider, content, digest, fresh_name
from tests.support.rawsocket import Closed, Refusal
from tests.support.service import Service, running_service

MIB = 2**20
DATA = content(2 * MIB + 7)
HALF = len(DATA) // 2
SECRET = b"somebody else's, and to stay as it is"

Tamper = Callable[[Path, Path], None]  # with a file of staging; the second is a file outside


def _delete(path: Path, _: Path) -> None:
    path.unlink()


def _cut(path: Path, _: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path, _: Path) -> None:
    os.truncate(path, 0)


def _append(path: Path, _: Path) -> None:
    with path.open("ab") as file:
        file.write(b"rubbish" * 1000)


def _fill(path: Path, _: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(os.urandom(size))


def _replace(path: Path, _: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(os.urandom(path.stat().st_size))
    other.replace(path)


def _link(path: Path, outside: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(outside)


def _folder(path: Path, _: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def _pipe(path: Path, _: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _nested(path: Path, _: Path) -> None:
    path.write_bytes(b"[" * 60_000)


def _promising(**changes: object) -> Tamper:
    """Another promise in a manifest that is well-formed."""

    def promise(path: Path, _: Path) -> None:
        fields = json.loads(path.read_bytes())
        fields["promise"] |= changes
        path.write_text(json.dumps(fields), encoding="utf-8")

    return promise


def _saying(**changes: object) -> Tamper:
    """Another word about the part in a manifest that is well-formed."""

    def say(path: Path, _: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_bytes()) | changes), encoding="utf-8")

    return say


PART: dict[str, Tamper] = {
    "deleted": _delete, "cut": _cut, "appended": _append, "filled": _fill, "replaced": _replace, "linked": _link,
    "folder": _folder, "pipe": _pipe,
}  # fmt: skip
MANIFEST: dict[str, Tamper] = {
    "deleted": _delete, "cut": _cut, "empty": _empty, "filled": _fill, "linked": _link, "folder": _folder,
    "pipe": _pipe, "nested": _nested, "name": _promising(name="../../evil"), "size": _promising(size="many"),
    "touched": _saying(touched="soon"), "durable": _saying(durable=10**30), "negative": _saying(durable=-1),
    "whole": _saying(whole=1),
}  # fmt: skip


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A file that is none of our business."""
    file = tmp_path / "outside"
    file.write_bytes(SECRET)
    yield file
    assert file.read_bytes() == SECRET
    assert not (tmp_path.parent / "evil").exists()


async def _half_sent(outsider: Outsider) -> str:
    url = await outsider.create(fresh_name())
    opened = await outsider.open(url)
    await opened.binary(DATA[:HALF])
    await opened.durable(HALF)
    opened.reset()
    return url


async def _ends_right(outsider: Outsider, url: str, attempts: int = 4) -> None:
    """The upload is refused, or becomes the right file within a few attempts; it never becomes a wrong one."""
    for _ in range(attempts):
        try:
            opened = await outsider.open(url)
        except Refusal:
            assert await outsider.is_gone(url)
            return
        except (AssertionError, ConnectionError):  # an error in the place of `ready`
            continue
        offset = opened.ready["offset"]
        assert opened.ready["sha256"] in (None, digest(DATA[:offset]))
        await opened.binary(DATA[offset:])
        await opened.end()
        while not isinstance(said := await opened.next(), Closed):
            if '"stored"' in said:
                receipt = json.loads(said)
                assert receipt["sha256"] == digest(DATA)
                assert outsider.stored(receipt) == DATA
                assert not (outsider.directory() / receipt["name"]).is_symlink()
                return


@pytest.fixture(scope="module")
def tampered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for many kinds of damage, so that each kind costs one restart at the most."""
    with running_service(tmp_path_factory.mktemp("tampered")) as service:
        yield service


async def test_between_two_runs(tampered: Service, outside: Path) -> None:
    """Parts, manifests and receipts that are not what they were: the start succeeds, each upload ends right, or not."""
    async with Outsider(tampered) as outsider:
        healthy = await _half_sent(outsider)
        receipt = await outsider.send_whole(DATA)
        urls = await asyncio.gather(*(_half_sent(outsider) for _ in (*PART, *MANIFEST)))
        parts, manifests = dict(zip(PART, urls, strict=False)), dict(zip(MANIFEST, urls[len(PART) :], strict=True))
        receipts = {kind: await outsider.create() for kind in ("filled", "linked", "folder", "pipe", "nested")}
        for url in receipts.values():
            await (await outsider.open(url)).finish(b"")
        tampered.kill()
        for kind, url in parts.items():
            PART[kind](staged(outsider, url, "part"), outside)
        for kind, url in manifests.items():
            MANIFEST[kind](staged(outsider, url, "upload"), outside)
        for kind, url in receipts.items():
            MANIFEST[kind](staged(outsider, url, "receipt"), outside)
        planted = tampered.directory() / ".incoming"
        (planted / "folder.new").mkdir()
        (planted / "folder.part").mkdir()
        (planted / "folder.receipt").mkdir()
        (planted / os.fsdecode(b"no UTF-8 \xff.receipt")).touch()
        (planted / "link.new").symlink_to(outside)
        for kind in ("group", "receipts"):
            (planted / f"rubbish.{kind}").write_bytes(os.urandom(100))
        tampered.start()
        opened = await outsider.open(healthy)
        assert (opened.ready["offset"], opened.ready["sha256"]) == (HALF, digest(DATA[:HALF]))
        await opened.binary(DATA[HALF:])
        await opened.finish(DATA)
        assert outsider.stored(receipt) == DATA
        await asyncio.gather(*(_ends_right(outsider, url) for url in urls))
        for url in receipts.values():
            assert (await outsider.get(url)).status == 404
        assert (await outsider.send_whole(DATA))["sha256"] == digest(DATA)
    tampered.assert_clean()


@pytest.mark.parametrize("kind", PART)
async def test_while_nobody_sends(tampered: Service, outside: Path, kind: str) -> None:
    """A part that was changed between two sockets is begun anew, or the upload refused; never is it mixed."""
    async with Outsider(tampered) as outsider:
        url = await _half_sent(outsider)
        PART[kind](staged(outsider, url, "part"), outside)
        await _ends_right(outsider, url)
    tampered.assert_clean()


@pytest.mark.parametrize("kind", PART)
async def test_under_an_open_socket(tampered: Service, outside: Path, kind: str) -> None:
    """A part that is changed while it is written: that is noticed before anything false is stored."""
    async with Outsider(tampered) as outsider:
        url = await outsider.create()
        opened = await outsider.open(url)
        await opened.binary(DATA[:HALF])
        await opened.durable(HALF)
        PART[kind](staged(outsider, url, "part"), outside)
        await opened.binary(DATA[HALF:])
        await opened.end()
        while not isinstance(said := await opened.next(), Closed):
            assert '"stored"' not in said or outsider.stored(json.loads(said)) == DATA, said
        if (await outsider.get(url)).json()["state"] == "open":
            await _ends_right(outsider, url)
    tampered.assert_clean()


@pytest.mark.parametrize("kind", ["deleted", "filled", "linked"])
async def test_a_manifest_under_an_open_socket(tampered: Service, outside: Path, kind: str) -> None:
    """The running service knows what the manifest said: it is written anew with the next bytes."""
    async with Outsider(tampered) as outsider:
        url = await outsider.create()
        opened = await outsider.open(url)
        await opened.binary(DATA[:HALF])
        await opened.durable(HALF)
        MANIFEST[kind](staged(outsider, url, "upload"), outside)
        await opened.binary(DATA[HALF:-1])
        await opened.durable(len(DATA) - 1)
        tampered.kill()
        tampered.start()
        again = await outsider.open(url)
        assert again.ready["offset"] == len(DATA) - 1
        await again.binary(DATA[-1:])
        await again.finish(DATA)
    tampered.assert_clean()


async def test_a_part_that_has_a_second_name(tampered: Service) -> None:
    """Who hard-links staging for a backup finds that copy untouched, and the upload loses nothing durable."""
    async with Outsider(tampered) as outsider:
        url = await _half_sent(outsider)
        copy = tampered.folder / fresh_name()
        os.link(staged(outsider, url, "part"), copy)
        tampered.kill()
        tampered.start()
        opened = await outsider.open(url)
        assert opened.ready["offset"] == HALF
        await opened.binary(DATA[HALF:])
        assert outsider.stored(await opened.finish(DATA)) == DATA
        assert copy.read_bytes() == DATA[:HALF]
    tampered.assert_clean()
