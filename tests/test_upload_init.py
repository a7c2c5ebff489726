"""`jackfield init`: what it writes is a configuration, and nothing is overwritten."""

import re
import stat
from pathlib import Path

from tests.support.configs import load
from tests.support.service import jackfield


def test_what_it_writes_can_be_served_with(tmp_path: Path) -> None:
    """The configuration is valid, has tokens, and is tighter than the defaults; the next steps are printed."""
    done = jackfield("init", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert stat.S_IMODE((tmp_path / "tokens.yaml").stat().st_mode) == 0o600
    made = jackfield("token", "new", "alice", "--file", "tokens.yaml", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    assert jackfield("check", folder=tmp_path).returncode == 0
    written = load(tmp_path, (tmp_path / "config.yaml").read_text(encoding="utf-8"))
    default = load(tmp_path, "handlers: {upload: {use: upload, path: /upload}}")
    assert written.server.auth.tokens == tmp_path / "tokens.yaml"
    assert written.server.limits.connections is not None
    assert default.server.limits.connections is not None
    assert written.server.limits.connections < default.server.limits.connections
    assert written.handlers["upload"].options != default.handlers["upload"].options


def test_what_is_commented_out_is_valid_too(tmp_path: Path) -> None:
    """Each line that one may want is a setting, once its files are there."""
    assert jackfield("init", folder=tmp_path).returncode == 0
    text = re.sub(r"^  # (\w+: )", r"  \1", (tmp_path / "config.yaml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for name in ("fullchain.pem", "privkey.pem"):
        (tmp_path / name).touch()
    server = load(tmp_path, text).server
    assert (server.base_path, server.allowed_hosts) == ("/files", ("files.example.org",))
    assert server.admin is not None
    assert server.tls is not None


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A second time it says so in one line; tokens that are there stay."""
    (tmp_path / "tokens.yaml").write_text("mine", encoding="utf-8")
    assert jackfield("init", folder=tmp_path).returncode == 0
    assert (tmp_path / "tokens.yaml").read_text(encoding="utf-8") == "mine"
    again = jackfield("init", folder=tmp_path)
    assert (again.returncode, again.stderr) == (1, "jackfield init: config.yaml: File exists\n")
