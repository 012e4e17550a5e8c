"""Settings: TOML text to a frozen, validated msgspec type, and mistakes that say where they are.

A settings type is a `msgspec.Struct` with `frozen=True, forbid_unknown_fields=True`. It is read once, at the edge
(a command, a role), and passed on as a value. Command line over file over default.

msgspec checks the types; `mistakes` says what is wrong.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from sidedoor.mistakes import explain, not_finite

T = TypeVar("T")

Secret = Annotated[str, msgspec.Meta(extra={"secret": True}, extra_json_schema={"format": "password"})]
"""A string that no error message shows: a password. In `str | SomeTable`, too."""


class UsageError(Exception):
    """Something the user asked for cannot be done as asked; the message is one line, the exit code 2."""


class SettingsError(UsageError):
    """A settings file that does not fit its type; the message names file, key, what was found and expected."""


def first_of(group: BaseExceptionGroup[UsageError]) -> UsageError:
    """The first mistake of those that tasks ended with."""
    inner = group.exceptions[0]
    return first_of(inner) if isinstance(inner, BaseExceptionGroup) else inner


def read(path: str | Path, type_: type[T]) -> T:
    """The TOML file at `path` as a `type_`. Raises SettingsError, with the path in its message."""
    return parse(read_text(path), type_, origin=str(path))


def read_text(path: str | Path) -> str:
    """What stands in the file at `path`. Raises SettingsError: it cannot be read, or is not UTF-8."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")  # with or without a byte order mark
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is not UTF-8 text (byte {error.start})") from error


def parse(text: str, type_: type[T], *, origin: str = "settings") -> T:
    """TOML `text` as a `type_`; `origin` stands in front of every error message. Raises SettingsError."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{origin}: not valid TOML: {error}") from error
    return convert(data, type_, origin=origin)


def convert(data: Any, type_: type[T], *, origin: str = "settings") -> T:
    """Plain `data` (dicts, lists, scalars) as a `type_`. Raises SettingsError, also for a number that is none: TOML has
    `nan` and `inf`, and no setting means them."""
    if (mistake := not_finite(data)) is not None:
        raise SettingsError(f"{origin}: {mistake}")
    try:
        return msgspec.convert(data, type_)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{origin}: {explain(str(error), data, type_)}") from error
