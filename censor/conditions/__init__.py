"""Sans-IO: the condition language of rules: `tls.sni under @registry and client.inside`.

- `tokens`: text into tokens; ConditionError.
- `parser`: the grammar; questions between `and`, `or`, `not`.
- `checker`: questions into leaves; which type takes which operator and value.
- `syntax`: the tree that comes of it, and its canonical text (`describe`).
- `patterns`: regular expressions that end.
- `contents`: what is asked of lists (`@registry`), which may be exchanged (`ListHolder`).
- `compiler`: the tree into a Python function.

docs/censor-conditions.md is the reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from censor.conditions.checker import Checker
from censor.conditions.compiler import Evaluate, compile_tree
from censor.conditions.contents import ListHolder
from censor.conditions.parser import parse
from censor.conditions.syntax import Node, describe, lists_of, properties_of
from censor.conditions.tokens import ConditionError
from censor.properties import Type

__all__ = ["Condition", "ConditionError", "ListHolder", "compile_condition", "describe"]


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition. `properties` and `lists` are the names of all that it reads.

    evaluate: takes what is known of a flow (censor/properties.py) and returns whether the condition holds; None: that
        is not decided yet. What is decided stays so, whatever becomes known later, as long as the lists stay.
    """

    text: str
    tree: Node
    properties: frozenset[str]
    lists: frozenset[str]
    evaluate: Evaluate = field(compare=False, repr=False)


def compile_condition(text: str, *, properties: Mapping[str, Type], lists: Mapping[str, ListHolder]) -> Condition:
    """The condition that `text` is, about these properties and lists (names without `@`). Raises ConditionError."""
    tree = parse(text, Checker(properties, lists).check)
    evaluate = compile_tree(tree, properties, lists)
    return Condition(text, tree, properties_of(tree), lists_of(tree), evaluate)
