"""Sans-IO: a condition's text as tokens, and the one exception for whatever is wrong with a condition."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

WORDS = frozenset({"and", "or", "not", "in", "under", "contains", "matches", "exists"})
NUMBER_LIMIT_CHARACTERS = 20


class Kind(enum.Enum):
    """What a token is."""

    PROPERTY = "property"
    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"
    LIST = "list"
    """`@registry`; the value is the name without the `@`."""
    WORD = "word"
    SYMBOL = "symbol"
    END = "end"


class ConditionError(ValueError):
    """A condition that cannot be compiled. `position` counts characters of the text from 0; the message has line and
    column, what was found there and what would be right."""

    def __init__(self, problem: str, position: int, source: str) -> None:
        super().__init__(f"{place(position, source)}: {problem}")
        self.position = position


def place(position: int, source: str) -> str:
    """Where in `source` character `position` is, for people: counted from 1, with the line if there are several."""
    column = position - source.rfind("\n", 0, position)
    return f"line {source.count(chr(10), 0, position) + 1}, column {column}" if "\n" in source else f"column {column}"


@dataclass(frozen=True, slots=True)
class Token:
    """A token: `text` as it is written, `value` what it means, `position` where in `source` it starts."""

    kind: Kind
    text: str
    value: bool | int | float | str
    position: int
    source: str

    def mistake(self, problem: str) -> ConditionError:
        """The exception to raise about this token."""
        return ConditionError(problem, self.position, self.source)

    def __str__(self) -> str:
        return "the end" if self.kind is Kind.END else f"`{self.text}`"


_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<property>[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)*)
    | (?P<number>-?[0-9]+\.[0-9]+)
    | (?P<integer>-?[0-9]+)
    | (?P<text>"(?:[^"\\\n]|\\["\\])*")
    | (?P<list>@[A-Za-z0-9_][A-Za-z0-9_-]*)
    | (?P<symbol>==|!=|<=|>=|\.\.|[<>()\[\],])""",
    re.VERBOSE,
)
# What other languages have in their place.
_HINTS = {
    "=": "did you mean `==`?",
    "&": "did you mean `and`?",
    "|": "did you mean `or`?",
    "!": "did you mean `not`?",
    "'": 'a text stands in double quotes: "messenger.example"',
    "@": "an `@` is followed by the name of a list: @registry",
}


def tokenize(source: str) -> list[Token]:
    """All tokens of `source`; the last one is END. Raises ConditionError."""
    tokens: list[Token] = []
    position = 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            raise _unreadable(source, position)
        if match.lastgroup != "space":
            tokens.append(_token(Kind(match.lastgroup), match.group(), position, source))
        position = match.end()
    tokens.append(Token(Kind.END, "", "", len(source), source))
    return tokens


def _token(kind: Kind, text: str, position: int, source: str) -> Token:
    value: bool | int | float | str = text
    if kind in (Kind.INTEGER, Kind.NUMBER):
        if len(text) > NUMBER_LIMIT_CHARACTERS:
            problem = f"a number of {len(text)} characters; they have at most {NUMBER_LIMIT_CHARACTERS}"
            raise ConditionError(problem, position, source)
        value = int(text) if kind is Kind.INTEGER else float(text)
    elif kind is Kind.TEXT:
        value = re.sub(r"\\(.)", r"\1", text[1:-1])
    elif kind is Kind.LIST:
        value = text[1:]
    elif text in WORDS:
        kind = Kind.WORD
    elif text in ("true", "false"):
        kind, value = Kind.BOOLEAN, text == "true"
    return Token(kind, text, value, position, source)


def _unreadable(source: str, position: int) -> ConditionError:
    character = source[position]
    if character != '"':
        hint = _HINTS.get(character, "expected a property, a value or an operator")
        return ConditionError(f"found `{character}`; {hint}", position, source)
    start, position = position, position + 1
    while position < len(source) and source[position] not in '"\n':
        if source[position] != "\\":
            position += 1
        elif source[position + 1 : position + 2] in ('"', "\\"):
            position += 2
        else:
            found = source[position : position + 2]
            problem = f'found `{found}` in a text; a backslash is written \\\\ there, and a quote \\"'
            return ConditionError(problem, position, source)
    return ConditionError("the text that starts here has no closing quote on its line", start, source)
