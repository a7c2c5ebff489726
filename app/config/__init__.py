"""A file and the environment become one frozen, validated tree, or a list of all that is wrong."""

from jackfield.app.config.load import build, load, render, schema
from jackfield.app.config.problems import ConfigError, Problem
from jackfield.app.config.settings import HandlerSettings, LoggingSettings, ServerSettings, Settings, TlsSettings

__all__ = [
    "ConfigError", "HandlerSettings", "LoggingSettings", "Problem", "ServerSettings", "Settings",
    "TlsSettings", "build", "load", "render", "schema",
]  # fmt: skip
