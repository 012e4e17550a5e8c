"""censor/lists/patterns.py"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.lists.patterns import LOOP_LIMIT, RegexSet, SubstringSet

texts = st.text("ab.", min_size=1, max_size=4)
# Enough that cannot match to get past the loop, of two lengths.
FILLER = [f"z{number}" for number in range(LOOP_LIMIT)]


def test_substrings_over_block() -> None:
    substrings = SubstringSet(["T.co", "twimg.com", "t.co"])
    assert substrings.substrings == ("t.co", "twimg.com")
    assert len(substrings) == 2
    assert [substrings.match(name) for name in ("t.co", "reddit.com", "microsoft.com", "abs.twimg.com", "example")] == [
        "t.co",
        "t.co",
        "t.co",
        "twimg.com",
        None,
    ]


@pytest.mark.parametrize("filler", [[], FILLER], ids=["loop", "table"])
@given(substrings=st.lists(texts, min_size=1), name=st.text("abz.", max_size=12))
def test_a_match_is_in_the_name(filler: list[str], substrings: list[str], name: str) -> None:
    found = SubstringSet([*filler, *substrings]).match(name)
    inside = [substring for substring in substrings if substring in name]
    assert found in inside if inside else found is None


def test_substrings_with_one_beginning() -> None:
    substrings = SubstringSet([*FILLER, "vpn-free", "vpn-fast"])
    assert len(substrings) == LOOP_LIMIT + 2
    assert substrings.match("www.vpn-fast.example") == "vpn-fast"
    assert substrings.match("www.vpn-slow.example") is None


def test_no_substrings_match_nothing() -> None:
    assert SubstringSet([]).match("example") is None


def test_an_empty_substring_is_refused() -> None:
    with pytest.raises(ValueError, match="in every name"):
        SubstringSet(["a", ""])


def test_regular_expressions() -> None:
    patterns = RegexSet([r"^cdn\d+\.", r"\.example$", r"^cdn\d+\."])
    assert len(patterns) == 2
    assert patterns.match("cdn17.example") == r"^cdn\d+\."
    assert patterns.match("www.example") == r"\.example$"
    assert patterns.match("www.example.net") is None
    assert RegexSet([]).match("www.example") is None


def test_a_malformed_expression_is_named() -> None:
    with pytest.raises(ValueError, match=r"'a\(' is not a regular expression: missing \)"):
        RegexSet(["a", "a("])
