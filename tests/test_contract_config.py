"""The contract, "Configuration": strict, all problems at once, overridden by the environment."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.outsider import Outsider
from tests.support.service import configuration, jackfield, pingpong, running_service, upload

DOCUMENTED = """\
server:
  host: 127.0.0.1
  port: 8080
  allowed_origins: []
  max_connections: 10000
  heartbeat: 20s
  shutdown_timeout: 10s
  tls: null
logging:
  level: info
  format: auto
handlers:
  pingpong:
    use: pingpong
    path: /pingpong
    interval: 1s
    rounds: 10
    timeout: 10s
  upload:
    use: upload
    path: /upload
    directory: var/uploads
    max_size: 100GiB
    max_open: 1000
    min_free: 1GiB
    on_conflict: rename
    expires: 24h
    receipts_kept: 7d
    idle_timeout: 60s
    sync_every: 64MiB
    message_size: 256KiB
    window: 8MiB
    memory: 256MiB
"""
DEFAULTS = """\
handlers:
  pingpong: {use: pingpong, path: /pingpong}
  upload: {use: upload, path: /upload}
"""
WRONG = """\
server:
  port: 70000
  hosst: example
  port: 1
  max_connections: "many"
  heartbeat: 20 parsecs
  allowed_origins: everywhere
  tls: {certificate: x}
logging:
  level: loud
  format: xml
  colour: true
handlers:
  pingpong:
    use: pingpong
    path: pingpong
    interval: -1
    rounds: 1.5
    timeout: soon
  upload:
    use: upload
    path: /upload
    directory: 5
    max_size: 100GB
    max_open: true
    on_conflict: overwrite
    expires: null
    window: -1KiB
    surprise: 1
  nowhere:
    use: nowhere:Nothing
    path: /nowhere
  nothing:
    use: "jackfield.handlers.pingpong:Nothing"
    path: /nothing
  malformed:
    use: handlers.pingpong
    path: /malformed
extra: 1
"""
PROBLEMS = {
    "server.port": (2, 4), "server.hosst": (3,), "server.max_connections": (5,), "server.heartbeat": (6,),
    "server.allowed_origins": (7,), "server.tls": (8,), "logging.level": (10,), "logging.format": (11,),
    "logging.colour": (12,), "handlers.pingpong.path": (16,), "handlers.pingpong.interval": (17,),
    "handlers.pingpong.rounds": (18,), "handlers.pingpong.timeout": (19,), "handlers.upload.directory": (23,),
    "handlers.upload.max_size": (24,), "handlers.upload.max_open": (25,), "handlers.upload.on_conflict": (26,),
    "handlers.upload.expires": (27,), "handlers.upload.window": (28,), "handlers.upload.surprise": (29,),
    "handlers.nowhere.use": (31,), "handlers.nothing.use": (34,), "handlers.malformed.use": (37,),
    "extra": (39,),
}  # fmt: skip


def write(folder: Path, text: str) -> Path:
    """A configuration file with this text."""
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def effective(folder: Path, text: str, **environment: str) -> dict[str, Any]:
    """What `jackfield check` says is in force."""
    done = jackfield("check", "--config", write(folder, text), folder=folder, environment=environment)
    assert (done.returncode, done.stderr) == (0, ""), done
    found = yaml.safe_load(done.stdout)
    assert isinstance(found, dict)
    return found


def refused(folder: Path, text: str, **environment: str) -> str:
    """What `jackfield check` says against it."""
    done = jackfield("check", "--config", write(folder, text), folder=folder, environment=environment)
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "Traceback" not in said
    return said


def test_the_documented_configuration_is_the_default(tmp_path: Path) -> None:
    """Every setting of the contract is known, and its value there is what holds when it is left out."""
    assert effective(tmp_path, DOCUMENTED) == effective(tmp_path, DEFAULTS)


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    """Each unknown key, duplicate, wrong type and impossible value has a line with file, line and path."""
    said = refused(tmp_path, WRONG).splitlines()
    missing = [
        path
        for path, lines in PROBLEMS.items()
        if not any(
            "config.yaml" in line
            and re.search(rf"(?<![\w.]){re.escape(path)}(?!\w)", line)
            and any(re.search(rf"\b{number}\b", line) for number in lines)
            for line in said
        )
    ]
    assert not missing, "\n".join(said)


def test_a_bad_configuration_opens_no_port(tmp_path: Path) -> None:
    """`serve` says the same as `check`, leaves with 2 and never listens."""
    file = write(tmp_path, WRONG)
    done = jackfield("serve", "--config", file, folder=tmp_path)
    assert done.returncode == 2
    assert "handlers.upload.max_size" in done.stderr
    assert "listening" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize(
    "text", ["a: [", "\t- x", "- a list", "just text", "a: 1\n---\nb: 2\n", "a: !!python/name:os.system\n"]
)
def test_what_is_no_mapping_in_yaml_is_refused(tmp_path: Path, text: str) -> None:
    """Broken YAML, another document behind it, tags and a file that is no mapping are clear errors."""
    assert "config.yaml" in refused(tmp_path, text)


def test_a_path_belongs_to_one_handler(tmp_path: Path) -> None:
    """Two handlers on one path are an error that names a path of the configuration."""
    text = yaml.safe_dump(configuration(other=pingpong("/pingpong")))
    assert "handlers.other.path" in refused(tmp_path, text) or "handlers.pingpong.path" in refused(tmp_path, text)


@pytest.mark.parametrize("command", ["serve", "check", "schema"])
def test_a_missing_file_is_a_clear_error(tmp_path: Path, command: str) -> None:
    """Without the file, named or not, the status is 2 and the file's name is said."""
    for words in ([command], [command, "--config", "elsewhere.yaml"]):
        done = jackfield(*words, folder=tmp_path)
        assert done.returncode == 2
        assert "config.yaml" in done.stderr or "elsewhere.yaml" in done.stderr
        assert "Traceback" not in done.stderr


def test_sizes_and_times_have_units(tmp_path: Path) -> None:
    """Bytes or KiB to TiB, seconds or a unit: however it is written, the same holds."""
    ways: list[dict[str, Any]] = [
        {"max_size": "1GiB", "window": "64KiB", "expires": "1d", "receipts_kept": "1h", "idle_timeout": "1m"},
        {"max_size": 2**30, "window": 65536, "expires": "24h", "receipts_kept": 3600, "idle_timeout": "60s"},
        {"max_size": "1024MiB", "window": 2**16, "expires": 86400, "receipts_kept": "60m", "idle_timeout": 60},
    ]
    seen = [effective(tmp_path, yaml.safe_dump(configuration(upload=upload(**way)))) for way in ways]
    assert seen[0] == seen[1] == seen[2]


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    """Names are upper case with two underscores between the parts of a path; a list is written as YAML."""
    found = effective(
        tmp_path,
        DEFAULTS,
        JACKFIELD_SERVER__PORT="9000",
        JACKFIELD_SERVER__ALLOWED_ORIGINS="[https://a.example, 'https://b.example']",
        JACKFIELD_HANDLERS__UPLOAD__DIRECTORY="/srv/in",
        JACKFIELD_HANDLERS__UPLOAD__ON_CONFLICT="reject",
        JACKFIELD_HANDLERS__PINGPONG__INTERVAL="5s",
    )
    assert found["server"]["port"] == 9000
    assert found["server"]["allowed_origins"] == ["https://a.example", "https://b.example"]
    assert found["handlers"]["upload"]["directory"] == "/srv/in"
    assert found["handlers"]["upload"]["on_conflict"] == "reject"
    assert found["handlers"]["pingpong"]["interval"] in (5, "5s")


def test_a_wrong_environment_is_an_error(tmp_path: Path) -> None:
    """Unknown names and impossible values are all named, together with the file's own problems."""
    wrong = {
        "JACKFIELD_SERVER__PROT": "1", "JACKFIELD_NON__SENSE": "1", "JACKFIELD_HANDLERS__OTHER__X": "1",
        "JACKFIELD_SERVER__PORT": "eighty", "JACKFIELD_HANDLERS__UPLOAD__MAX_SIZE": "big",
    }  # fmt: skip
    said = refused(tmp_path, DEFAULTS + "extra: 1\n", **wrong)
    assert not [name for name in (*wrong, "extra") if name not in said], said


def test_a_relative_path_is_relative_to_the_file(tmp_path: Path) -> None:
    """Whatever folder the command runs in, the directory stands beside the configuration."""
    below, elsewhere = tmp_path / "below", tmp_path / "elsewhere"
    below.mkdir()
    elsewhere.mkdir()
    done = jackfield("check", "--config", write(below, DEFAULTS), folder=elsewhere)
    directory = Path(yaml.safe_load(done.stdout)["handlers"]["upload"]["directory"])
    assert directory in (below / "var/uploads", Path("var/uploads"))


async def test_a_handler_left_out_leaves_a_working_service(tmp_path: Path) -> None:
    """Without its section the upload's path is 404, and the rest goes on; the other way round too."""
    with running_service(tmp_path, upload=None) as service:
        async with Outsider(service) as outsider:
            assert (await outsider.post_json({"name": "a"})).problem() == "not_found"
            assert await (await outsider.connect("/pingpong")).next() == "ping"
    with running_service(tmp_path, pingpong=None) as service:
        async with Outsider(service) as outsider:
            assert (await outsider.get("/pingpong")).problem() == "not_found"
            await outsider.send_whole(b"data")


async def test_a_handler_may_be_used_twice(outsider: Outsider) -> None:
    """Two sections with one class are two handlers, each with its own path, options and folder."""
    name = outsider.service.folder.name + ".bin"
    await outsider.send_whole(b"one", name, "/replace")
    assert name in outsider.published("/replace")
    assert name not in outsider.published("/upload")


def test_the_service_listens_where_the_environment_says(tmp_path: Path) -> None:
    """`serve` listens where the environment says, and says so."""
    with running_service(tmp_path, environment={"JACKFIELD_SERVER__HOST": "127.0.0.2"}) as service:
        assert service.url == f"http://127.0.0.2:{service.port}"
