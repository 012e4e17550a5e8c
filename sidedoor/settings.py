"""Settings: TOML text to a frozen, validated msgspec type, and mistakes that say where they are.

A settings type is a `msgspec.Struct` with `frozen=True, forbid_unknown_fields=True`. It is read once, at the edge
(a command, a role), and passed on as a value. Command line over file over default.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import msgspec

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


_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`(?: - at `(?P<path>[^`]*)`)?")
_AT = re.compile(r"^(?P<what>.*) - at `(?P<path>[^`]*)`$")


def _explain(message: str, data: Any, type_: Any) -> str:
    """msgspec's message with the key in front, and for an unknown key the nearest right one."""
    if match := _UNKNOWN.fullmatch(message):
        key, steps = match["key"], _steps(match["path"] or "$")
        known = _fields_at(type_, steps)
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(sorted(known)) or 'nothing'}"
        return f"key `{_dotted([*steps, key])}` is unknown; {hint}"
    if match := _AT.fullmatch(message):
        steps = _steps(match["path"])
        found = _value_at(data, steps)
        return f"key `{_dotted(steps)}`: {match['what']}; found {found!r}"
    return message


def _steps(path: str) -> list[str]:
    """msgspec's path `$.rules[0].name` as steps: `rules`, `[0]`, `name` (`[...]`: any item, position unknown)."""
    return re.findall(r"\[[^\]]*\]|[^.$\[\]]+", path)


def _dotted(steps: list[str]) -> str:
    dotted = ""
    for step in steps:
        dotted += step if step.startswith("[") or not dotted else f".{step}"
    return dotted


def _value_at(data: Any, steps: list[str]) -> Any:
    for step in steps:
        try:
            data = data[int(step[1:-1])] if step.startswith("[") else data[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return data
    return data


def _fields_at(type_: Any, steps: list[str]) -> list[str]:
    """The field names of the struct that `steps` lead to from `type_`; empty where they lead to none."""
    candidates = [type_]
    for step in [*steps, ""]:
        candidates = [inner for candidate in candidates for inner in _flatten(candidate, into_items=False)]
        if not step:
            break
        if step.startswith("["):
            candidates = [inner for candidate in candidates for inner in _flatten(candidate, into_items=True)]
            continue
        candidates = [
            field.type
            for candidate in candidates
            if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct)
            for field in msgspec.structs.fields(candidate)
            if field.encode_name == step
        ]
    return [
        field.encode_name
        for candidate in candidates
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct)
        for field in msgspec.structs.fields(candidate)
    ]


def _flatten(type_: Any, *, into_items: bool) -> list[Any]:
    """A union's members (a container's item types when `into_items`), else the type itself."""
    origin, arguments = get_origin(type_), get_args(type_)
    if origin in (list, tuple, dict, set, frozenset):
        return [a for a in arguments if a is not Ellipsis] if into_items else [type_]
    if arguments:
        return [inner for a in arguments for inner in _flatten(a, into_items=into_items)]
    return [type_]
