"""Sans-IO: the syntax tree of a condition, and its canonical text.

Trees are canonical, too: `And` and `Or` have two or more items, none of them of their own kind; no `Not` holds a `Not`.
`conjunction`, `disjunction` and `negation` make them so. Values are of the property's type: names in lower case without
trailing dot, addresses as objects of `ipaddress`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Operator = Literal["==", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class ListRef:
    """`@registry`: the list of this name, whatever is in it when the condition is evaluated."""

    name: str


@dataclass(frozen=True, slots=True)
class Range:
    """`8000..8100`: both ends are part of it."""

    first: int | float
    last: int | float


Element = int | float | str | Network | Range


@dataclass(frozen=True, slots=True)
class Flag:
    """`client.inside`: a BOOLEAN that is true."""

    property: str


@dataclass(frozen=True, slots=True)
class Compare:
    """`server.port >= 1024`."""

    property: str
    operator: Operator
    value: bool | int | float | str | Address


@dataclass(frozen=True, slots=True)
class CompareProperties:
    """`client.port > server.port`."""

    left: str
    operator: Operator
    right: str


@dataclass(frozen=True, slots=True)
class Member:
    """`server.port in [80, 8000..8100]`; negated: `not in`, which is no `Not(Member)`: that one is true of an absent
    property, this one is not."""

    property: str
    values: tuple[Element, ...] | ListRef
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Has:
    """`"h2" in tls.alpn`: a text among a property's TEXTS; negated as in Member."""

    property: str
    text: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Under:
    """`tls.sni under ["messenger.example"]`: one of the names, or below one."""

    property: str
    names: tuple[str, ...] | ListRef


@dataclass(frozen=True, slots=True)
class Contains:
    """`tls.sni contains ["t.co"]`: one of the texts is a part of it."""

    property: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matches:
    """`tls.sni matches "^vpn[0-9]"`: the regular expression is found in it."""

    property: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Exists:
    """`exists tls.sni`: it is known and not absent."""

    property: str


Leaf = Flag | Compare | CompareProperties | Member | Has | Under | Contains | Matches | Exists


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of them."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Not that."""

    item: Node


Node = And | Or | Not | Leaf


def conjunction(items: Iterable[Node]) -> Node:
    """All of one or more `items`."""
    flat = tuple(part for item in items for part in (item.items if isinstance(item, And) else (item,)))
    return And(flat) if len(flat) > 1 else flat[0]


def disjunction(items: Iterable[Node]) -> Node:
    """At least one of one or more `items`."""
    flat = tuple(part for item in items for part in (item.items if isinstance(item, Or) else (item,)))
    return Or(flat) if len(flat) > 1 else flat[0]


def negation(item: Node) -> Node:
    """The opposite of `item`."""
    return item.item if isinstance(item, Not) else Not(item)


def leaves(tree: Node) -> Iterator[Leaf]:
    """All leaves, from left to right."""
    if isinstance(tree, And | Or):
        for item in tree.items:
            yield from leaves(item)
    elif isinstance(tree, Not):
        yield from leaves(tree.item)
    else:
        yield tree


def properties_of(tree: Node) -> frozenset[str]:
    """The names of all properties that it reads."""
    names: set[str] = set()
    for leaf in leaves(tree):
        names |= {leaf.left, leaf.right} if isinstance(leaf, CompareProperties) else {leaf.property}
    return frozenset(names)


def lists_of(tree: Node) -> frozenset[str]:
    """The names of all lists that it refers to, without the `@`."""
    references = [
        leaf.values if isinstance(leaf, Member) else leaf.names
        for leaf in leaves(tree)
        if isinstance(leaf, Member | Under)
    ]
    return frozenset(reference.name for reference in references if isinstance(reference, ListRef))


def describe(tree: Node) -> str:
    """The canonical text of `tree`; compiled again, it gives the same tree."""
    match tree:
        case And(items):
            return " and ".join(f"({describe(item)})" if isinstance(item, Or) else describe(item) for item in items)
        case Or(items):
            return " or ".join(map(describe, items))
        case Not(item):
            return f"not ({describe(item)})" if isinstance(item, And | Or) else f"not {describe(item)}"
        case _:
            return _describe_leaf(tree)


def _describe_leaf(leaf: Leaf) -> str:
    match leaf:
        case Flag(name):
            return name
        case Compare(name, operator, value):
            return f"{name} {operator} {_describe_value(value)}"
        case CompareProperties(left, operator, right):
            return f"{left} {operator} {right}"
        case Member(name, values, negated):
            return f"{name} {'not in' if negated else 'in'} {_describe_values(values)}"
        case Has(name, text, negated):
            return f"{_quote(text)} {'not in' if negated else 'in'} {name}"
        case Under(name, names):
            return f"{name} under {_describe_values(names)}"
        case Contains(name, texts):
            return f"{name} contains {_describe_values(texts)}"
        case Matches(name, pattern):
            return f"{name} matches {_quote(pattern)}"
    return f"exists {leaf.property}"


def _describe_values(values: tuple[Element, ...] | ListRef) -> str:
    if isinstance(values, ListRef):
        return f"@{values.name}"
    return f"[{', '.join(map(_describe_value, values))}]"


def _describe_value(value: bool | Element | Address) -> str:
    if isinstance(value, Range):
        return f"{_describe_value(value.first)}..{_describe_value(value.last)}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return format(Decimal(repr(value)), "f")  # str() of a small float has an exponent, which is no token
    if isinstance(value, IPv4Network | IPv6Network) and value.prefixlen == value.max_prefixlen:
        value = value.network_address
    return _quote(str(value))


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
