"""censor/conditions/tokens.py"""

from __future__ import annotations

import pytest

from censor.conditions.tokens import ConditionError, Kind, tokenize


def kinds(source: str) -> list[tuple[Kind, object]]:
    tokens = tokenize(source)
    assert tokens[-1].kind is Kind.END
    return [(token.kind, token.value) for token in tokens[:-1]]


@pytest.mark.parametrize(
    ("source", "kind", "value"),
    [
        ("tls.sni", Kind.PROPERTY, "tls.sni"),
        ("entropy.bits_per_byte", Kind.PROPERTY, "entropy.bits_per_byte"),
        ("android", Kind.PROPERTY, "android"),
        ("-12", Kind.INTEGER, -12),
        ("3.40", Kind.NUMBER, 3.4),
        ('""', Kind.TEXT, ""),
        (r'"a\"b\\.c"', Kind.TEXT, 'a"b\\.c'),
        ("true", Kind.BOOLEAN, True),
        ("false", Kind.BOOLEAN, False),
        ("@ip-2017", Kind.LIST, "ip-2017"),
        ("under", Kind.WORD, "under"),
        ("<=", Kind.SYMBOL, "<="),
    ],
)
def test_tokens(source: str, kind: Kind, value: object) -> None:
    assert kinds(source) == [(kind, value)]


def test_tokens_need_no_space_between_them() -> None:
    found = kinds("[8000..8100,3.4..4.6]\n(x)")
    assert [value for _, value in found] == ["[", 8000, "..", 8100, ",", 3.4, "..", 4.6, "]", "(", "x", ")"]


@pytest.mark.parametrize(
    ("source", "position", "message"),
    [
        ("a = 1", 2, "column 3: found `=`; did you mean `==`?"),
        ("a && b", 2, "column 3: found `&`; did you mean `and`?"),
        ("a == 'x'", 5, "column 6: found `'`; a text stands in double quotes"),
        ("a in @", 5, "column 6: found `@`; an `@` is followed by the name of a list"),
        ("a\nand é", 6, "line 2, column 5: found `é`; expected a property, a value or an operator"),
        ('a == "x', 5, "column 6: the text that starts here has no closing quote on its line"),
        ('a == "x\n"', 5, "line 1, column 6: the text that starts here has no closing quote"),
        (r'a == "\\\"', 5, "no closing quote"),
        (r'a == "x\.y"', 7, r"column 8: found `\.` in a text; a backslash is written \\ there"),
        ("a == " + "1" * 21, 5, "column 6: a number of 21 characters; they have at most 20"),
    ],
)
def test_what_is_no_token(source: str, position: int, message: str) -> None:
    with pytest.raises(ConditionError) as raised:
        tokenize(source)
    assert raised.value.position == position
    assert message in str(raised.value)


def test_tokens_are_described_as_they_are_written() -> None:
    property_, text, end = tokenize('x "y"')
    assert (str(property_), str(text), str(end)) == ("`x`", '`"y"`', "the end")
