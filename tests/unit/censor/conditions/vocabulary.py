"""The properties and lists that the tests' conditions are about, random trees of them, and how these are evaluated."""

from __future__ import annotations

import ipaddress
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from censor.conditions import Condition, ListHolder, compile_condition
from censor.conditions.contents import LiteralNetworks
from censor.conditions.syntax import (
    And,
    Compare,
    CompareProperties,
    Contains,
    Exists,
    Flag,
    Has,
    ListRef,
    Matches,
    Member,
    Node,
    Not,
    Or,
    Range,
    Under,
    conjunction,
    disjunction,
    negation,
)
from censor.properties import FLOW_PROPERTIES, Type, Value

PROPERTIES = {
    **FLOW_PROPERTIES,
    "ssh": Type.BOOLEAN,
    "tls.sni": Type.NAME,
    "tls.alpn": Type.TEXTS,
    "http.host": Type.NAME,
    "http.method": Type.TEXT,
    "http.url": Type.TEXT,
    "quic.version": Type.INTEGER,
    "quic.datagram_bytes": Type.INTEGER,
    "entropy.bits_per_byte": Type.NUMBER,
}


@dataclass
class Names:
    entries: frozenset[str]

    def exact(self, name: str, /) -> bool:
        return name in self.entries

    def under(self, name: str, /) -> str | None:
        above = [entry for entry in self.entries if f".{name}".endswith(f".{entry}")]
        return max(above, key=len, default=None)


@dataclass
class Entries:
    """A list's content."""

    domains: Names = field(default_factory=lambda: Names(frozenset()))
    networks: LiteralNetworks = field(default_factory=lambda: LiteralNetworks([]))
    urls: frozenset[str] = frozenset()


def entries(*names: str, networks: tuple[str, ...] = (), urls: tuple[str, ...] = ()) -> Entries:
    blocks = LiteralNetworks(map(ipaddress.ip_network, networks))
    return Entries(Names(frozenset(names)), blocks, frozenset(urls))


LISTS: dict[str, ListHolder] = {
    "registry": ListHolder(entries("messenger.example", "t.me", urls=("t.me/x",))),
    "cloud": ListHolder(entries(networks=("192.0.2.0/24", "2001:db8::/32"))),
    "white": ListHolder(entries("white.example")),
}


def condition(text: str) -> Condition:
    return compile_condition(text, properties=PROPERTIES, lists=LISTS)


ADDRESSES = tuple(ipaddress.ip_address(text) for text in ("192.0.2.1", "198.51.100.7", "2001:db8::1", "2001:db9::"))
NETWORKS = tuple(map(ipaddress.ip_network, ("192.0.2.0/24", "192.0.2.1", "2001:db8::/32", "0.0.0.0/0", "2001:db9::")))
NAMES = ("messenger.example", "a.messenger.example", "xmessenger.example", "t.me", "example", "white.example")
TEXTS = ("GET", "t.me/x", "", 'a"b', "\\", "tcp", "h2")
NUMBERS = (-1.5, 0.00001, 1.0, 3, 80)
OF_TYPE: dict[Type, tuple[Any, ...]] = {
    Type.BOOLEAN: (False, True),
    Type.INTEGER: (0, 1, 80, 443, 70000),
    Type.NUMBER: NUMBERS,
    Type.TEXT: TEXTS,
    Type.NAME: NAMES,
    Type.ADDRESS: tuple(address.packed for address in ADDRESSES),
    Type.TEXTS: ((), ("h2",), ("GET", "tcp")),
}
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def of(*types: Type) -> st.SearchStrategy[str]:
    return st.sampled_from([name for name, type_ in PROPERTIES.items() if type_ in types])


def some(values: tuple[Any, ...]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3).map(tuple)


def ranges(values: tuple[Any, ...]) -> st.SearchStrategy[Range]:
    return st.tuples(st.sampled_from(values), st.sampled_from(values)).map(lambda pair: Range(min(pair), max(pair)))


def numeric(type_: Type) -> st.SearchStrategy[Node]:
    values, names = OF_TYPE[type_], of(type_)
    elements = st.lists(st.sampled_from(values) | ranges(values), min_size=1, max_size=3).map(tuple)
    return (
        st.builds(Compare, names, st.sampled_from(list(SIGNS)), st.sampled_from(values))
        | st.builds(CompareProperties, names, st.sampled_from(list(SIGNS)), of(Type.INTEGER, Type.NUMBER))
        | st.builds(Member, names, elements, st.booleans())
    )


EQUALITY = st.sampled_from(["==", "!="])
REFERENCES = st.sampled_from([ListRef(name) for name in LISTS])
LEAVES: st.SearchStrategy[Node] = st.one_of(
    st.builds(Flag, of(Type.BOOLEAN)),
    st.builds(Exists, st.sampled_from(list(PROPERTIES))),
    st.builds(Has, of(Type.TEXTS), st.sampled_from(TEXTS), st.booleans()),
    numeric(Type.INTEGER),
    numeric(Type.NUMBER),
    st.builds(Compare, of(Type.BOOLEAN), EQUALITY, st.booleans()),
    st.builds(Compare, of(Type.TEXT), EQUALITY, st.sampled_from(TEXTS)),
    st.builds(Compare, of(Type.NAME), EQUALITY, st.sampled_from(NAMES)),
    st.builds(Compare, of(Type.ADDRESS), EQUALITY, st.sampled_from(ADDRESSES)),
    st.builds(CompareProperties, of(Type.NAME), EQUALITY, of(Type.NAME)),
    st.builds(Member, of(Type.TEXT), some(TEXTS) | REFERENCES, st.booleans()),
    st.builds(Member, of(Type.NAME), some(NAMES) | REFERENCES, st.booleans()),
    st.builds(Member, of(Type.ADDRESS), some(NETWORKS) | REFERENCES, st.booleans()),
    st.builds(Under, of(Type.NAME), some(NAMES) | REFERENCES),
    st.builds(Contains, of(Type.NAME), some(("ex", ".me", "senger"))),
    st.builds(Contains, of(Type.TEXT), some(("G", '"', "\\", "/x"))),
    st.builds(Matches, of(Type.NAME, Type.TEXT), st.sampled_from(["^m", r"\.me$", "[0-9]+", '"', ""])),
)
TREES: st.SearchStrategy[Node] = st.recursive(
    LEAVES,
    lambda trees: (
        st.lists(trees, min_size=1, max_size=4).map(conjunction)
        | st.lists(trees, min_size=1, max_size=4).map(disjunction)
        | trees.map(negation)
    ),
    max_leaves=12,
)
VALUES: st.SearchStrategy[dict[str, Value | None]] = st.fixed_dictionaries(
    {}, optional={name: st.none() | st.sampled_from(OF_TYPE[type_]) for name, type_ in PROPERTIES.items()}
)


def evaluate(tree: Node, values: Mapping[str, Value | None]) -> bool | None:
    """The reference: the tree walked, with no short cut."""
    match tree:
        case And(items):
            results = [evaluate(item, values) for item in items]
            return False if False in results else None if None in results else True
        case Or(items):
            results = [evaluate(item, values) for item in items]
            return True if True in results else None if None in results else False
        case Not(item):
            result = evaluate(item, values)
            return None if result is None else not result
        case CompareProperties(left, sign, right):
            read = [values[name] for name in (left, right) if name in values]
            if None in read:
                return False
            return SIGNS[sign](*read) if len(read) == 2 else None
    if tree.property not in values:
        return None
    value = values[tree.property]
    return value is not None and _holds(tree, value, PROPERTIES[tree.property])


def _holds(leaf: Node, value: Any, type_: Type) -> bool:
    match leaf:
        case Flag():
            return bool(value)
        case Compare(_, sign, constant):
            return SIGNS[sign](value, getattr(constant, "packed", constant))
        case Member(_, ListRef(name), negated):
            content = LISTS[name].content
            if type_ is Type.NAME:
                return content.domains.exact(value) is not negated
            return (value in (content.networks if type_ is Type.ADDRESS else content.urls)) is not negated
        case Member(_, tuple(elements), negated):
            return any(_is(element, value, type_) for element in elements) is not negated
        case Has(_, text, negated):
            return (text in value) is not negated
        case Under(_, ListRef(name)):
            return LISTS[name].content.domains.under(value) is not None
        case Under(_, tuple(names)):
            return any(f".{value}".endswith(f".{name}") for name in names)
        case Contains(_, texts):
            return any(text in value for text in texts)
        case Matches(_, pattern):
            return re.search(pattern, value) is not None
    assert isinstance(leaf, Exists)
    return True


def _is(element: Any, value: Any, type_: Type) -> bool:
    if isinstance(element, Range):
        return bool(element.first <= value <= element.last)
    if type_ is Type.ADDRESS:
        return ipaddress.ip_address(value) in element
    return bool(element == value)
