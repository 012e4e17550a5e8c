"""The JSON schema says of a settings file what msgspec says of it, and describes every key; the example has all."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

import proxy.settings
from proxy.schema import json_schema
from proxy.settings import ProxySettings
from sidedoor.settings import SettingsError, convert

EXAMPLE = Path(proxy.settings.__file__).parent / "deploy/proxy.toml"
TABLES = [one for one in vars(proxy.settings).values() if isinstance(one, type) and issubclass(one, msgspec.Struct)]

# A line of the example that is a setting, though not in force.
NOT_IN_FORCE = re.compile(r'^(\s*)#(?=[a-z\["{])', re.MULTILINE)


def is_valid(document: Any) -> bool:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return bool(jsonschema.Draft202012Validator(schema).is_valid(document))


def example(*, everything: bool) -> Any:
    text = EXAMPLE.read_text(encoding="utf-8")
    return tomllib.loads(NOT_IN_FORCE.sub(r"\1", text) if everything else text)


def keys(document: Any) -> set[str]:
    """Every key anywhere in `document`."""
    if isinstance(document, list):
        return set().union(*map(keys, document))
    return set(document).union(*map(keys, document.values())) if isinstance(document, dict) else set()


@pytest.mark.parametrize("everything", [False, True])
def test_the_example_is_valid(everything: bool) -> None:
    document = example(everything=everything)
    assert is_valid(document)
    convert(document, ProxySettings).check()


def test_the_example_has_every_key() -> None:
    assert {key for table in TABLES for key in table.__struct_fields__} - keys(example(everything=True)) == set()


def test_the_defaults_are_valid() -> None:
    assert is_valid({})
    document = msgspec.json.decode(msgspec.json.encode(ProxySettings()))
    assert is_valid({key: value for key, value in document.items() if value is not None})


@pytest.mark.parametrize(
    "document",
    [
        {"listen": ["127.0.0.1:1080", {"address": "127.0.0.1:1443", "certificate": "c.pem", "key": "k.pem"}]},
        {"users": {"anna": "secret", "bert": {"password": "secret", "max_flows": 3}}},
        {"rules": [{"action": "deny", "ports": [25, "8000-8999"]}]},
        {"admin": {"listen": "unix:/run/sidedoor/admin.sock"}},
        {"idle_seconds": 5},
    ],
)
def test_what_is_right_to_the_schema_and_to_the_types(document: Any) -> None:
    assert is_valid(document)
    convert(document, ProxySettings)


@pytest.mark.parametrize(
    "document",
    [
        {"listen": [1]},
        {"listen": "127.0.0.1:1080"},
        {"listen": [{"certificate": "c.pem"}]},
        {"users": {"anna": 5}},
        {"users": {"anna": {"pasword": "secret"}}},
        {"users": {"anna": {"max_flows": 3}}},
        {"rules": [{"action": "alow"}]},
        {"rules": [{"name": "no action"}]},
        {"rules": [{"action": "deny", "port": [25]}]},
        {"rules": [{"action": "deny", "ports": [2.5]}]},
        {"protocols": ["socks6"]},
        {"udp": 3},
        {"admin": {}},
        {"admin": None, "lisen": []},
        {"idle_seconds": "5"},
        {"workers": 1.5},
        {"upstreams": {"far": "socks5://far.example:1080"}},
    ],
)
def test_what_is_wrong_to_the_schema_and_to_the_types(document: Any) -> None:
    assert not is_valid(document)
    with pytest.raises(SettingsError):
        convert(document, ProxySettings)


@pytest.mark.parametrize("table", TABLES)
def test_every_key_has_a_description_and_every_optional_one_its_default(table: type[msgspec.Struct]) -> None:
    schema = json_schema()
    described = schema if table is ProxySettings else schema["$defs"][table.__name__]
    assert described["description"]
    for key in table.__struct_fields__:
        assert described["properties"][key]["description"].endswith((".", ")")), key
    without = {key for key in table.__struct_fields__ if "default" not in described["properties"][key]}
    assert without - {"admin"} == set(described.get("required", ()))


def test_descriptions_are_the_docstrings_on_one_line() -> None:
    properties = json_schema()["properties"]
    assert properties["handshake_seconds"]["description"] == "From accept to the complete request."
    assert "special addresses." in properties["inside"]["description"]
    assert "\n" not in properties["inside"]["description"]


def test_passwords_are_marked_as_such() -> None:
    tables = json_schema()["$defs"]
    assert tables["User"]["properties"]["password"]["format"] == "password"
    assert tables["Upstream"]["properties"]["password"]["format"] == "password"


def test_an_editor_finds_its_dialect_and_the_top_table() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["type"] == "object"
    assert schema["title"]
