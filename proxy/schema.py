"""The settings as a JSON schema, for editors: types and defaults from the types, descriptions from their docstrings.

`proxy.settings` is the manual: the string below each key, which Python itself does not keep, is read from the source.
"""

from __future__ import annotations

import ast
import inspect
from typing import Any

import msgspec

from proxy import settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of a settings file. It says less than `ProxySettings.check`: types, not sense."""
    schema = msgspec.json.schema(settings.ProxySettings)
    tables: dict[str, Any] = schema["$defs"]
    docstrings = _docstrings()
    for name, table in tables.items():
        _describe(table, docstrings[name])
    # The outermost table stands at the top: editors that do not follow a reference from there show nothing at all.
    return {"$schema": DIALECT, **tables.pop("ProxySettings"), "title": "sidedoor proxy", "$defs": tables}


def _describe(table: dict[str, Any], docstrings: dict[str, str]) -> None:
    table["description"] = docstrings[""]
    if not table["required"]:
        del table["required"]
    for key, schema in table["properties"].items():
        # TOML has no null: a table that may be left out is left out.
        if {"type": "null"} in schema.get("anyOf", ()):
            [schema_of_table] = [one for one in schema.pop("anyOf") if one != {"type": "null"}]
            del schema["default"]
            schema.update(schema_of_table)
        table["properties"][key] = {"description": docstrings[key], **schema}


def _docstrings() -> dict[str, dict[str, str]]:
    """Class of `proxy.settings` -> key -> the string below it; the key "" is the first paragraph of the class's own.

    A string below a class's attribute is what PEP 258 calls an attribute docstring.
    """
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(settings)).body:
        if isinstance(node, ast.ClassDef):
            own = ast.get_docstring(node) or ""
            found[node.name] = {"": _one_line(own.partition("\n\n")[0]), **_attribute_docstrings(node)}
    return found


def _attribute_docstrings(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for above, below in zip(node.body, node.body[1:], strict=False):
        match above, below:
            case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                found[key] = _one_line(text)
            case _:
                pass
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split())
