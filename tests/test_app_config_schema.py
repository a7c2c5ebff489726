"""The JSON Schema of the configuration: what an editor accepts is what the service could load."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jackfield.app import config
from jackfield.app.config import yamlfile
from tests.support.configs import ECHO, load

TEXT = f"handlers:\n  echo: {{{ECHO}}}\n  demanding: {{use: tests.support.plugs:Demanding, path: /d, secret: x}}\n"
TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
}


def valid(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether a value fits a schema, for the words of JSON Schema that ours use; any other is an error."""
    words: dict[str, Callable[[Any], bool]] = {
        "$ref": lambda ref: valid(value, root["$defs"][ref.removeprefix("#/$defs/")], root),
        "anyOf": lambda schemas: any(valid(value, each, root) for each in schemas),
        "type": lambda name: TYPES[name](value),
        "const": lambda constant: bool(value == constant),
        "enum": lambda values: value in values,
        "pattern": lambda pattern: not isinstance(value, str) or re.search(pattern, value) is not None,
        "minLength": lambda length: not isinstance(value, str) or len(value) >= length,
        "minimum": lambda bound: not TYPES["number"](value) or value >= bound,
        "exclusiveMinimum": lambda bound: not TYPES["number"](value) or value > bound,
        "maximum": lambda bound: not TYPES["number"](value) or value <= bound,
        "items": lambda inner: not isinstance(value, list) or all(valid(each, inner, root) for each in value),
        "required": lambda names: not isinstance(value, dict) or value.keys() >= set(names),
        "propertyNames": lambda inner: all(valid(key, inner, root) for key in value),
        "properties": lambda inner: (
            not isinstance(value, dict)
            or all(valid(value[key], inner[key], root) for key in value.keys() & inner.keys())
        ),
        "additionalProperties": lambda inner: (
            not isinstance(value, dict)
            or all(
                valid(value[key], inner, root) if isinstance(inner, dict) else inner
                for key in value.keys() - schema.get("properties", {}).keys()
            )
        ),
    }
    notes = {"title", "description", "default", "$schema", "$defs"}
    return all(words[word](said) for word, said in schema.items() if word not in notes)


def accepts(folder: Path, text: str) -> bool:
    """Whether the schema of the configuration above accepts this one."""
    schema = config.schema(load(folder, TEXT))
    value, _, problems = yamlfile.read(text, "")
    assert problems == []
    return valid(value, schema, schema)


def test_the_schema_is_json_and_says_which_it_is(tmp_path: Path) -> None:
    """It can be printed, and it names its dialect."""
    schema = config.schema(load(tmp_path, TEXT))
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schema_has_the_options_of_the_handlers_that_are_named(tmp_path: Path) -> None:
    """An editor knows them, their defaults, and that `use` and `path` must be given."""
    schema = config.schema(load(tmp_path, TEXT))
    echo = schema["$defs"]["echo"]
    assert set(echo["properties"]) == {
        "use", "path", "prefix", "loud", "times", "delay", "limit", "window", "directory", "manner", "greetings",
    }  # fmt: skip
    assert echo["required"] == ["use", "path"]
    assert echo["properties"]["manner"]["default"] == "kind"
    assert set(schema["$defs"]["demanding"]["required"]) == {"use", "path", "secret"}
    assert "demanding" not in config.schema(load(tmp_path, ""))["$defs"]


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        TEXT,
        "server: {port: 0, host: '::1', heartbeat: 30s, shutdown_timeout: 0.5, tls: {certificate: a, key: b}}",
        "server: {allowed_origins: [https://a.example, 'http://[::1]:3000', 'null'], tls: null}",
        f"handlers: {{echo: {{{ECHO}, limit: 10GiB, window: 1 KiB, delay: 250ms, directory: a, greetings: {{a: b}}}}}}",
        f"handlers: {{echo: {{{ECHO}, limit: null, window: 4096, delay: 0.5}}}}",
        "handlers: {another: {use: 'some.where:Else', path: /else, whatever: 1}}",
    ],
)
def test_the_schema_accepts_what_the_service_would_load(tmp_path: Path, text: str) -> None:
    """Numbers and units, nulls and sections; a handler that it does not know yet may have any options."""
    assert accepts(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "servre: {}",
        "server: {prot: 1}",
        "server: {port: 70000}",
        "server: {port: '8080'}",
        "server: {port: 8080.5}",
        "server: {heartbeat: 30 seconds}",
        "server: {heartbeat: '30'}",
        "server: {heartbeat: -1}",
        "server: {host: http://a}",
        "server: {allowed_origins: ['*']}",
        "server: {tls: {certificate: a}}",
        "logging: {level: loud}",
        f"handlers: {{Echo: {{{ECHO}}}}}",
        f"handlers: {{echo: {{{ECHO}, limit: 10GB}}}}",
        f"handlers: {{echo: {{{ECHO}, limit: 1.5}}}}",
        f"handlers: {{echo: {{{ECHO}, directory: ''}}}}",
        f"handlers: {{echo: {{{ECHO}, nothing: 1}}}}",
        "handlers: {echo: {use: tests.support.plugs:Plain, path: /echo}}",
        "handlers: {echo: {use: tests.support.plugs:Echo, path: /echo/}}",
        "handlers: {echo: {path: /echo}}",
        "handlers: {another: {use: some.where:Else}}",
    ],
)
def test_the_schema_refuses_what_an_editor_should_underline(tmp_path: Path, text: str) -> None:
    """Unknown keys, wrong types, wrong units, and another class than the one whose options it has."""
    assert not accepts(tmp_path, text)


def test_the_effective_configuration_fits_its_own_schema(tmp_path: Path) -> None:
    """`jackfield check` prints what `jackfield schema` describes."""
    settings = load(tmp_path, TEXT)
    assert accepts(tmp_path, config.render(settings))


def test_the_projects_configuration_fits_its_schema() -> None:
    """The file that comes with the project, with the real handlers' options."""
    file = Path(__file__).parent.parent / "config.yaml"
    schema = config.schema(config.load(file, {}))
    assert valid(yamlfile.read(file.read_text(encoding="utf-8"), "")[0], schema, schema)
