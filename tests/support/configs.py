"""Configurations for tests: written to a file, loaded, or complained about."""

import sys
from pathlib import Path
from unittest import mock

import pytest

from jackfield.app import config

ECHO = "use: tests.support.plugs:Echo, path: /echo"


def load(folder: Path, text: str, **environ: str) -> config.Settings:
    """Load a configuration file with this text in this folder, which leaves the import path as it was."""
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8")
    with mock.patch.object(sys, "path", sys.path[:]):
        return config.load(file, environ)


def complaints(folder: Path, text: str, **environ: str) -> list[str]:
    """What is said about it, a line a problem, without the folder's name."""
    with pytest.raises(config.ConfigError) as caught:
        load(folder, text, **environ)
    return str(caught.value).replace(f"{folder}/", "").splitlines()
