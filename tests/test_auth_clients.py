"""Who sends, from every client: by a file, the environment, or the URL; and no secret is printed or kept anywhere."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from jackfield import Refused, upload, upload_many
from jackfield.app.auth import tokens
from jackfield.app.auth.tokens import Token
from tests.support.service import Service, jackfield, running_service

SECRET = "the-secret-of-alice"


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with one token."""
    file = tmp_path_factory.mktemp("tokens") / "tokens.yaml"
    tokens.write(file, [Token(name="alice", sha256=tokens.hash_secret(SECRET))])
    with running_service(tmp_path_factory.mktemp("gated"), server={"auth": {"tokens": str(file)}}) as running:
        yield running
    assert SECRET not in running.output()


def with_secret(service: Service, secret: str = SECRET) -> str:
    """The service's URL with credentials in it."""
    return service.url.replace("http://", f"http://alice:{secret}@")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Small files and a large one, and the secret beside them."""
    files = tmp_path / "files"
    files.mkdir()
    for number in range(5):
        (files / f"{number}").write_bytes(b"x" * number)
    (files / "large").write_bytes(bytes(3 * 2**20))
    (tmp_path / "secret").write_text(f"{SECRET}\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("way", ["file", "environment", "url"])
def test_the_commands_say_who_sends(gated: Service, folder: Path, way: str) -> None:
    """Files one by one, many on one socket, and pings: all are let in, and the secret is in no file of the state."""
    environment = {"XDG_STATE_HOME": str(folder / "state")}
    words = ["--token-file", "secret"] if way == "file" else []
    if way == "environment":
        environment["JACKFIELD_TOKEN"] = SECRET
    url = with_secret(gated) if way == "url" else gated.url
    for command in (["upload", "-r", "files"], ["ping", "--count", "1"]):
        done = jackfield(*command, *words, url, folder=folder, environment=environment)
        assert done.returncode == 0, done.stderr
        assert SECRET not in done.stdout + done.stderr
    state = [path for path in (folder / "state").rglob("*") if path.is_file()]
    assert state
    assert not [path for path in state if SECRET.encode() in path.read_bytes() or SECRET in path.name]


@pytest.mark.parametrize("secret", [None, "a-wrong-secret"])
def test_whoever_is_not_let_in_is_told(gated: Service, folder: Path, secret: str | None) -> None:
    """Exit 3, in a line without the secret."""
    url = gated.url if secret is None else with_secret(gated, secret)
    environment = {"XDG_STATE_HOME": str(folder / "state")}
    for words, status in ((["upload", "files/large"], 3), (["upload", "-r", "files"], 3), (["ping"], 1)):
        done = jackfield(*words, url, folder=folder, environment=environment)
        assert done.returncode == status, done.stderr
        assert "token" in done.stderr or "401" in done.stderr
        assert "a-wrong-secret" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--token-file", "missing", "http://localhost"], "--token-file missing: No such file"),
        (["--token-file", "files/0", "http://localhost"], "--token-file files/0: has no secret in it"),
        (["--token-file", "secret", "http://a:b-secret@localhost"], "one of them will do"),
        (["ftp://a:b-secret@localhost"], "ftp://localhost"),
    ],
)
def test_what_is_no_credential_is_wrong_usage(folder: Path, words: list[str], said: str) -> None:
    """Exit 2, before anything is asked; the text has no secret."""
    for command in (["upload", "files/0"], ["ping"]):
        done = jackfield(*command, *words, folder=folder)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert "b-secret" not in done.stderr


async def test_a_service_that_is_away_is_told_without_the_secret(folder: Path) -> None:
    """Also where the URL has it."""
    for command in (["upload", "--give-up", "0.1", "files/0"], ["ping"]):
        done = await asyncio.to_thread(jackfield, *command, "http://a:b-secret@127.0.0.1:1", folder=folder)
        assert done.returncode in (75, 1)
        assert "b-secret" not in done.stdout + done.stderr


async def test_credentials_in_a_url_work_for_programs(gated: Service, folder: Path) -> None:
    """Every request and every socket of the Python client has them; an error does not say them."""
    async with aiohttp.ClientSession() as session:
        assert (await upload(session, with_secret(gated), folder / "files" / "large")).size == 3 * 2**20
        outcomes: list[object] = []
        files = [(str(folder / "files" / f"{number}"), f"{number}", None) for number in range(5)]
        await upload_many(session, with_secret(gated), files, done=lambda _, outcome: outcomes.append(outcome))
        assert len(outcomes) == 5
        with pytest.raises(Refused) as refused:
            await upload(session, with_secret(gated, "b-secret"), folder / "files" / "large")
        assert refused.value.code == "unauthorized"
        assert "b-secret" not in repr(refused.value)
