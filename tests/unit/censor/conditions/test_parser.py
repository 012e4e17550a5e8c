"""censor/conditions/parser.py"""

from __future__ import annotations

import pytest

from censor.conditions.parser import NESTING_LIMIT, Bracket, Question, Span, parse
from censor.conditions.syntax import And, Exists, Flag, Node, Not, Or
from censor.conditions.tokens import ConditionError, Token


def flag(question: Question) -> Flag:
    return Flag(question.left.text)


def tree(source: str) -> Node:
    return parse(source, flag)


A, B, C = Flag("a"), Flag("b"), Flag("c")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a", A),
        ("a and b or c", Or((And((A, B)), C))),
        ("a or b and c", Or((A, And((B, C))))),
        ("(a or b) and c", And((Or((A, B)), C))),
        ("not a and b", And((Not(A), B))),
        ("not (a and b)", Not(And((A, B)))),
        ("not not not a", Not(A)),
        ("a and (b and c)", And((A, B, C))),
        ("(a or b) or c", Or((A, B, C))),
        ("((a))", A),
    ],
)
def test_precedence(source: str, expected: Node) -> None:
    assert tree(source) == expected


def question(source: str) -> Question:
    asked: list[Question] = []

    def ask(one: Question) -> Node:
        asked.append(one)
        return Exists(one.left.text)

    parse(source, ask)
    assert len(asked) == 1
    return asked[0]


@pytest.mark.parametrize(
    ("source", "operator", "right", "negated"),
    [
        ("a", None, None, False),
        ("exists a", "exists", None, False),
        ("a == b", "==", "b", False),
        ("a in @x", "in", "@x", False),
        ("a not in @x", "in", "@x", True),
        ("a under [1, 2..3, b]", "under", ["1", ("2", "3"), "b"], False),
        ("a in [1,]", "in", ["1"], False),
    ],
)
def test_questions(source: str, operator: str | None, right: object, negated: bool) -> None:
    asked = question(source)
    assert asked.left.text == "a"
    assert (asked.operator and asked.operator.text, _written(asked.right), asked.negated) == (operator, right, negated)


def _written(operand: Token | Bracket | None) -> object:
    if isinstance(operand, Bracket):
        assert operand.start.text == "["
        items = operand.items
        return [(one.first.text, one.last.text) if isinstance(one, Span) else one.text for one in items]
    return operand and operand.text


VALUE = "a property, a value, `not`, `exists` or `(`"


@pytest.mark.parametrize(
    ("source", "position", "message"),
    [
        ("", 0, f"column 1: found the end; expected {VALUE}"),
        ("a and", 5, f"column 6: found the end; expected {VALUE}"),
        ("a and or b", 6, f"column 7: found `or`; expected {VALUE}"),
        ("a b", 2, "column 3: found `b`; expected `and`, `or` or the end"),
        ("a AND b", 2, "column 3: found `AND`; expected `and`, `or` or the end; did you mean `and`?"),
        ("a == b == c", 7, "column 8: found `==`; expected `and`, `or` or the end"),
        (
            "b and (a\n",
            9,
            "line 2, column 1: found the end; expected `and`, `or` or the `)` to the `(` in line 1, column 7",
        ),
        ("a)", 1, "column 2: found `)`; expected `and`, `or` or the end"),
        ("a not under b", 6, "column 7: found `under`; expected `in` behind `not`"),
        ("exists 1", 7, "column 8: found `1`; expected a property behind `exists`"),
        ("a ==", 4, "column 5: found the end; expected a value behind `==`"),
        ("a in []", 6, "column 7: found `]`; expected a value"),
        ("a in [1 2]", 8, "column 9: found `2`; expected `,` or `]`"),
        ("a in [1..]", 9, "column 10: found `]`; expected a value"),
        ("a in [@x]", 6, "column 7: found `@x`; expected a value"),
    ],
)
def test_grammar_mistakes(source: str, position: int, message: str) -> None:
    with pytest.raises(ConditionError) as raised:
        tree(source)
    assert raised.value.position == position
    assert message in str(raised.value)


@pytest.mark.parametrize(("opening", "closing"), [("(", ")"), ("not ", ""), ("not (", ")")])
def test_nesting_is_bounded(opening: str, closing: str) -> None:
    levels = NESTING_LIMIT // (2 if opening == "not (" else 1)
    assert tree(opening * levels + "a" + closing * levels) == A
    with pytest.raises(ConditionError, match="at most 64 of `not` and `\\(` stand in one another"):
        tree(opening * (levels + 1) + "a" + closing * (levels + 1))
    with pytest.raises(ConditionError, match="stand in one another"):
        tree(opening * 100_000)


def test_what_stands_side_by_side_does_not_nest() -> None:
    assert tree(" and ".join(["(a)"] * 1000)) == And((A,) * 1000)
