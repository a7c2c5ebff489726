"""config.yaml and the environment become one frozen, validated tree, or one list of all that is wrong."""

import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.json_schema import models_json_schema

from jackfield.app import registry
from jackfield.app.config import environment, problems, yamlfile
from jackfield.app.config.problems import ConfigError, Place, Places, Problem
from jackfield.app.config.settings import (
    HandlerPath,
    HandlerSettings,
    LoggingSettings,
    ServerSettings,
    Settings,
    TlsSettings,
)
from jackfield.app.handler import Handler
from jackfield.app.options import directories

__all__ = [
    "ConfigError", "HandlerSettings", "LoggingSettings", "Problem", "ServerSettings", "Settings",
    "TlsSettings", "build", "load", "render", "schema",
]  # fmt: skip

HANDLER_NAME = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$"
"""What an environment variable can say too: in upper case, with `__` left to part the keys."""

OWN_NAME = "app"  # where a handler's name stands, as in /assets/<name>, this is the service's

_Model = TypeVar("_Model", bound=BaseModel)


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read a configuration file and lay the environment's settings over it. Raises ConfigError.

    The file's folder becomes importable, and relative paths are relative to it.
    """
    folder = path.absolute().parent
    tree, places, wrong = yamlfile.read(_text(path), str(path))
    if wrong and tree is None:
        raise ConfigError(wrong)
    if tree is None:  # an empty file: everything at its default, and no handlers
        tree = {}
    if isinstance(tree, dict):
        wrong += environment.override(tree, places, environ)
    registry.make_importable(folder)
    settings = _Builder(folder, places, wrong).settings(tree)
    return settings.model_copy(update={"ignored": environment.ignored(environ, tree)})


def build(tree: Mapping[str, Any], folder: Path) -> Settings:
    """The same from a mapping, without a file and without the environment. Raises ConfigError."""
    return _Builder(folder.absolute(), Places(), []).settings(tree)


def render(settings: Settings) -> str:
    """The effective configuration as YAML; reading it gives the same settings."""
    tree = settings.model_dump(mode="json", include={"server", "logging"})
    tree["handlers"] = {
        name: {"use": handler.use, "path": handler.path, **handler.options.model_dump(mode="json")}
        for name, handler in settings.handlers.items()
    }
    return yamlfile.write(tree)


def schema(settings: Settings) -> dict[str, Any]:
    """The JSON Schema (2020-12) of the configuration, with the options of the handlers it names."""
    sections = {
        name: create_model(
            name,
            __base__=handler.factory.Options,
            use=(str, Field(json_schema_extra={"const": handler.use})),
            path=(HandlerPath, ...),
        )
        for name, handler in settings.handlers.items()
    }
    models: tuple[type[BaseModel], ...] = (ServerSettings, LoggingSettings, HandlerSection, *sections.values())
    refs, definitions = models_json_schema([(model, "validation") for model in models])
    handlers = {
        "type": "object",
        "propertyNames": {"pattern": HANDLER_NAME},
        "properties": {name: refs[model, "validation"] for name, model in sections.items()},
        "additionalProperties": refs[HandlerSection, "validation"],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of Jackfield",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "server": refs[ServerSettings, "validation"],
            "logging": refs[LoggingSettings, "validation"],
            "handlers": handlers,
        },
        **definitions,
    }


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([Problem(f"cannot be read: {error.strerror}", (), Place(str(path)))]) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem("is not UTF-8", (), Place(str(path), line))]) from None


class HandlerSection(BaseModel):
    """What the service reads in every handler's section; the rest are the handler's own options."""

    model_config = ConfigDict(strict=True)

    use: str
    path: HandlerPath


class _Builder:
    """Validates a tree part by part, so that one problem never hides another."""

    def __init__(self, folder: Path, places: Places, wrong: list[Problem]) -> None:
        self.context = {"folder": folder}
        self.places = places
        self.problems = wrong

    def settings(self, tree: Any) -> Settings:
        """The whole tree; raises ConfigError when anything was wrong."""
        parts = self._mapping(tree, ()) or {}
        for key in parts.keys() - environment.SECTIONS:
            self._wrong((key,), problems.unknown(str(key), environment.SECTIONS))
        server = self._section(ServerSettings, parts.get("server", {}), ("server",))
        logging = self._section(LoggingSettings, parts.get("logging", {}), ("logging",))
        handlers = self._handlers(self._mapping(parts.get("handlers", {}), ("handlers",)) or {})
        if self.problems or not server or not logging:
            raise ConfigError(self.problems)
        return Settings(server=server, logging=logging, handlers=handlers)

    def _handlers(self, values: Mapping[Any, Any]) -> dict[str, HandlerSettings]:
        found = ((name, self._mapping(value, ("handlers", name))) for name, value in values.items())
        sections = {name: section for name, section in found if section is not None}
        self._check_paths(sections)
        handlers = [self._handler(name, section) for name, section in sections.items()]
        found_handlers = {handler.name: handler for handler in handlers if handler}
        self._check_directories(found_handlers)
        return found_handlers

    def _handler(self, name: Any, section: Mapping[Any, Any]) -> HandlerSettings | None:
        at = ("handlers", name)
        if not re.fullmatch(HANDLER_NAME, str(name)):
            self._wrong(at, "a handler's name is of small letters, digits and single '_', as in upload_2")
        if name == OWN_NAME:
            self._wrong(at, f"{name} is the service's own name")
        own = self._section(HandlerSection, {key: section[key] for key in section if key in registry.RESERVED}, at)
        factory = self._resolve(section.get("use"), at)
        if factory is None:
            return None
        rest = {key: section[key] for key in section if key not in registry.RESERVED}
        options = self._section(factory.Options, rest, at)
        if own is None or options is None:
            return None
        return HandlerSettings(name=name, use=own.use, path=own.path, factory=factory, options=options)

    def _resolve(self, use: Any, at: problems.KeyPath) -> type[Handler] | None:
        if not isinstance(use, str):
            return None
        try:
            factory = registry.resolve(use)
            registry.check_place(use, self.context["folder"])
        except registry.RegistryError as error:
            self._wrong((*at, "use"), str(error))
            return None
        return factory

    def _check_paths(self, sections: Mapping[Any, Mapping[Any, Any]]) -> None:
        """A handler has all that is below its path, so no other may stand there."""
        paths = [(name, str(section.get("path", ""))) for name, section in sections.items()]
        for (first, taken), (second, path) in itertools.combinations(paths, 2):
            shorter, longer = sorted((taken, path), key=len)
            if re.match("/[^/]", shorter) and f"{longer}/".startswith(f"{shorter}/"):
                self._wrong(
                    ("handlers", second, "path"),
                    f"clashes with {taken} of handlers.{first}: a handler has all that is below its path",
                )

    def _check_directories(self, handlers: Mapping[str, HandlerSettings]) -> None:
        """A directory belongs to one handler."""
        owners: dict[Path, str] = {}
        for handler in handlers.values():
            for key, path in directories(handler.options):
                owner = owners.setdefault(path.resolve(), handler.name)
                if owner != handler.name:
                    self._wrong(("handlers", handler.name, key), f"{path} is the directory of handlers.{owner} already")

    def _section(self, model: type[_Model], value: Any, at: problems.KeyPath) -> _Model | None:
        try:
            return model.model_validate(value, context=self.context)
        except ValidationError as error:
            for path, message in problems.from_validation(error, model, at):
                self._wrong(path, message)
            return None

    def _mapping(self, value: Any, at: problems.KeyPath) -> Mapping[Any, Any] | None:
        if isinstance(value, Mapping):
            return value
        self._wrong(at, f"expected keys and values, got {problems.kind(value)}")
        return None

    def _wrong(self, path: problems.KeyPath, message: str) -> None:
        self.problems.append(Problem(message, path, self.places.of(path)))
