"""Sans-IO: a condition's grammar: where `and`, `or`, `not` and brackets belong.

What is between them is a `Question`, of which the checker (censor/conditions/checker.py) makes a leaf of the tree.

    condition = both {"or" both}
    both      = one {"and" one}
    one       = "not" one | "(" condition ")" | question
    question  = "exists" PROPERTY | value [["not"] operator operand]
    operand   = value | LIST | "[" item {"," item} [","] "]"
    item      = value [".." value]
    value     = PROPERTY | INTEGER | NUMBER | TEXT | BOOLEAN
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from censor.conditions.syntax import Node, conjunction, disjunction, negation
from censor.conditions.tokens import ConditionError, Kind, Token, place, tokenize

NESTING_LIMIT = 64
OPERATORS = frozenset({"==", "!=", "<", "<=", ">", ">=", "in", "under", "contains", "matches"})
_VALUES = frozenset({Kind.PROPERTY, Kind.INTEGER, Kind.NUMBER, Kind.TEXT, Kind.BOOLEAN})


@dataclass(frozen=True, slots=True)
class Span:
    """`first..last`."""

    first: Token
    last: Token


@dataclass(frozen=True, slots=True)
class Bracket:
    """`[item, ...]`, at least one; `start` is its first token."""

    start: Token
    items: tuple[Token | Span, ...]


Operand = Token | Bracket


@dataclass(frozen=True, slots=True)
class Question:
    """`left operator right`, or `left` alone, or with the operator `exists`: then there is no `right`."""

    left: Token
    operator: Token | None = None
    right: Operand | None = None
    negated: bool = False
    """Whether it is `not in`."""


def parse(source: str, check: Callable[[Question], Node]) -> Node:
    """The tree of `source`, with `check` of each question as its leaves. Raises ConditionError, as `check` may."""
    return _Parser(tokenize(source), check).parse()


class _Parser:
    def __init__(self, tokens: list[Token], check: Callable[[Question], Node]) -> None:
        self._tokens = tokens
        self._check = check
        self._next = 0
        self._nesting = 0

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        self._next += 1
        return self._tokens[self._next - 1]

    def _accept(self, text: str) -> bool:
        """Takes the next token if it is this word or symbol."""
        if self._token.kind not in (Kind.WORD, Kind.SYMBOL) or self._token.text != text:
            return False
        self._next += 1
        return True

    def _expected(self, what: str) -> ConditionError:
        found = self._token
        hint = f"; did you mean `{found.text.lower()}`?" if found.text in ("AND", "OR", "NOT", "IN") else ""
        return found.mistake(f"found {found}; expected {what}{hint}")

    def parse(self) -> Node:
        tree = self._condition()
        if self._token.kind is not Kind.END:
            raise self._expected("`and`, `or` or the end")
        return tree

    def _condition(self) -> Node:
        items = [self._both()]
        while self._accept("or"):
            items.append(self._both())
        return disjunction(items)

    def _both(self) -> Node:
        items = [self._one()]
        while self._accept("and"):
            items.append(self._one())
        return conjunction(items)

    def _one(self) -> Node:
        start = self._token
        if self._accept("not"):
            self._descend(start)
            node = negation(self._one())
        elif self._accept("("):
            self._descend(start)
            node = self._condition()
            if not self._accept(")"):
                raise self._expected(f"`and`, `or` or the `)` to the `(` in {place(start.position, start.source)}")
        else:
            return self._check(self._question())
        self._nesting -= 1
        return node

    def _descend(self, start: Token) -> None:
        self._nesting += 1
        if self._nesting > NESTING_LIMIT:
            raise start.mistake(f"found {start}; at most {NESTING_LIMIT} of `not` and `(` stand in one another")

    def _question(self) -> Question:
        start = self._token
        if self._accept("exists"):
            if self._token.kind is not Kind.PROPERTY:
                raise self._expected("a property behind `exists`")
            return Question(self._take(), start)
        if start.kind not in _VALUES:
            raise self._expected("a property, a value, `not`, `exists` or `(`")
        left = self._take()
        negated = self._accept("not")
        if negated and self._token.text != "in":
            raise self._expected("`in` behind `not` (`not` before the property goes with every operator)")
        if self._token.kind not in (Kind.WORD, Kind.SYMBOL) or self._token.text not in OPERATORS:
            return Question(left)
        operator = self._take()
        return Question(left, operator, self._operand(operator), negated)

    def _operand(self, operator: Token) -> Operand:
        start = self._token
        if start.kind in _VALUES or start.kind is Kind.LIST:
            return self._take()
        if not self._accept("["):
            raise self._expected(f"a value behind {operator}")
        items = [self._item()]
        while self._accept(",") and self._token.text != "]":
            items.append(self._item())
        if not self._accept("]"):
            raise self._expected("`,` or `]`")
        return Bracket(start, tuple(items))

    def _item(self) -> Token | Span:
        first = self._value()
        return Span(first, self._value()) if self._accept("..") else first

    def _value(self) -> Token:
        if self._token.kind not in _VALUES:
            raise self._expected("a value")
        return self._take()
