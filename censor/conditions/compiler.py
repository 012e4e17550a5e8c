"""Sans-IO: a tree becomes Python functions, one for each `and` and `or`, that return as soon as they know.

The text that is compiled here has names of our own only: properties, values and lists are handed in as variables.
Evaluation is Kleene's three-valued logic: None is "not yet known".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from censor.conditions.contents import ListHolder, LiteralNetworks
from censor.conditions.patterns import SUBJECT_LIMIT_CHARACTERS, compile_pattern
from censor.conditions.syntax import (
    And,
    Compare,
    CompareProperties,
    Contains,
    Exists,
    Flag,
    Has,
    Leaf,
    ListRef,
    Matches,
    Member,
    Network,
    Node,
    Not,
    Or,
    Range,
    Under,
)
from censor.properties import Type, Value

Evaluate = Callable[[Mapping[str, Value | None]], bool | None]


@dataclass(frozen=True, slots=True)
class _Test:
    """Expressions: whether the result is unknown; if it is not, whether it is true."""

    unknown: str
    true: str


def compile_tree(tree: Node, properties: Mapping[str, Type], lists: Mapping[str, ListHolder]) -> Evaluate:
    """The function that evaluates `tree`; all that it names is in `properties` and `lists` (the checker saw to it)."""
    source = _Source(properties, lists)
    root = source.function(tree.item, negated=True) if isinstance(tree, Not) else source.function(tree, negated=False)
    text = "\n".join([f"def make({', '.join(source.variables)}):", *source.lines, f" return {root}"])
    namespace: dict[str, Callable[..., Evaluate]] = {}
    exec(compile(text, "<condition>", "exec"), {"__builtins__": {}}, namespace)
    return namespace["make"](*source.variables.values())


class _Source:
    """The functions' text, growing. A function per group, not nested blocks: Python allows only so many of these."""

    def __init__(self, properties: Mapping[str, Type], lists: Mapping[str, ListHolder]) -> None:
        self.variables: dict[str, object] = {"missing": object()}
        self.lines: list[str] = []
        self._properties = properties
        self._lists = lists
        self._functions = 0

    def function(self, node: Node, *, negated: bool) -> str:
        """Writes the function that evaluates `node`, or its opposite; returns its name.

        `not` is moved to the leaves (De Morgan). The order makes no difference to the result: cheap tests come first.
        """
        items = sorted(node.items, key=_cost) if isinstance(node, And | Or) else [node]
        all_of = isinstance(node, And) is not negated or not isinstance(node, And | Or)
        read: dict[str, str] = {}
        body: list[str] = []
        for item in items:
            test = self._test(item, negated, read, body)
            decides = f"not ({test.true}): return False" if all_of else f"{test.true}: return True"
            body += [f"if {test.unknown}: unknown = True", f"elif {decides}"]
        name = f"evaluate{self._functions}"
        self._functions += 1
        ends = ["unknown = False", *body, f"return None if unknown else {all_of}"]
        self.lines += [f" def {name}(values):", *(f"  {line}" for line in ends)]
        return name

    def _test(self, node: Node, negated: bool, read: dict[str, str], body: list[str]) -> _Test:
        """The test of an item; what it needs to have read before goes to `body`."""
        if isinstance(node, Not):
            return self._test(node.item, not negated, read, body)
        if isinstance(node, And | Or):
            result = f"result{len(body)}"
            body.append(f"{result} = {self.function(node, negated=negated)}(values)")
            return _Test(f"{result} is None", result)
        names = (node.left, node.right) if isinstance(node, CompareProperties) else (node.property,)
        variables = [self._read(name, read, body) for name in names]
        true = self._true(node, variables)
        return _Test(_unknown(variables), f"not ({true})" if negated else true)

    def _read(self, name: str, read: dict[str, str], body: list[str]) -> str:
        """The variable that has a property's value, or `missing`; each is read once in a function."""
        if name not in read:
            read[name] = f"value{len(read)}"
            body.append(f"{read[name]} = values.get({self._constant(name)}, missing)")
        return read[name]

    def _constant(self, value: object) -> str:
        name = f"constant{len(self.variables)}"
        self.variables[name] = value
        return name

    def _true(self, leaf: Leaf, variables: list[str]) -> str:
        """The expression that is true where `leaf` is, of a value that is known."""
        value = variables[0]
        match leaf:
            case Flag():
                return value
            case Exists():
                return f"{value} is not None"
            case CompareProperties(operator=operator):
                other = variables[1]
                return f"{value} is not None and {other} is not None and {value} {operator} {other}"
            case Member(negated=negated):
                member = self._member(leaf, value)
                return f"{value} is not None and not ({member})" if negated else f"{value} is not None and ({member})"
            case Has(text=text, negated=negated):
                return f"{value} is not None and {self._constant(text)} {'not in' if negated else 'in'} {value}"
        return f"{value} is not None and ({self._text_test(leaf, value)})"

    def _text_test(self, leaf: Compare | Under | Contains | Matches, value: str) -> str:
        match leaf:
            case Compare(operator=operator, value=constant):
                packed = getattr(constant, "packed", constant)  # an address is compared as the packet has it
                return f"{value} {operator} {self._constant(packed)}"
            case Under(names=names):
                return self._under(names, value)
            case Contains(texts=texts):
                return " or ".join(f"{self._constant(text)} in {value}" for text in texts)
        search = self._constant(compile_pattern(leaf.pattern).search)
        return f"{search}({value}, 0, {SUBJECT_LIMIT_CHARACTERS})"

    def _under(self, names: tuple[str, ...] | ListRef, value: str) -> str:
        if isinstance(names, ListRef):
            return f"{self._constant(self._lists[names.name])}.content.domains.under({value}) is not None"
        suffixes = tuple(f".{name}" for name in names)
        return f"{value} in {self._constant(frozenset(names))} or {value}.endswith({self._constant(suffixes)})"

    def _member(self, leaf: Member, value: str) -> str:
        type_ = self._properties[leaf.property]
        if isinstance(leaf.values, ListRef):
            holder = self._constant(self._lists[leaf.values.name])
            if type_ is Type.NAME:
                return f"{holder}.content.domains.exact({value})"
            return f"{value} in {holder}.content.{'networks' if type_ is Type.ADDRESS else 'urls'}"
        if type_ is Type.ADDRESS:
            networks = LiteralNetworks(network for network in leaf.values if isinstance(network, Network))
            return f"{value} in {self._constant(networks)}"
        tests = [
            f"{self._constant(one.first)} <= {value} <= {self._constant(one.last)}"
            for one in leaf.values
            if isinstance(one, Range)
        ]
        if singles := frozenset(one for one in leaf.values if not isinstance(one, Range)):
            tests.insert(0, f"{value} in {self._constant(singles)}")
        return " or ".join(tests)


def _unknown(variables: list[str]) -> str:
    """An absent property decides a comparison, whatever the other one will be."""
    if len(variables) == 1:
        return f"{variables[0]} is missing"
    one, other = variables
    return f"({one} is missing and {other} is not None) or ({other} is missing and {one} is not None)"


def _cost(node: Node) -> int:
    """Roughly what evaluation takes, to order tests by."""
    match node:
        case And(items) | Or(items):
            return 2 + sum(map(_cost, items))
        case Not(item):
            return _cost(item)
        case Matches():
            return 20
        case Under(names=ListRef()) | Member(values=ListRef()):
            return 10
        case Under() | Contains():
            return 4
        case Member() | Has() | CompareProperties():
            return 2
    return 1
