"""The environment over the file: what it replaces, what it adds, and the names it refuses."""

from pathlib import Path

import pytest

from tests.support import plugs
from tests.support.configs import ECHO, complaints, load

HANDLERS = f"handlers:\n  echo: {{{ECHO}}}\n  plain_2: {{use: tests.support.plugs:Plain, path: /plain}}\n"


def options(folder: Path, **environ: str) -> plugs.Echo.Options:
    """The options of the handler `echo` with this environment."""
    found = load(folder, HANDLERS, **environ).handlers["echo"].options
    assert isinstance(found, plugs.Echo.Options)
    return found


def test_a_variable_replaces_what_the_file_says(tmp_path: Path) -> None:
    """The name is the path in upper case, with two underscores between its keys."""
    settings = load(
        tmp_path,
        "server: {port: 1, host: localhost, heartbeat: 1s}\nlogging: {level: info}\n" + HANDLERS,
        JACKFIELD_SERVER__PORT="9000",
        JACKFIELD_SERVER__HEARTBEAT="2m",
        JACKFIELD_LOGGING__LEVEL="debug",
        JACKFIELD_HANDLERS__PLAIN_2__PATH="/elsewhere",
        HOME="/nowhere",
        NOT_JACKFIELD_SERVER__PORT="1",
    )
    assert (settings.server.port, settings.server.host, settings.server.heartbeat) == (9000, "localhost", 120.0)
    assert settings.logging.level == "debug"
    assert settings.handlers["plain_2"].path == "/elsewhere"


def test_a_variable_sets_what_the_file_leaves_out(tmp_path: Path) -> None:
    """The section need not be in the file."""
    settings = load(tmp_path, "", JACKFIELD_SERVER__MAX_CONNECTIONS="5", JACKFIELD_LOGGING__FORMAT="json")
    assert settings.server.max_connections == 5
    assert settings.logging.format == "json"


def test_a_variable_mends_a_value_of_the_file(tmp_path: Path) -> None:
    """What is replaced is not looked at, nor anything in it."""
    text = "server:\n  port: wrong\n  allowed_origins: [1, 2]\n"
    environ = {"JACKFIELD_SERVER__PORT": "0", "JACKFIELD_SERVER__ALLOWED_ORIGINS": "[https://a]"}
    assert load(tmp_path, text, **environ).server.allowed_origins == ("https://a",)


@pytest.mark.parametrize(
    ("value", "origins"),
    [("[]", ()), ("[https://a]", ("https://a",)), ('["https://a", http://b:1]', ("https://a", "http://b:1"))],
)
def test_a_list_is_written_as_yaml(tmp_path: Path, value: str, origins: tuple[str, ...]) -> None:
    """In brackets, with commas."""
    settings = load(tmp_path, "", JACKFIELD_SERVER__ALLOWED_ORIGINS=value)
    assert settings.server.allowed_origins == origins


def test_a_plain_value_needs_no_quotes(tmp_path: Path) -> None:
    """An address and a path are taken as they stand; a text that looks like a number has quotes."""
    assert load(tmp_path, "", JACKFIELD_SERVER__HOST="::").server.host == "::"
    assert options(tmp_path, JACKFIELD_HANDLERS__ECHO__PREFIX="a: #b").prefix == "a: #b"
    assert options(tmp_path, JACKFIELD_HANDLERS__ECHO__PREFIX="'5'").prefix == "5"
    assert options(tmp_path, JACKFIELD_HANDLERS__ECHO__GREETINGS="{a: b}").greetings == {"a": "b"}


def test_a_relative_path_is_relative_to_the_file(tmp_path: Path) -> None:
    """Not to where the process was started."""
    directory = options(tmp_path, JACKFIELD_HANDLERS__ECHO__DIRECTORY="in").directory
    assert directory == tmp_path / "in"
    assert options(tmp_path, JACKFIELD_HANDLERS__ECHO__DIRECTORY="/srv/in").directory == Path("/srv/in")


@pytest.mark.parametrize("text", ["", "server: {}\n", "server: {tls: null}\n", "server: {tls: {key: gone}}\n"])
def test_a_section_within_a_section_is_reached(tmp_path: Path, text: str) -> None:
    """Also where the file says null; and null takes it away again."""
    (tmp_path / "pem").touch()
    environ = {"JACKFIELD_SERVER__TLS__CERTIFICATE": "pem", "JACKFIELD_SERVER__TLS__KEY": "pem"}
    tls = load(tmp_path, text, **environ).server.tls
    assert tls is not None
    assert (tls.certificate, tls.key) == (tmp_path / "pem", tmp_path / "pem")
    for nothing in ("", "null", "~"):
        assert load(tmp_path, text, JACKFIELD_SERVER__TLS=nothing).server.tls is None


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("JACKFIELD_SERVER__PROT", "server.prot: unknown key; did you mean port?"),
        ("JACKFIELD_SERVER__", "server.: unknown key"),
        ("JACKFIELD_HANDLERS__ECHO__TIME", "handlers.echo.time: unknown key; did you mean times?"),
        ("JACKFIELD_Server__Port", "server.port: there is no such setting; did you mean JACKFIELD_SERVER__PORT?"),
        ("JACKFIELD_SERVER__PORT__X", "server.port.x: there is no such setting"),
        ("JACKFIELD_HANDLERS__ECHO", "handlers.echo: names a section; name one of its settings"),
        ("JACKFIELD_HANDLERS__ECO__PREFIX", "handlers.eco.prefix: the configuration file has no such handler"),
    ],
)
def test_a_name_that_leads_to_no_setting_is_refused(tmp_path: Path, name: str, complaint: str) -> None:
    """A misspelt variable would otherwise be ignored without a word."""
    assert complaints(tmp_path, "server: {port: 1}\n" + HANDLERS, **{name: "5"}) == [f"{name}: {complaint}"]


def test_a_name_of_one_part_is_somebody_elses(tmp_path: Path) -> None:
    """It is ignored, and named once, with what may have been meant; the clients' own is not named."""
    names = ("PORT", "PORT_8080_TCP", "SERVER", "SERVER_PORT", "HANDLERS_ECHO_TIMES", "TOKEN")
    settings = load(tmp_path, HANDLERS, **{f"JACKFIELD_{name}": "tcp://10.0.0.1:80" for name in names})
    assert settings.server.port == 8080
    assert settings.ignored == (
        "JACKFIELD_HANDLERS_ECHO_TIMES (did you mean JACKFIELD_HANDLERS__ECHO__TIMES?)", "JACKFIELD_PORT",
        "JACKFIELD_PORT_8080_TCP", "JACKFIELD_SERVER", "JACKFIELD_SERVER_PORT (did you mean JACKFIELD_SERVER__PORT?)",
    )  # fmt: skip


def test_a_handler_cannot_come_from_the_environment_alone(tmp_path: Path) -> None:
    """The environment overrides a file; which handlers there are is said there."""
    for text in ("", "handlers: {}\n"):
        (found,) = complaints(tmp_path, text, JACKFIELD_HANDLERS__ECHO__USE="tests.support.plugs:Echo")
        assert found.endswith("handlers.echo.use: the configuration file has no such handler")


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("SERVER__PORT", "70000", "server.port: expected less than or equal to 65535, got 70000"),
        ("SERVER__PORT", "'80'", 'server.port: expected a valid integer, got "80"'),
        ("SERVER__PORT", "080", 'server.port: expected a valid integer, got "080"'),
        ("SERVER__MAX_CONNECTIONS", "", "server.max_connections: expected a valid integer, got null"),
        ("SERVER__HOST", "127", "server.host: expected a valid string, got 127"),
        ("SERVER__ALLOWED_ORIGINS", "https://a", 'server.allowed_origins: expected a list, got "https://a"'),
        ("SERVER__ALLOWED_ORIGINS", "[5]", "server.allowed_origins[0]: expected a valid string, got 5"),
        ("SERVER__ALLOWED_ORIGINS", "[a", "server.allowed_origins: is not YAML: expected ',' or ']'"),
        ("SERVER__TLS__KEY", "config.yaml", "server.tls.certificate: is missing"),
        ("HANDLERS__ECHO__LOUD", "yes", 'handlers.echo.loud: expected a valid boolean, got "yes"'),
        ("HANDLERS__ECHO__PATH", "echo", "handlers.echo.path: expected a path as in /upload"),
        ("HANDLERS__PLAIN_2__PATH", "/echo", "handlers.plain_2.path: clashes with /echo of handlers.echo"),
        ("HANDLERS__ECHO__USE", "nowhere:Echo", "handlers.echo.use: there is no module nowhere"),
    ],
)
def test_a_value_that_cannot_be_names_its_variable(tmp_path: Path, name: str, value: str, complaint: str) -> None:
    """The same rules as in the file, with the variable in place of the line."""
    (found,) = complaints(tmp_path, HANDLERS, **{f"JACKFIELD_{name}": value})
    assert found.startswith(f"JACKFIELD_{name}: {complaint}")


def test_problems_of_the_environment_come_with_those_of_the_file(tmp_path: Path) -> None:
    """First the file's, by line, then the variables', by name."""
    environ = {"JACKFIELD_X__Y": "1", "JACKFIELD_LOGGING__LEVEL": "loud"}
    found = complaints(tmp_path, "server:\n  port: x\n  host: 5\n", **environ)
    assert [line.split(": ")[0] for line in found] == [
        "config.yaml:2", "config.yaml:3", "JACKFIELD_LOGGING__LEVEL", "JACKFIELD_X__Y",
    ]  # fmt: skip


def test_a_file_of_another_shape_hides_no_problem_of_its_own(tmp_path: Path) -> None:
    """Where a section is no section, the variable below it has nowhere to go."""
    found = complaints(tmp_path, "server: 5\nhandlers: 5\n", JACKFIELD_SERVER__PORT="1", JACKFIELD_HANDLERS__A__B="1")
    assert found == [
        "config.yaml:1: server: expected keys and values, got 5",
        "config.yaml:2: handlers: expected keys and values, got 5",
        "JACKFIELD_HANDLERS__A__B: handlers.a.b: the configuration file has no such handler",
        "JACKFIELD_SERVER__PORT: server.port: there is no such setting",
    ]
    assert complaints(tmp_path, "[1]\n", JACKFIELD_X__Y="1") == ["config.yaml:1: expected keys and values, got a list"]
