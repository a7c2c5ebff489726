"""What is wrong with a configuration: every problem with its place, all of them at once."""

from pathlib import Path

import pytest

from jackfield.app import config
from tests.support.configs import ECHO, complaints, load


def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    """A missing file, a folder, and bytes that are no text are said in one line with the file's name."""
    for path, message in (
        (tmp_path / "none.yaml", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
    ):
        with pytest.raises(config.ConfigError) as caught:
            config.load(path, {})
        assert str(caught.value) == f"{path}: {message}"
    file = tmp_path / "latin.yaml"
    file.write_bytes("server:\n  host: Zürich\n".encode("latin-1"))
    with pytest.raises(config.ConfigError) as caught:
        config.load(file, {})
    assert str(caught.value) == f"{file}:2: is not UTF-8"


SERVER = [
    ("hots: a", "server.hots: unknown key; did you mean host?"),
    ("something: a", "server.something: unknown key"),
    ("host: ''", "server.host: expected a host name or an address"),
    ("host: localhost:8080", "server.host: expected a host name or an address"),
    ("host: abc:80", "server.host: At least 3 parts expected in 'abc:80'"),
    ("host: '[::1]'", "server.host: expected a host name or an address"),
    ("host: 127", "server.host: expected a valid string, got 127"),
    ("host: http://a", "server.host: expected a host name or an address"),
    ("port: 65536", "server.port: expected less than or equal to 65535, got 65536"),
    ("port: -1", "server.port: expected greater than or equal to 0, got -1"),
    ('port: "8080"', 'server.port: expected a valid integer, got "8080"'),
    ("port: 8080.0", "server.port: expected a valid integer, got 8080.0"),
    ("port: true", "server.port: expected a valid integer, got true"),
    ("port: [1]", "server.port: expected a valid integer, got a list"),
    ("port: 9" + "9" * 5000, "server.port: expected a valid integer, got"),
    ("allowed_origins: https://a", 'server.allowed_origins: expected a list, got "https://a"'),
    ("allowed_origins: null", "server.allowed_origins: expected a list, got null"),
    ("allowed_origins: {a: b}", "server.allowed_origins: expected a list"),
    ("allowed_origins: [5]", "server.allowed_origins[0]: expected a valid string, got 5"),
    *(
        (f"allowed_origins: [https://ok, '{origin}']", "server.allowed_origins[1]: expected an origin as")
        for origin in ("*", "a.org", "https://a:443", "http://a:80", "https://A", "a b")
    ),
    ("allowed_origins: ['https://a.org/']", "server.allowed_origins[0]: an origin has no path: leave out the slash"),
    ("max_connections: 0", "server.max_connections: expected greater than or equal to 1, got 0"),
    ("heartbeat: 0", "server.heartbeat: expected greater than 0, got 0"),
    ("heartbeat: 20 seconds", "server.heartbeat: expected a number, or a number with one of ms, s, m, h, d"),
    ("heartbeat: 10GiB", "server.heartbeat: expected a number, or a number with one of ms, s, m, h, d"),
    ("heartbeat: -1s", "server.heartbeat: expected a number"),
    ("shutdown_timeout: 0s", "server.shutdown_timeout: expected greater than 0"),
    ("tls: true", "server.tls: expected keys and values, got true"),
    ("tls: {certificate: config.yaml}", "server.tls.key: is missing"),
    ("tls: {certificate: config.yaml, key: config.yaml, ca: x}", "server.tls.ca: unknown key"),
    ("tls: {certificate: no.pem, key: config.yaml}", "server.tls.certificate: there is no file no.pem"),
    ("tls: {certificate: 5, key: config.yaml}", "server.tls.certificate: expected a path, got 5"),
]  # fmt: skip
LOGGING = [
    (
        "level: loud",
        "logging.level: expected 'debug', 'info', 'warning', 'error' or 'critical', got \"loud\"",
    ),
    ("level: INFO", "logging.level: expected 'debug'"),
    ("format: no", "logging.format: expected 'auto', 'console' or 'json', got \"no\""),
    ("format: null", "logging.format: expected 'auto', 'console' or 'json', got null"),
]


@pytest.mark.parametrize(
    ("section", "setting", "complaint"),
    [("server", *each) for each in SERVER] + [("logging", *each) for each in LOGGING],
)
def test_a_value_that_cannot_be_is_refused_with_its_place(
    tmp_path: Path, section: str, setting: str, complaint: str
) -> None:
    """No type is converted and no value is mended; file, line and path say where it stands."""
    (found,) = complaints(tmp_path, f"# a comment\n{section}:\n\n  {setting}\n")
    assert found.startswith(f"config.yaml:4: {complaint}")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[server]\n", "config.yaml:1: expected keys and values, got a list"),
        ("\nserver\n", 'config.yaml:1: expected keys and values, got "server"'),
        ("\nserver:\n", "config.yaml:2: server: expected keys and values, got null"),
        ("handlers: [a]\n", "config.yaml:1: handlers: expected keys and values, got a list"),
        ("handlers:\n  a: 5\n", "config.yaml:2: handlers.a: expected keys and values, got 5"),
        ("servre: {}\n", "config.yaml:1: servre: unknown key; did you mean server?"),
        ("server:\n  port: 1\n  port: 1\n", "config.yaml:3: server.port: duplicate key, first in line 2"),
        ("server:\n  port: 1\nserver: {}\n", "config.yaml:3: server: duplicate key, first in line 1"),
        ("server:\n  port: [\n", "config.yaml:3: is not YAML: expected the node content"),
        ("1: {}\n", "config.yaml:1: a key must be text"),
    ],
)  # fmt: skip
def test_a_tree_of_another_shape_is_refused_with_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    """Sections are mappings with known keys, each once."""
    (found,) = complaints(tmp_path, text)
    assert found.startswith(complaint)


@pytest.mark.parametrize(
    "name", ["Echo", "2echo", "_echo", "echo_", "ec__ho", "ec-ho", "ec.ho", "é", "'echo '", '"echo\\n"', "''"]
)
def test_a_handlers_name_can_be_said_in_an_environment_variable(tmp_path: Path, name: str) -> None:
    """Any other is refused where it stands."""
    (found,) = complaints(tmp_path, f"handlers:\n  {name}: {{{ECHO}}}\n")
    assert found.startswith("config.yaml:2: handlers.")
    assert found.endswith("a handler's name is of small letters, digits and single '_', as in upload_2")


def test_the_services_own_name_is_no_handlers(tmp_path: Path) -> None:
    """`/assets/app` is the service's: a handler called `app` would have its page there."""
    found = complaints(tmp_path, f"handlers:\n  app: {{{ECHO}}}\n")
    assert found == ["config.yaml:2: handlers.app: app is the service's own name"]


@pytest.mark.parametrize(
    "path", ["''", "/", "//", "echo", "/echo/", "//echo", "/a//b", "/{token}", "/a b", "/é", "/a/../b",
             "/./a", "/a?b", "/a%20b", "'/a#b'", '"/a\\n"', "http://a/b", "/.."],
)  # fmt: skip
def test_a_path_that_no_router_should_see_is_refused(tmp_path: Path, path: str) -> None:
    """A path begins with a slash, ends without one, and has no pattern and nothing to escape."""
    text = f"handlers:\n  echo:\n    use: tests.support.plugs:Echo\n    path: {path}\n"
    (found,) = complaints(tmp_path, text)
    assert found.startswith("config.yaml:4: handlers.echo.path: expected a path as in /upload")


@pytest.mark.parametrize("path", ["/index", "/healthz", "/readyz", "/metrics", "/assets", "/assets/x", "/index/a"])
def test_the_services_own_paths_are_not_given_away(tmp_path: Path, path: str) -> None:
    """Nor anything below them."""
    (found,) = complaints(tmp_path, f"handlers: {{echo: {{use: 'tests.support.plugs:Echo', path: {path}}}}}\n")
    assert f"handlers.echo.path: /{path.split('/')[1]} is the service's own" in found


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [("/a", "/a", True), ("/a", "/a/b", True), ("/a/b/c", "/a", True), ("/a", "/ab", False),
     ("/a/b", "/a/c", False)],
)  # fmt: skip
def test_a_handler_has_its_path_and_all_below_it_for_itself(
    tmp_path: Path, first: str, second: str, clash: bool
) -> None:
    """Two on one path, or one below another, would take each other's requests; the second is to blame."""
    plain = "use: tests.support.plugs:Plain"
    text = f"handlers:\n  a: {{{plain}, path: {first}}}\n  b: {{{plain}, path: {second}}}\n"
    if not clash:
        assert list(load(tmp_path, text).handlers) == ["a", "b"]
        return
    (found,) = complaints(tmp_path, text)
    assert found.startswith(f"config.yaml:3: handlers.b.path: clashes with {first} of handlers.a")


# long: one configuration with a problem of every kind in it, and what is said of each
def test_every_problem_is_reported_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    """Nobody mends a configuration one error at a time; a handler's options are part of it."""
    text = """\
server:
  port: 70000
  prot: 1
  heartbeat: 0
  port: 1
logging: {level: loud}
extra: 1
handlers:
  echo:
    use: tests.support.plugs:Echo
    path: /echo/
    times: 0
    window: 0
    limit: 5 apples
    manner: odd
    loud: yes
    greetings:
      a: 1
    nothing: 1
  demanding:
    use: tests.support.plugs:Demanding
    path: /demanding
  lost: {use: "nowhere:Nobody", path: lost}
  empty: {}
"""
    expected = [
        "config.yaml:2: server.port: expected less than or equal to 65535",
        "config.yaml:3: server.prot: unknown key; did you mean port?",
        "config.yaml:4: server.heartbeat: expected greater than 0",
        "config.yaml:5: server.port: duplicate key, first in line 2",
        "config.yaml:6: logging.level: expected 'debug'",
        "config.yaml:7: extra: unknown key",
        "config.yaml:11: handlers.echo.path: expected a path as in /upload",
        "config.yaml:12: handlers.echo.times: expected greater than or equal to 1",
        "config.yaml:13: handlers.echo.window: expected greater than 0",
        "config.yaml:14: handlers.echo.limit: expected a number, or a number with one of B, KiB",
        "config.yaml:15: handlers.echo.manner: expected 'kind' or 'rude'",
        'config.yaml:16: handlers.echo.loud: expected a valid boolean, got "yes"',
        "config.yaml:18: handlers.echo.greetings.a: expected a valid string",
        "config.yaml:19: handlers.echo.nothing: unknown key",
        "config.yaml:20: handlers.demanding.secret: is missing",
        "config.yaml:23: handlers.lost.path: expected a path as in /upload",
        "config.yaml:23: handlers.lost.use: there is no module nowhere",
        "config.yaml:24: handlers.empty.path: is missing",
        "config.yaml:24: handlers.empty.use: is missing",
    ]  # fmt: skip
    found = complaints(tmp_path, text)
    assert [line.split(": ")[0] for line in found] == [line.split(": ")[0] for line in expected]
    for line, start in zip(sorted(found), sorted(expected), strict=True):
        assert line.startswith(start)


def test_a_value_given_to_two_sections_is_wrong_where_it_is_written(tmp_path: Path) -> None:
    """What an alias repeats stands in the line that has it."""
    use = "use: tests.support.plugs:Echo"
    first = f"a: {{{use}, path: /a, greetings: &g {{x: 1}}}}"
    text = f"handlers:\n  {first}\n  b: {{{use}, path: /b, greetings: *g}}\n"
    lines = [line.split(": expected")[0] for line in complaints(tmp_path, text)]
    assert lines == ["config.yaml:2: handlers.a.greetings.x", "config.yaml:2: handlers.b.greetings.x"]


def test_a_directory_belongs_to_one_handler(tmp_path: Path) -> None:
    """Two handlers with the same one, however it is written, cannot both have it; `check` says so."""
    use = "use: tests.support.plugs:Echo"
    text = f"handlers:\n  a: {{{use}, path: /a, directory: in}}\n  b: {{{use}, path: /b, directory: ./x/../in/}}\n"
    (found,) = complaints(tmp_path, text)
    assert found == "config.yaml:3: handlers.b.directory: x/../in is the directory of handlers.a already"


def test_options_that_contradict_each_other_are_wrong_where_their_section_is(tmp_path: Path) -> None:
    """What a handler's own validator says is reported with the rest."""
    text = "handlers:\n  b:\n    use: tests.support.plugs:Between\n    path: /b\n    least: 2KiB\n"
    assert complaints(tmp_path, text) == ["config.yaml:2: handlers.b: least is more than most"]
