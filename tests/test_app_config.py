"""The configuration: what the file leaves out, what it says, and what the service gets."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jackfield.app import config
from jackfield.app.config import yamlfile
from jackfield.app.config.settings import LoggingSettings, ServerSettings, Settings
from tests.support import plugs
from tests.support.configs import ECHO, load

PROJECT = Path(__file__).parent.parent


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}\n", "handlers: {}\n", "server: {}\nlogging: {}\n"])
def test_what_the_file_leaves_out_has_its_default(tmp_path: Path, text: str) -> None:
    """An empty file is a configuration: the defaults, and no handlers."""
    assert load(tmp_path, text) == Settings() == config.build({}, tmp_path)


def test_a_file_becomes_one_tree(tmp_path: Path) -> None:
    """Each value has the type that the service works with, and each handler its class and its own options."""
    (tmp_path / "c.pem").touch()
    (tmp_path / "k.pem").touch()
    settings = load(
        tmp_path,
        """\
        server:
          host: 0.0.0.0
          port: 0
          allowed_origins: [https://example.org, 'http://[::1]:3000', "null"]
          max_connections: 7
          heartbeat: 1m
          shutdown_timeout: 250ms
          tls: {certificate: c.pem, key: k.pem}
        logging:
          level: debug
          format: json
        handlers:
          echo:
            use: tests.support.plugs:Echo
            path: /a/b-c
            limit: 1KiB
            directory: in
            greetings: {morning: hello}
          plain_2: {use: "tests.support.plugs:Plain", path: /plain}
        """,
    )
    assert settings.server == ServerSettings(
        host="0.0.0.0", port=0, max_connections=7, heartbeat=60.0, shutdown_timeout=0.25,
        allowed_origins=("https://example.org", "http://[::1]:3000", "null"),
        tls=config.TlsSettings(certificate=tmp_path / "c.pem", key=tmp_path / "k.pem"),
    )  # fmt: skip
    assert settings.logging == LoggingSettings(level="debug", format="json")
    assert list(settings.handlers) == ["echo", "plain_2"]
    echo = settings.handlers["echo"]
    assert (echo.name, echo.use, echo.path) == ("echo", "tests.support.plugs:Echo", "/a/b-c")
    assert echo.factory is plugs.Echo
    assert echo.options == plugs.Echo.Options(limit=1024, directory=tmp_path / "in", greetings={"morning": "hello"})
    assert settings.handlers["plain_2"].options == plugs.Plain.Options()


def test_a_relative_folder_of_the_file_makes_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path in the settings means the same wherever the process goes later."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "config.yaml").write_text(f"handlers: {{echo: {{{ECHO}}}}}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    settings = config.load(Path("sub/config.yaml"), {})
    assert settings.handlers["echo"].options.directory == tmp_path / "sub/var/echo"  # type: ignore[attr-defined]


def test_a_handler_beside_the_file_is_found(tmp_path: Path) -> None:
    """The folder of the configuration is importable: a handler needs no package."""
    text = "from tests.support.plugs import Plain\n\n\nclass Mine(Plain): ...\n"
    (tmp_path / "beside_the_file.py").write_text(text, encoding="utf-8")
    settings = load(tmp_path, "handlers: {mine: {use: 'beside_the_file:Mine', path: /mine}}\n")
    assert settings.handlers["mine"].factory.__module__ == "beside_the_file"


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Some editors put one there."""
    assert load(tmp_path, "\ufeffserver: {port: 1}\n").server.port == 1


def test_settings_do_not_change(tmp_path: Path) -> None:
    """The tree is frozen: what was validated is what is served."""
    settings = load(tmp_path, "")
    with pytest.raises(ValueError, match="frozen"):
        settings.server.port = 1  # type: ignore[misc]


def test_a_mapping_is_as_good_as_a_file(tmp_path: Path) -> None:
    """`build` validates the same; its problems have a path and no place, and keys of any kind are met."""
    tree: dict[Any, Any] = {"server": {"port": "x"}, 5: 1, "handlers": {7: {}, "a": None}}
    with pytest.raises(config.ConfigError) as caught:
        config.build(tree, tmp_path)
    assert sorted(str(caught.value).splitlines()) == [
        "[5]: unknown key",
        "handlers.a: expected keys and values, got null",
        "handlers[7].path: is missing",
        "handlers[7].use: is missing",
        "handlers[7]: a handler's name is of small letters, digits and single '_', as in upload_2",
        'server.port: expected a valid integer, got "x"',
    ]


def test_the_effective_configuration_is_yaml_in_readable_units(tmp_path: Path) -> None:
    """Every setting is in it, whether it was written or not; paths are absolute."""
    settings = load(tmp_path, f"server: {{heartbeat: 90}}\nhandlers: {{echo: {{{ECHO}, limit: 65536}}}}\n")
    assert (
        config.render(settings)
        == f"""\
server:
  host: 127.0.0.1
  port: 8080
  unix_socket: null
  base_path: ''
  allowed_hosts: []
  allowed_origins: []
  trusted_proxies: []
  admin: null
  auth:
    tokens: null
    proxy_user: null
  limits:
    connections: 1000
    requests: 1000/s
  max_connections: 10000
  heartbeat: 90s
  shutdown_timeout: 10s
  body_timeout: 30s
  tls: null
logging:
  level: info
  format: auto
handlers:
  echo:
    use: tests.support.plugs:Echo
    path: /echo
    prefix: ''
    loud: false
    times: 1
    delay: 500ms
    limit: 64KiB
    window: 8MiB
    directory: {tmp_path}/var/echo
    manner: kind
    greetings: {{}}
"""
    )


@given(
    prefix=st.text(st.characters(exclude_categories=["Cs"])),
    greetings=st.dictionaries(st.text("abc: #'\"\n\x85"), st.sampled_from(["yes", "010", "1e3", "~", "", "a\tb"])),
    delay=st.floats(0.001, 1e6),
    window=st.integers(1, 2**50),
    origins=st.lists(st.sampled_from(["null", "https://a.example", "http://[::1]:1"])),
)
def test_the_effective_configuration_loads_as_itself(
    tmp_path_factory: pytest.TempPathFactory, origins: list[str], **options: Any
) -> None:
    """Whatever the values, nothing is lost between the settings and their YAML."""
    folder = tmp_path_factory.getbasetemp()
    section = {"use": "tests.support.plugs:Echo", "path": "/echo", **options}
    settings = config.build({"server": {"allowed_origins": origins}, "handlers": {"echo": section}}, folder)
    assert load(folder, config.render(settings)) == settings


def test_the_projects_configuration_has_every_setting_at_its_default_and_nothing_else() -> None:
    """config.yaml is the list of what there is to set: it cannot fall behind the models."""
    file = PROJECT / "config.yaml"
    settings = config.load(file, {})
    plugs_only = {name: {"use": each.use, "path": each.path} for name, each in settings.handlers.items()}
    assert settings == config.build({"handlers": plugs_only}, file.parent)
    written, _, _ = yamlfile.read(file.read_text(encoding="utf-8"), "config.yaml")
    rendered, _, _ = yamlfile.read(config.render(settings), "")
    assert [path for path, _ in leaves(written)] == [path for path, _ in leaves(rendered)]
    assert {each.use for each in settings.handlers.values()} == {"pingpong", "upload"}


def test_the_documentation_has_every_setting_with_its_default() -> None:
    """The tables of docs/configuration.md name what config.yaml has, in its order and with its values."""
    tree, _, _ = yamlfile.read((PROJECT / "config.yaml").read_text(encoding="utf-8"), "config.yaml")
    text = (PROJECT / "docs/configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_.]+)` \| `([^`]*)` \|", text, re.MULTILINE)
    ours = [(path, value) for path, value in leaves(tree) if not path.endswith((".use", ".path"))]
    assert [(path, yamlfile.read_value(default)) for path, default in rows] == ours


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted path and the value of every setting, in the order of the file."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
