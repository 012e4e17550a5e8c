"""Sans-IO: questions become leaves of the tree: whether property, operator and values go together, and what they mean.

What is asked is in the two tables: which operators a type has, and what each operator needs when it has none.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar, cast

from censor.conditions.parser import Bracket, Operand, Question, Span
from censor.conditions.patterns import compile_pattern
from censor.conditions.syntax import (
    Address,
    Compare,
    CompareProperties,
    Contains,
    Element,
    Exists,
    Flag,
    Has,
    Leaf,
    ListRef,
    Matches,
    Member,
    Network,
    Operator,
    Range,
    Under,
)
from censor.conditions.tokens import ConditionError, Kind, Token
from censor.properties import Type

_T = TypeVar("_T")

_EQUALITY = ("==", "!=")
_ORDER = (*_EQUALITY, "<", "<=", ">", ">=")
_OPERATORS: dict[Type, tuple[str, ...]] = {
    Type.BOOLEAN: _EQUALITY,
    Type.INTEGER: (*_ORDER, "in"),
    Type.NUMBER: (*_ORDER, "in"),
    Type.TEXT: (*_EQUALITY, "in", "contains", "matches"),
    Type.NAME: (*_EQUALITY, "in", "under", "contains", "matches"),
    Type.ADDRESS: (*_EQUALITY, "in"),
    Type.TEXTS: (),
}
_NEEDS = {
    **dict.fromkeys(_ORDER, "an integer or a number"),
    "in": "an integer, a number, a text, a name or an address",
    "under": "a name",
    "contains": "a text or a name",
    "matches": "a text or a name",
}
_PHRASES = {
    Type.BOOLEAN: "a boolean",
    Type.INTEGER: "an integer",
    Type.NUMBER: "a number",
    Type.TEXT: "a text",
    Type.NAME: "a name",
    Type.ADDRESS: "an address",
    Type.TEXTS: "a tuple of texts",
}
_NUMERIC = (Type.INTEGER, Type.NUMBER)
_LITERALS = {
    Type.BOOLEAN: (Kind.BOOLEAN,),
    Type.INTEGER: (Kind.INTEGER,),
    Type.NUMBER: (Kind.INTEGER, Kind.NUMBER),
    Type.TEXT: (Kind.TEXT,),
    Type.NAME: (Kind.TEXT,),
    Type.ADDRESS: (Kind.TEXT,),
}
_WRITTEN = {
    Type.BOOLEAN: "`true` or `false`",
    Type.INTEGER: "an integer",
    Type.NUMBER: "a number",
    Type.TEXT: 'a text: "GET"',
    Type.NAME: 'a name: "messenger.example"',
    Type.ADDRESS: 'an address: "192.0.2.1"',
}


class Checker:
    """Makes leaves of questions about these properties and lists; every method raises ConditionError."""

    def __init__(self, properties: Mapping[str, Type], lists: Iterable[str]) -> None:
        self._properties = properties
        self._lists = frozenset(lists)

    def check(self, question: Question) -> Leaf:
        """The leaf that `question` is."""
        left, operator, right = question.left, question.operator, question.right
        if left.kind is not Kind.PROPERTY:
            return self._has(question)
        type_ = self._type(left)
        if operator is None:
            return self._flag(left, type_)
        if right is None:
            return Exists(left.text)
        if operator.text not in _OPERATORS[type_]:
            raise _unfit(left, type_, operator)
        if operator.text in _ORDER:
            return self._compare(left, type_, operator, right)
        if operator.text == "in":
            return Member(left.text, self._elements(right, type_), question.negated)
        if operator.text == "under":
            return Under(left.text, self._names(right))
        if operator.text == "contains":
            return Contains(left.text, tuple(_part(token, type_) for token in _texts(right, operator)))
        return _matches(left, right)

    def _type(self, token: Token) -> Type:
        type_ = self._properties.get(token.text)
        if type_ is None:
            raise token.mistake(f"no property {token}{_nearest(token.text, self._properties)}")
        return type_

    def _flag(self, left: Token, type_: Type) -> Flag:
        if type_ is not Type.BOOLEAN:
            operators = " ".join((*_OPERATORS[type_], "exists")) if type_ is not Type.TEXTS else '"text" in, exists'
            problem = f"{left.text} is {_PHRASES[type_]} and does not stand alone; it goes with: {operators}"
            raise left.mistake(problem)
        return Flag(left.text)

    def _has(self, question: Question) -> Has:
        """`"h2" in tls.alpn`: all that a value may stand left of."""
        left, operator, right = question.left, question.operator, question.right
        if operator is None or operator.text != "in" or left.kind is not Kind.TEXT:
            raise left.mistake(f"found {left}; expected a property (values stand right of the operator)")
        if not isinstance(right, Token) or right.kind is not Kind.PROPERTY:
            raise _start(right).mistake(f"found {_start(right)}; expected a property that is a tuple of texts")
        if (type_ := self._type(right)) is not Type.TEXTS:
            hint = f"; did you mean `{right.text} contains {left.text}`?" if "contains" in _OPERATORS[type_] else ""
            raise right.mistake(f"{right.text} is {_PHRASES[type_]}; a text is `in` a tuple of texts only{hint}")
        return Has(right.text, str(left.value), question.negated)

    def _compare(self, left: Token, type_: Type, operator: Token, right: Operand) -> Compare | CompareProperties:
        sign = cast("Operator", operator.text)  # the caller has looked it up in _ORDER
        if isinstance(right, Bracket) or right.kind is Kind.LIST:
            start = _start(right)
            raise start.mistake(f"found {start}; {operator} goes with one value, `in` with several")
        if right.kind is not Kind.PROPERTY:
            return Compare(left.text, sign, _single(right, type_, left.text))
        other = self._type(right)
        if other is not type_ and not (other in _NUMERIC and type_ in _NUMERIC):
            raise right.mistake(f"{left.text} is {_PHRASES[type_]}, {right.text} is {_PHRASES[other]}")
        return CompareProperties(left.text, sign, right.text)

    def _elements(self, operand: Operand, type_: Type) -> tuple[Element, ...] | ListRef:
        if isinstance(operand, Bracket):
            return tuple(_element(item, type_) for item in operand.items)
        if operand.kind is Kind.LIST:
            if type_ in _NUMERIC:
                raise operand.mistake(f"{operand}: a list has names, addresses and URLs, but no numbers")
            return self._list(operand)
        raise operand.mistake(f"found {operand}; expected several values in [ ] or a list, as @registry")

    def _names(self, operand: Operand) -> tuple[str, ...] | ListRef:
        if isinstance(operand, Token) and operand.kind is Kind.LIST:
            return self._list(operand)
        tokens = operand.items if isinstance(operand, Bracket) else (operand,)
        return tuple(str(_single(_no_span(token), Type.NAME)) for token in tokens)

    def _list(self, token: Token) -> ListRef:
        name = str(token.value)
        if name not in self._lists:
            raise token.mistake(f"{token.text}: no such list{_nearest(name, self._lists, '@')}")
        return ListRef(name)


def _single(token: Token, type_: Type, than: str = "") -> bool | int | float | str | Address:
    """The value of a literal that is to be of this type."""
    if token.kind not in _LITERALS[type_]:
        raise token.mistake(f"found {token}; expected {_WRITTEN[type_]}" + (f", as {than} is one" if than else ""))
    if type_ is Type.NAME:
        return _reading(token, _name)
    if type_ is Type.ADDRESS:
        return _reading(token, _address)
    return token.value


def _element(item: Token | Span, type_: Type) -> Element:
    if isinstance(item, Span):
        if type_ not in _NUMERIC:
            raise item.first.mistake(f"{item.first.text}..{item.last.text}: only numbers have ranges")
        first, last = cast("int | float", _single(item.first, type_)), cast("int | float", _single(item.last, type_))
        if first > last:
            raise item.first.mistake(f"{first}..{last} is empty; the lower end of a range comes first")
        return Range(first, last)
    if type_ is Type.ADDRESS and item.kind is Kind.TEXT:
        return _reading(item, _network)
    return cast("Element", _single(item, type_))


def _texts(operand: Operand, operator: Token) -> tuple[Token, ...]:
    tokens = operand.items if isinstance(operand, Bracket) else (operand,)
    for token in map(_no_span, tokens):
        if token.kind is not Kind.TEXT:
            raise token.mistake(f"found {token}; {operator} goes with texts")
    return cast("tuple[Token, ...]", tokens)


def _part(token: Token, type_: Type) -> str:
    text = str(token.value)
    if not text:
        raise token.mistake('"" is a part of every text')
    if type_ is not Type.NAME:
        return text
    if not text.isascii():
        raise token.mistake(f"{token}: names are ASCII (punycode)")
    return text.lower()


def _matches(left: Token, right: Operand) -> Matches:
    start = _start(right)
    if start.kind is not Kind.TEXT:
        raise start.mistake(f'found {start}; `matches` goes with a regular expression: "^vpn[0-9]"')
    return Matches(left.text, _reading(start, compile_pattern).pattern)


def _reading(token: Token, read: Callable[[str], _T]) -> _T:
    """What `read` makes of a text; its ValueError gets the position."""
    try:
        return read(str(token.value))
    except ValueError as error:
        raise token.mistake(str(error)) from error


def _name(text: str) -> str:
    name = text.lower().rstrip(".")
    if not text.isascii():
        raise ValueError(f"{text!r} is not ASCII; names are written in punycode{_punycode(name)}")
    if name.startswith("*."):
        raise ValueError(f'"{text}" has a wildcard; `under "{name[2:]}"` matches that name and all below it')
    if not all(name.split(".")) or any(not c.isprintable() or c in " */:" for c in name):
        raise ValueError(f"{text!r} is no domain name")
    return name


def _punycode(name: str) -> str:
    try:
        return f": {name.encode('idna').decode()!r}"
    except UnicodeError:
        return ""


def _address(text: str) -> Address:
    if "%" in text:
        raise ValueError(f"{text!r} has a zone, which no packet carries")
    return ipaddress.ip_address(text)  # its ValueError says which one and why


def _network(text: str) -> Network:
    address = text.partition("/")[0]
    base = _address(address)
    network = ipaddress.ip_network(text, strict=False)
    if base != network.network_address:
        raise ValueError(
            f"{text!r} is an address inside a block; did you mean {network} (all of it) or {address} (that one)?"
        )
    return network


def _unfit(left: Token, type_: Type, operator: Token) -> ConditionError:
    hint = f'; it goes with: "text" in {left.text}' if type_ is Type.TEXTS else ""
    return operator.mistake(f"{left.text} is {_PHRASES[type_]}; {operator} needs {_NEEDS[operator.text]}{hint}")


def _no_span(item: Token | Span) -> Token:
    if isinstance(item, Span):
        raise item.first.mistake(f"{item.first.text}..{item.last.text}: only numbers have ranges")
    return item


def _start(operand: Operand | None) -> Token:
    return (
        operand.start if isinstance(operand, Bracket) else cast("Token", operand)
    )  # a question with an operator has one


def _nearest(name: str, names: Iterable[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {prefix}{close[0]}?"
    known = ", ".join(f"{prefix}{one}" for one in sorted(names))
    return f"; there are: {known}" if known else "; there are none"
