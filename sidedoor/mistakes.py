"""What is wrong with settings, in TOML's words: the whole key, what was found there, what was expected. Sans-IO.

msgspec finds the mistakes. Its messages speak of Python's and JSON's types, name no key of a table with free keys, and
say nothing of what would be right. A value is shown, unless its type is `sidedoor.settings.Secret` or holds one.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Iterator
from types import EllipsisType
from typing import Any

import msgspec
from msgspec import inspect

Step = str | int | EllipsisType
"""Of the path to a value: a key, an index, or "any value of this table"."""

_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_STEP = re.compile(r"\[(?P<index>\d+)\]|(?P<any>\[\.\.\.\])|(?P<key>[^.$\[\]]+)")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`")
_MISSING = re.compile(r"Object missing required field `(?P<key>[^`]*)`")
_NOT_ONE_OF = re.compile(r"Invalid (?:enum )?value (?P<value>.*)", re.DOTALL)
_WRONG_TYPE = re.compile(r"Expected `[^`]*`, got `[^`]*`")
_OUT_OF_RANGE = re.compile(r"Expected `(?:int|float)` [<>]=? .*")
_WITHOUT_ZONE = re.compile(r"Expected `datetime` with a timezone component")
_TOO_SHORT = re.compile(r"Expected `array` of length >= 1")
_EMPTY = re.compile(r"Expected `str` of length >= 1")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

# In TOML's words: one value of a type, several of them.
_WORDS: dict[type[inspect.Type], tuple[str, str]] = {
    inspect.StrType: ("a string", "strings"),
    inspect.IntType: ("an integer", "integers"),
    inspect.FloatType: ("a number", "numbers"),
    inspect.BoolType: ("true or false", "true or false"),
    inspect.DateTimeType: ("a time", "times"),
    inspect.StructType: ("a table", "tables"),
    inspect.DictType: ("a table", "tables"),
    inspect.ListType: ("an array", "arrays"),
    inspect.VarTupleType: ("an array", "arrays"),
    inspect.EnumType: ("one of", "any of"),
    inspect.LiteralType: ("one of", "any of"),
}


def explain(message: str, data: Any, type_: Any) -> str:
    """What is wrong with `data`, of which msgspec said `message` when it was to become a `type_`: one line."""
    at = _AT.fullmatch(message)
    assert at is not None
    what, steps = at["what"], _steps(message, at["path"] or "$", data, type_)
    root = inspect.type_info(type_)
    expected = _types_at(root, steps, data)
    if match := _UNKNOWN.fullmatch(what):
        hint = _nearest(match["key"], _fields(expected)) or _elsewhere(
            match["key"], expected, _types_at(root, steps, None), root
        )
        return f"{_key([*steps, match['key']], data)} is unknown{_where(expected)}; {hint}"
    if match := _MISSING.fullmatch(what):
        steps.append(match["key"])
        wanted = _described(_types_at(root, steps, data))
        return f"{_key(steps, data)} is missing" + (f"; expected {wanted}" if wanted else "")
    if not steps:
        return what
    return f"{_key(steps, data)}: {_mistake(what, _value_at(data, steps), steps, expected)}"


def not_finite(data: Any) -> str | None:
    """The first number in `data` that is not finite, and where; None: all are."""
    for steps, value in _scalars(data, []):
        if isinstance(value, float) and not math.isfinite(value):
            return f"{_key(steps, data)}: expected a finite number; found {value}"
    return None


def _scalars(data: Any, steps: list[Step]) -> Iterator[tuple[list[Step], Any]]:
    """All values in the tables and arrays of `data`, with the path to each."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _scalars(value, [*steps, str(key)])
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from _scalars(value, [*steps, index])
    else:
        yield steps, data


def _mistake(what: str, found: Any, steps: list[Step], expected: list[inspect.Type]) -> str:
    """What is wrong with the value `found`, of which msgspec says `what`."""
    if (match := _NOT_ONE_OF.fullmatch(what)) and (choices := _choices(expected)):
        near = _nearest(match["value"].strip("'"), choices)
        listed = f"expected one of {', '.join(choices)}; found {' '.join(match['value'].split())}"
        return f"{listed}; {near}" if near else listed
    if _TOO_SHORT.fullmatch(what):
        return "is empty; expected at least one, or no such key"
    if _EMPTY.fullmatch(what):
        return "is empty; expected at least one character"
    shown = _shown(found, secret=_holds_secret(expected))
    wanted = _described(expected)
    if not wanted or not any(words.fullmatch(what) for words in (_WRONG_TYPE, _OUT_OF_RANGE, _WITHOUT_ZONE)):
        # A whole table is no help: its name, in front, says which one it is.
        return what if isinstance(found, dict) else f"{what}; found {shown}"
    header = ".".join(_quoted(step) for step in steps if isinstance(step, str))
    if isinstance(found, dict) and _structs(_items(expected)):
        return f"expected {wanted}, found one table; write [[{header}]], in double brackets"
    if isinstance(found, list) and any(isinstance(one, dict) for one in found) and _structs(expected):
        return f"expected {wanted}, found an array; write [{header}], in single brackets"
    if wanted.startswith("an array") and not isinstance(found, dict):
        return f"expected {wanted}; found {shown}; put it in brackets"
    return f"expected {wanted}; found {shown}"


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean `{near[0]}`?" if near else ""


def _elsewhere(key: str, here: list[inspect.Type], kinds: list[inspect.Type], root: inspect.Type) -> str:
    """A key of the top level has slipped into the table above it; else what is known here.

    `kinds`: all that a table here can be; one of their keys is rather a key of the wrong kind.
    """
    if root not in here and key in _fields(_members(root)) and key not in _fields(kinds):
        return "it belongs to the top level: write it above the first [table]"
    return f"known here: {', '.join(sorted(_fields(here))) or 'nothing'}"


def _where(here: list[inspect.Type]) -> str:
    """Which member of a union of tables it is that does not know a key."""
    structs = _structs(here)
    if len(structs) != 1 or structs[0].tag_field is None:
        return ""
    return f" where `{structs[0].tag_field}` is {structs[0].tag!r}"


def _described(types: list[inspect.Type]) -> str:
    """What is expected, in TOML's words: "a string or a table with `address`"; "" where it has none."""
    words: dict[str, None] = {}  # in order, each once
    if len(types) > 1 and all(isinstance(one, inspect.LiteralType) for one in types):  # the tags of a union of tables
        return f"one of {', '.join(_choices(types))}"
    for one in types:
        if isinstance(one, inspect.NoneType):
            continue  # TOML has no null: the key is left out
        plain = one.type if isinstance(one, inspect.Metadata) else one
        if (pair := _WORDS.get(type(plain))) is None:
            return ""
        words[pair[0] + _details(plain)] = None
    return " or ".join(words)


def _details(one: inspect.Type) -> str:
    """What follows the word for this type."""
    if isinstance(one, inspect.StructType):
        required = [f"`{field.encode_name}`" for field in one.fields if field.required]
        return f" with {' and '.join(required)}" if required else ""
    if isinstance(one, inspect.CollectionType):
        items = [item.type if isinstance(item, inspect.Metadata) else item for item in _members(one.item_type)]
        plurals = [_WORDS[type(item)][1] + _choices_of(item) for item in items if type(item) in _WORDS]
        return f" of {' or '.join(dict.fromkeys(plurals))}" if plurals else ""
    if isinstance(one, inspect.IntType | inspect.FloatType):
        return _range(one)
    if isinstance(one, inspect.DateTimeType):
        return " with its zone, as 2027-01-31T00:00:00Z" if one.tz else ""
    return _choices_of(one)


def _range(one: inspect.IntType | inspect.FloatType) -> str:
    if one.ge is not None and one.le is not None:
        return f" from {_number(one.ge)} to {_number(one.le)}"
    bounds = {"of at least": one.ge, "above": one.gt, "of at most": one.le, "below": one.lt}
    told = [f"{words} {_number(bound)}" for words, bound in bounds.items() if bound is not None]
    return f" {' and '.join(told)}" if told else ""


def _number(value: float) -> str:
    """Without the point that a whole number does not need."""
    return str(int(value)) if value == int(value) else str(value)


def _choices_of(one: inspect.Type) -> str:
    choices = ", ".join(_choices([one]))
    return f" {choices}" if choices else ""


def _shown(found: Any, *, secret: bool) -> str:
    """What was found, in TOML's words."""
    match found:
        case dict():
            return "a table"
        case list():
            return "an array"
        case bool():
            kind, value = "a boolean", str(found).lower()
        case str():
            kind, value = "a string", f"the string {found!r}"
        case int():
            kind, value = "an integer", f"the integer {found}"
        case float():
            kind, value = "a number", f"the number {found}"
        case _:
            kind, value = "something else", str(found)  # dates and times
    return f"{kind}, not shown" if secret else value


def _holds_secret(types: Iterable[inspect.Type]) -> bool:
    """Whether there is a Secret among `types`, or somewhere in them."""
    waiting, seen = list(types), set[int]()
    while waiting:
        one = waiting.pop()
        if isinstance(one, inspect.Metadata):
            return True  # the only annotation that `_members` leaves
        if id(one) not in seen:  # a type may hold itself
            seen.add(id(one))
            waiting += _items([one])
            for struct in _structs([one]):
                waiting += [member for field in struct.fields for member in _members(field.type)]
    return False


def _steps(message: str, path: str, data: Any, type_: Any) -> list[Step]:
    """msgspec's path `$.rules[0].name` as steps: `rules`, 0, `name`.

    msgspec writes `[...]` for whichever value of a table: the one meant is the first that alone makes the same mistake.
    """
    steps: list[Step] = []
    for match in _STEP.finditer(path):
        steps.append(int(match["index"]) if match["index"] else ... if match["any"] else match["key"])
    while ... in steps:
        at = steps.index(...)
        table = _value_at(data, steps[:at])
        for name, value in table.items():
            alone = _replaced(data, steps[:at], {name: value})
            if _complaint(alone, type_) == message:
                steps[at], data = name, alone
                break
        else:
            break  # not to be told; `[...]` it is
    return steps


def _complaint(data: Any, type_: Any) -> str:
    try:
        msgspec.convert(data, type_)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def _replaced(data: Any, steps: list[Step], value: Any) -> Any:
    """A copy of `data` with `value` where `steps` lead."""
    if not steps:
        return value
    copy = data.copy()
    copy[steps[0]] = _replaced(data[steps[0]], steps[1:], value)
    return copy


def _key(steps: list[Step], data: Any) -> str:
    """``key `rules[0].action` (rules 'dns')``: the path, and the name of the last item on it that has one."""
    dotted, named = "", ""
    for position, step in enumerate(steps):
        if isinstance(step, str):
            dotted += f".{_quoted(step)}" if dotted else _quoted(step)
            continue
        dotted += "[...]" if step is ... else f"[{step}]"
        item = _value_at(data, steps[: position + 1]) if position else None
        if isinstance(item, dict) and isinstance(item.get("name"), str):
            named = f" ({steps[position - 1]} {item['name']!r})"
    return f"key `{dotted}`{named}"


def _quoted(key: str) -> str:
    """A key as TOML writes it."""
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key)


def _value_at(data: Any, steps: list[Step]) -> Any:
    for step in steps:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return data
    return data


def _types_at(type_: inspect.Type, steps: list[Step], data: Any) -> list[inspect.Type]:
    """The types that `steps` lead to from `type_` in `data`, a union's members each; empty where they lead to none."""
    found = _tagged(_members(type_), data)
    for position, step in enumerate(steps, 1):
        if not isinstance(step, str):
            found = _items(found)
        else:
            structs = _structs(found)
            fields = [field for one in structs for field in one.fields if field.encode_name == step]
            tags = [one.tag for one in structs if one.tag_field == step and one.tag is not None]
            found = _items([one for one in found if isinstance(one, inspect.DictType)])
            found += [member for field in fields for member in _members(field.type)]
            found += [inspect.LiteralType((tag,)) for tag in tags]
        found = _tagged(found, _value_at(data, steps[:position]))
    return found


def _tagged(types: list[inspect.Type], value: Any) -> list[inspect.Type]:
    """Of the tables only that which the tag in `value` selects; all of them where it selects none."""
    if not isinstance(value, dict):
        return types
    chosen = [one for one in _structs(types) if one.tag_field is not None and value.get(one.tag_field) == one.tag]
    return [one for one in types if not isinstance(one, inspect.StructType) or one in chosen] if chosen else types


def _members(type_: inspect.Type) -> list[inspect.Type]:
    """The members of a union; what else it is, alone. Of annotations only that of `Secret` stays."""
    if isinstance(type_, inspect.Metadata) and not (type_.extra or {}).get("secret"):
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


def _fields(types: list[inspect.Type]) -> list[str]:
    """The keys that the tables among `types` know, each once."""
    structs = _structs(types)
    tags = [one.tag_field for one in structs if one.tag_field is not None]
    return list(dict.fromkeys([*tags, *(field.encode_name for one in structs for field in one.fields)]))


def _choices(types: list[inspect.Type]) -> list[str]:
    """The values that enumerations and literals among `types` allow, in the order in which an enumeration has them."""
    found: list[str] = []
    for one in types:
        if isinstance(one, inspect.EnumType):
            found += [str(member.value) for member in one.cls]
        elif isinstance(one, inspect.LiteralType):
            found += map(str, one.values)
    return found
