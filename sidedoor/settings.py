"""Settings: TOML text to a frozen, validated msgspec type, and mistakes that say where they are.

A settings type is a `msgspec.Struct` with `frozen=True, forbid_unknown_fields=True`. It is read once, at the edge
(a command, a role), and passed on as a value. Command line over file over default.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T")


class UsageError(Exception):
    """Something the user asked for cannot be done as asked; the message is one line, the exit code 2."""


class SettingsError(UsageError):
    """A settings file that does not fit its type; the message names file, key, what was found and expected."""


def read(path: str | Path, type_: type[T]) -> T:
    """The TOML file at `path` as a `type_`. Raises SettingsError, with the path in its message."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    return parse(text, type_, origin=str(path))


def parse(text: str, type_: type[T], *, origin: str = "settings") -> T:
    """TOML `text` as a `type_`; `origin` stands in front of every error message. Raises SettingsError."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{origin}: not valid TOML: {error}") from error
    return convert(data, type_, origin=origin)


def convert(data: Any, type_: type[T], *, origin: str = "settings") -> T:
    """Plain `data` (dicts, lists, scalars) as a `type_`. Raises SettingsError."""
    try:
        return msgspec.convert(data, type_)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{origin}: {_explain(str(error), data, type_)}") from error


_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`")
_MISSING = re.compile(r"Object missing required field `(?P<key>[^`]*)`")
_NOT_ONE_OF = re.compile(r"Invalid (?:enum )?value (?P<value>.*)", re.DOTALL)
_TABLE_FOR_TABLES = re.compile(r"Expected `array[^`]*`, got `object`")
_TABLES_FOR_TABLE = re.compile(r"Expected `object[^`]*`, got `array`")


def _explain(message: str, data: Any, type_: Any) -> str:
    """msgspec's message with the key in front and, where it can be told, what would be right."""
    at = _AT.fullmatch(message)
    assert at is not None
    what, steps = at["what"], _steps(at["path"] or "$")
    found, expected = _value_at(data, steps), _types_at(inspect.type_info(type_), steps)
    if match := _UNKNOWN.fullmatch(what):
        known = [field.encode_name for one in expected if isinstance(one, inspect.StructType) for field in one.fields]
        hint = _nearest(match["key"], known) or f"known here: {', '.join(sorted(known)) or 'nothing'}"
        return f"{_key([*steps, match['key']], data)} is unknown; {hint}"
    if match := _MISSING.fullmatch(what):
        return f"{_key([*steps, match['key']], data)} is missing"
    if not steps:
        return what
    return f"{_key(steps, data)}: {_mistake(what, found, steps[-1], expected)}"


def _mistake(what: str, found: Any, key: str, expected: list[inspect.Type]) -> str:
    """What is wrong with the value `found`, of which msgspec says `what`."""
    if (match := _NOT_ONE_OF.fullmatch(what)) and (choices := _choices(expected)):
        near = _nearest(match["value"].strip("'"), choices)
        listed = f"expected one of {', '.join(choices)}; found {' '.join(match['value'].split())}"
        return f"{listed}; {near}" if near else listed
    if _TABLE_FOR_TABLES.fullmatch(what) and _structs(_items(expected)):
        return f"expected an array of tables, found one table; write [[{key}]], in double brackets"
    if _TABLES_FOR_TABLE.fullmatch(what) and _structs(expected):
        return f"expected one table, found an array; write [{key}], in single brackets"
    # A whole table is no help: its name, in front, says which one it is.
    return what if isinstance(found, dict) else f"{what}; found {found!r}"


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean `{near[0]}`?" if near else ""


def _steps(path: str) -> list[str]:
    """msgspec's path `$.rules[0].name` as steps: `rules`, `[0]`, `name` (`[...]`: any item, position unknown)."""
    return re.findall(r"\[[^\]]*\]|[^.$\[\]]+", path)


def _key(steps: list[str], data: Any) -> str:
    """``key `rule[0].action` (rule 'dns')``: the path, and the name of the last item on it that has one."""
    dotted, named = "", ""
    for position, step in enumerate(steps):
        dotted += step if step.startswith("[") or not dotted else f".{step}"
        item = _value_at(data, steps[: position + 1]) if step.startswith("[") and position else None
        if isinstance(item, dict) and isinstance(item.get("name"), str):
            named = f" ({steps[position - 1]} {item['name']!r})"
    return f"key `{dotted}`{named}"


def _value_at(data: Any, steps: list[str]) -> Any:
    for step in steps:
        try:
            data = data[int(step[1:-1])] if step.startswith("[") else data[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return data
    return data


def _types_at(type_: inspect.Type, steps: list[str]) -> list[inspect.Type]:
    """The types that `steps` lead to from `type_`, a union's members each; empty where they lead to none."""
    found = _members(type_)
    for step in steps:
        if step.startswith("["):
            found = _items(found)
            continue
        structs = _structs(found)
        fields = [field for one in structs for field in one.fields if field.encode_name == step]
        found = [member for field in fields for member in _members(field.type)]
        found += [inspect.LiteralType((one.tag,)) for one in structs if one.tag_field == step and one.tag is not None]
    return found


def _members(type_: inspect.Type) -> list[inspect.Type]:
    if isinstance(type_, inspect.Metadata):
        return _members(type_.type)
    return (
        [member for one in type_.types for member in _members(one)] if isinstance(type_, inspect.UnionType) else [type_]
    )


def _items(types: list[inspect.Type]) -> list[inspect.Type]:
    """What the containers among `types` hold."""
    found: list[inspect.Type] = []
    for one in types:
        if isinstance(one, inspect.CollectionType):
            found += _members(one.item_type)
        elif isinstance(one, inspect.DictType):
            found += _members(one.value_type)
    return found


def _structs(types: list[inspect.Type]) -> list[inspect.StructType]:
    return [one for one in types if isinstance(one, inspect.StructType)]


def _choices(types: list[inspect.Type]) -> list[str]:
    """The values that enumerations and literals among `types` allow, in the order in which an enumeration has them."""
    found: list[str] = []
    for one in types:
        if isinstance(one, inspect.EnumType):
            found += [str(member.value) for member in one.cls]
        elif isinstance(one, inspect.LiteralType):
            found += map(str, one.values)
    return found
